"""Render all suites on one page: the latest results next to the published ones."""

from collections.abc import Mapping, Sequence

from pirig.results import summary
from pirig.results.page import charts
from pirig.results.page.html import Html, document, element, interval, join, percent
from pirig.results.statistics import published
from pirig.results.statistics.intervals import Estimate
from pirig.results.tables import difference_text


def page(rows: Sequence[summary.SuiteRow], links: Mapping[str, str]) -> str:
    """Return the page.

    `links`: the address of each run's page, relative to this page; a run may have none.
    """
    bounds = [row.interval[0] for row in rows if row.complete]
    theirs = [rate / 100 for row in rows if (rate := published.PUBLISHED.get(row.suite)) is not None]
    axis = charts.rate_axis([*bounds, *theirs])
    heads = ("suite", charts.scale(axis), "rate", "95 %", "published")
    classes = ("name", "plot", "n", "n ci", "n")
    head = element("tr", *(element("th", h, scope="col", class_=c) for h, c in zip(heads, classes, strict=True)))
    body = element("tbody", *(_row(row, axis, links.get(row.run)) for row in rows))
    table = element("table", element("thead", head), body, class_="tasks suites")
    legend = element(
        "p", element("i", class_="key success"), " our rate with its 95 % Wilson interval  ",
        element("i", class_="key diamond"), " published π0.5 after 30k steps of fine-tuning", class_="legend",
    )  # fmt: skip
    card = element("section", element("h2", "Suites"), table, legend, id="suites", class_="card")
    return document("LIBERO results · pirig", element("main", _headline(rows), card), element("footer", "pirig"))


def _headline(rows: Sequence[summary.SuiteRow]) -> Html:
    mean, done = summary.average(rows), {row.suite for row in rows if row.complete}
    spread, apart = summary.average_interval(rows), published.place_average(summary.complete_counts(rows))
    missing = [suite for suite in published.PUBLISHED if suite not in done]
    number = join(f"{100 * mean:.2f}", element("small", "%")) if mean is not None else join("No average yet")
    said = (
        "mean of the four suites' success rates" if mean is not None else f"missing or incomplete: {', '.join(missing)}"
    )
    lines = [said, f"published: {published.PUBLISHED_AVERAGE:.2f} %"]
    if spread:
        bounds = interval((spread.low, spread.high))
        lines.append(f"95 % interval {bounds}, for tasks like these: tasks are counted as clusters")
    if apart:
        lines.append(f"on these tasks: difference from the published {difference_text(apart)}")
    return element(
        "section",
        element("p", element("span", "LIBERO", class_="suite"), class_="kicker"),
        element("h1", "Latest results of all suites"),
        element(
            "div",
            element("p", number, class_="number" if mean is not None else "number words quiet", data_value="average"),
            element("div", *(element("p", line) for line in lines), class_="said"),
            class_="answer",
        ),
        _spread(spread) if spread else None,
        id="headline",
        class_="card",
    )


def _spread(found: Estimate) -> Html:
    bounds, published_rate = (found.low, found.high), published.PUBLISHED_AVERAGE / 100
    axis = charts.rate_axis([found.low, published_rate])
    label = f"average {percent(found.value)}, 95 % interval {interval(bounds)}; published {percent(published_rate)}"
    strip = charts.rate_strip(found.value, bounds, axis, label, mark=published_rate, height=34)
    return element("div", strip, charts.scale(axis), class_="strip")


def _row(row: summary.SuiteRow, axis: charts.Axis, link: str | None) -> Html:
    theirs = published.PUBLISHED.get(row.suite)
    mark = theirs / 100 if theirs is not None else None
    state = f"{row.successes} of {row.scored} succeeded" if row.complete else f"incomplete, {row.scored} scored"
    name = [element("a", row.suite, href=link) if link else row.suite, element("span", state, class_="sub")]
    if row.complete and theirs is not None:
        beside = published.place(row.suite, row.successes, row.scored)
        name.append(element("span", f"difference {difference_text(beside)}", class_="sub difference"))
    name.append(element("span", row.run, class_="sub run"))
    rate = row.rate if row.complete else float("nan")
    label = (
        f"{row.suite}: {percent(row.rate)}, interval {interval(row.interval)}"
        if row.complete
        else f"{row.suite}: incomplete"
    )
    if mark is not None:
        label += f"; published {percent(mark)}"
    return element(
        "tr",
        element("th", *name, scope="row", class_="name"),
        element("td", charts.rate_strip(rate, row.interval, axis, label, mark=mark, height=30), class_="plot"),
        element("td", f"{100 * row.rate:.1f}" if row.complete else "–", class_="n rate"),
        element("td", interval(row.interval) if row.complete else "–", class_="n ci"),
        element("td", f"{theirs:.1f}" if theirs is not None else "–", class_="n of"),
    )
