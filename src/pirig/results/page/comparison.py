"""Render the page of a comparison.

The sections follow the questions of a reader: which policy is better, how certain that is, where they differ, what
that looks like, how fast they are, and whether the runs differ in anything else. Differences are B minus A throughout.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from pirig.results import conclusion
from pirig.results.comparison import Comparison
from pirig.results.page import charts
from pirig.results.page.discordant import discordant
from pirig.results.page.html import Html, document, element, interval, join, percent, section
from pirig.results.page.provenance import beside, made_with
from pirig.results.page.side import Side
from pirig.results.statistics.paired import Paired
from pirig.results.statistics.tally import wilson
from pirig.results.tables import points
from pirig.types import EpisodeSpec

_GOOD = {"better": "good", "worse": "bad", "no difference shown": "going"}
_WITHIN = {"non-inferior": "good", "inferior": "bad", "undecided": "going"}


@dataclasses.dataclass(frozen=True)
class Shown:
    """`Shown` holds the content of a page.

    `level` is two-sided and `margin` is that of non-inferiority; both are fractions of 1.
    """

    found: Comparison
    a: Side
    b: Side
    level: float = 0.05
    margin: float | None = None

    @property
    def title(self) -> str:
        """Return the title; policies of the same name are distinguished by their runs."""
        a, b = (self.a.policy, self.b.policy) if self.a.policy != self.b.policy else (self.a.runs, self.b.runs)
        return f"{b} against {a}"

    @property
    def confidence(self) -> str:
        return f"{100 * (1 - self.level):g} %"

    def bounds(self, paired: Paired) -> tuple[float, float]:
        estimate = paired.difference(1 - self.level)
        return estimate.low, estimate.high


def page(shown: Shown) -> str:
    """Return a self-contained page; videos and the runs' own pages are relative links."""
    parts = (headline, warnings, rates, fourfold, time_to_success, tasks, episodes, unpaired, provenance)
    foot = element("footer", "pirig · B against A, by the same episodes of both · success rate = successes / pairs")
    return document(f"{shown.title} · pirig", element("main", *(show(shown) for show in parts)), foot)


def headline(shown: Shown) -> Html:
    total = shown.found.total
    value, bounds = total.difference(1 - shown.level).value, shown.bounds(total)
    verdict = total.verdict(shown.level)
    pills = [element("span", verdict if verdict[:2] == "no" else f"B is {verdict}", class_=f"pill {_GOOD[verdict]}")]
    marks = []
    if shown.margin is not None:
        marks.append(-shown.margin)
        pills.append(_margin_pill(total.margin_verdict(shown.margin, shown.level), shown.margin))
    axis = charts.difference_axis([bounds], marks)
    label = f"difference {points(value)} points, {shown.confidence} interval {_limits(bounds)}"
    strip = charts.rate_strip(value, bounds, axis, label, lines=_lines(shown), height=34)
    number = join(points(value), element("small", " points"))
    said = (f"{total.n} pairs of episodes", f"{shown.confidence} interval {_limits(bounds)} points (Tango)")
    _, *words = conclusion.in_words(total, level=shown.level, margin=shown.margin)
    return element(
        "section",
        element("p", element("span", ", ".join(shown.found.runs_a), class_="suite"), *pills, class_="kicker"),
        element("h1", shown.title),
        element(
            "div",
            element("p", number, class_="number", data_value="difference"),
            element("div", *(element("p", line) for line in said), class_="said"),
            class_="answer",
        ),
        element("div", strip, charts.scale(axis, " points", signed=True), class_="strip"),
        *(element("p", _sentence(line), class_="comparison") for line in (*words, *shown.found.notes)),
        id="headline",
        class_="card",
    )


def warnings(shown: Shown) -> Html | None:
    found = shown.found.warnings
    if not found:
        return None
    return section("warnings", "Read with care", element("ul", *(element("li", line) for line in found)))


def rates(shown: Shown) -> Html:
    """Render the success rates of both sides on the pairs, suite by suite."""
    by_suite = dict(shown.found.by_suite)
    if len(by_suite) > 1:
        by_suite["all suites"] = shown.found.total
    scored = {suite: paired for suite, paired in by_suite.items() if paired.n}
    axis = charts.rate_axis([wilson(p.both + only, p.n)[0] for p in scored.values() for only in (p.only_a, p.only_b)])
    rows = [
        _rate_row(side, suite, paired.both + only, paired.n, axis, several=len(by_suite) > 1)
        for suite, paired in scored.items()
        for side, only in ((shown.a, paired.only_a), (shown.b, paired.only_b))
    ]
    head = _head(("run", charts.scale(axis), "rate", "95 %", "successes"))
    table = element("table", head, element("tbody", *rows), class_="tasks suites")
    note = "On the episodes that both have scored, with 95 % Wilson intervals."
    return section("rates", "Both runs", table, note=note)


def fourfold(shown: Shown) -> Html:
    """Render McNemar's table."""
    total = shown.found.total
    head = element("tr", *(element("th", text, scope="col") for text in ("", "B succeeds", "B fails", "sum")))
    counts = (
        ("A succeeds", total.both, total.only_a),
        ("A fails", total.only_b, total.neither),
        ("sum", total.both + total.only_b, total.only_a + total.neither),
    )
    rows = [
        element("tr", element("th", name, scope="row"), *(element("td", str(n)) for n in (left, right, left + right)))
        for name, left, right in counts
    ]
    table = element("table", element("thead", head), element("tbody", *rows), class_="fourfold")
    note = (
        f"Only the {total.only_a + total.only_b} discordant pairs tell the two apart: exact p = {total.mcnemar():.3g}."
    )
    return section("fourfold", "McNemar's table", table, note=note, class_="half")


def time_to_success(shown: Shown) -> Html:
    apart = [p.b.steps - p.a.steps for p in shown.found.pairs if p.a.status == p.b.status == "success"]
    note = _sentence(conclusion.time_in_words(shown.found.steps))
    if not apart:
        return section("pace", "Time to success", note=note, class_="half")
    label = f"steps of B minus steps of A in {len(apart)} episodes that both succeed at"
    chart = charts.histogram(apart, max(apart), label, zero=True)
    return section("pace", "Time to success", chart, note=note, class_="half")


def tasks(shown: Shown) -> Html:
    """Render a row for each task, with its difference and a mark for each pair."""
    by_task = shown.found.by_task
    axis = charts.difference_axis([shown.bounds(paired) for paired in by_task.values()])
    parts = []
    for suite in shown.found.runs_a:
        rows = [_task_row(shown, suite, i, paired, axis) for (of, i), paired in by_task.items() if of == suite]
        head = _head(("task", charts.scale(axis, "", signed=True), "B − A", shown.confidence, "A, B"))
        table = element("table", head, element("tbody", *rows), class_="tasks")
        parts += [element("h3", suite) if len(shown.found.runs_a) > 1 else None, table]
    words = {"only-b": "only B succeeds", "only-a": "only A succeeds", "both": "both succeed", "neither": "neither"}
    keys = (join(element("i", class_=f"key {kind}"), f" {word}  ") for kind, word in words.items())
    note = f"B − A in points with Tango's {shown.confidence} interval; below it one mark per pair."
    if shown.margin is not None:
        note += f" The dashed line is the margin, −{100 * shown.margin:g} points."
    return section("tasks", "Tasks", *parts, element("p", *keys, class_="legend"), note=note)


def episodes(shown: Shown) -> Html:
    return discordant(shown.found.discordant, shown.a, shown.b)


def unpaired(shown: Shown) -> Html | None:
    found = shown.found.unpaired
    kinds = (("only A has", found.only_a), ("only B has", found.only_b), ("an error in A or B", found.errors))
    parts = [_folded(f"{len(specs)}: {what}", specs) for what, specs in kinds if specs]
    if not parts:
        return None
    note = "These episodes are in no number on this page."
    return section("unpaired", f"Without a pair ({len(found)})", *parts, note=note)


def provenance(shown: Shown) -> Html:
    parts = []
    for suite, report in shown.a.reports.items():
        parts.append(element("h3", suite) if len(shown.a.reports) > 1 else None)
        parts.append(beside(made_with(report.manifest), made_with(shown.b.reports[suite].manifest)))
    note = "What each was made with; where the two differ is marked ≠. Sessions: the last command on each run."
    return section("provenance", "Provenance side by side", *parts, note=note)


def _margin_pill(verdict: str, margin: float) -> Html:
    limit = f"{100 * margin:g} points"
    words = {
        "non-inferior": f"not worse by {limit}",
        "inferior": f"worse by more than {limit}",
        "undecided": f"undecided: worse by {limit}?",
    }
    return element("span", words[verdict], class_=f"pill {_WITHIN[verdict]}", data_value="margin")


def _rate_row(side: Side, suite: str, successes: int, n: int, axis: charts.Axis, *, several: bool) -> Html:
    bounds, report, link = wilson(successes, n), side.reports.get(suite), side.links.get(suite)
    label = f"{side.name}, {suite}: {percent(successes / n)}, interval {interval(bounds)}"
    run = report.run if report else ""
    words = [element("b", side.name), f" {side.policy}", f", {suite}" if several else ""]
    return element(
        "tr",
        element(
            "th", *words, element("span", element("a", run, href=link) if link else run, class_="sub run"),
            scope="row", class_="name",
        ),
        element("td", charts.rate_strip(successes / n, bounds, axis, label), class_="plot"),
        element("td", f"{100 * successes / n:.1f}", class_="n rate"),
        element("td", interval(bounds), class_="n ci"),
        element("td", f"{successes}/{n}", class_="n of"),
    )  # fmt: skip


def _task_row(shown: Shown, suite: str, task_id: int, paired: Paired, axis: charts.Axis) -> Html:
    value, bounds, (rate_a, rate_b) = paired.difference().value, shown.bounds(paired), paired.rates
    mine = [p for p in shown.found.pairs if (p.spec.suite, p.spec.task_id) == (suite, task_id)]
    marks = [(f"trial {p.spec.trial}", p.a.status == "success", p.b.status == "success") for p in mine]
    label = f"task {task_id}: difference {points(value)} points, interval {_limits(bounds)}"
    counts = f"task {task_id}: {paired.n} pairs, only A succeeds in {paired.only_a}, only B in {paired.only_b}"
    name = shown.a.reports[suite].task_name(task_id)
    strip = charts.rate_strip(value, bounds, axis, label, lines=_lines(shown, within=axis))
    return element(
        "tr",
        element("th", element("span", str(task_id), class_="number"), name, scope="row", class_="name"),
        element("td", strip, charts.pairs(marks, counts), class_="plot"),
        element("td", points(value), class_="n rate"),
        element("td", _limits(bounds), class_="n ci"),
        element("td", f"{100 * rate_a:.1f}, {100 * rate_b:.1f}", class_="n of"),
    )


def _head(heads: Sequence[str]) -> Html:
    classes = ("name", "plot", "n", "n ci", "n")
    cells = (element("th", text, scope="col", class_=c) for text, c in zip(heads, classes, strict=True))
    return element("thead", element("tr", *cells))


def _folded(title: str, specs: Sequence[EpisodeSpec]) -> Html:
    return element("details", element("summary", title), element("p", ", ".join(s.key for s in specs), class_="quiet"))


def _lines(shown: Shown, within: charts.Axis | None = None) -> Mapping[str, float]:
    lines = {"zero": 0.0} | ({} if shown.margin is None else {"margin": -shown.margin})
    return {name: at for name, at in lines.items() if within is None or within.low <= at <= within.high}


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _limits(bounds: tuple[float, float]) -> str:
    return f"{points(bounds[0])} to {points(bounds[1])}"
