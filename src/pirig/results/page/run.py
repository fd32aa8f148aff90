"""Render the page of a run, section by section.

The sections follow the questions of a reader: how good the policy is, how certain that is, where it fails, why, and
what the run was made with. Each section is a function of the report, so that the live page uses the same functions.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pirig.results.page import charts
from pirig.results.page.episodes import episodes, errors, videos
from pirig.results.page.html import Html, document, element, interval, join, percent, section
from pirig.results.page.provenance import tree
from pirig.results.page.quantization import quantization
from pirig.results.report import TIMES, Report, mean_inference_s, mean_seconds
from pirig.results.statistics import published
from pirig.results.statistics.tally import Tally
from pirig.results.tables import points
from pirig.types import EpisodeSpec


def page(report: Report) -> str:
    """Return a self-contained page; videos are relative links."""
    sections = (tasks, over_time, steps, time_spent, errors, videos, episodes, quantization, provenance)
    title = f"{report.suite} · {report.policy} · pirig"
    return document(title, element("main", headline(report), *(show(report) for show in sections)), footer(report))


def headline(report: Report, *, live: bool = False) -> Html:
    """Render the success rate of the run.

    A run with missing episodes has no rate, unless it is shown while it is in progress.
    """
    total = report.total
    shown = total.scored > 0 and (report.is_complete or live)
    axis = charts.rate_axis([total.interval[0], 1.0 if report.published is None else report.published])
    nothing = "–" if live else "Stopped early" if report.stopped else "Incomplete"
    number = join(f"{100 * total.rate:.1f}", element("small", "%")) if shown else nothing
    said = [f"{total.successes} of {total.scored} episodes succeeded" + (" so far" * (not total.complete))]
    if report.stopped:
        said.append(report.stopped)
    if shown:
        said.append(f"95 % Wilson interval {interval(total.interval)}")
    label = f"success rate {percent(total.rate)}, 95 % Wilson interval {interval(total.interval)}" if shown else ""
    if report.published is not None:
        label += f"; published π0.5 {percent(report.published)}"
    strip = element(
        "div",
        charts.rate_strip(total.rate, total.interval, axis, label, mark=report.published, height=34),
        charts.scale(axis),
        class_="strip",
    )  # fmt: skip
    return element(
        "section",
        element("p", element("span", report.suite, class_="suite"), " ", _verdict(report, live), class_="kicker"),
        element("h1", report.policy or report.run),
        element(
            "div",
            element("p", number, class_="number" if shown else "number words", data_value="rate"),
            element("div", *(element("p", line) for line in said), class_="said"),
            class_="answer",
        ),
        strip if shown else None,
        element("p", comparison(report), class_="comparison") if shown else None,
        facts(report),
        id="headline",
        class_="card",
    )


def comparison(report: Report) -> Html | None:
    """Compare the run with the published rate, which is a count of episodes too."""
    placement = report.placement
    if placement is None or report.published is None:
        return None
    found, count = placement.difference, published.EPISODES
    rest = {
        "consistent": " with the published rate: these episodes do not tell the two apart.",
        "below": " the published rate, by more than chance.",
        "above": " the published rate, by more than chance.",
    }
    return join(
        f"Published π0.5: {percent(report.published)} of {count}. Difference {points(found.value)} points ",
        f"(95 % {points(found.low)} to {points(found.high)}): ",
        element("b", placement.verdict),
        rest[placement.verdict],
    )


def facts(report: Report) -> Html:
    """Render the facts that readers look for first."""
    configuration, total, asked_s = report.configuration, report.total, mean_inference_s(report.results)
    metadata = configuration.get("policy_metadata", {})
    found: Mapping[str, Any] = {
        "run": report.run,
        "protocol": report.manifest.get("protocol", {}).get("id"),
        "checkpoint": str(metadata.get("checkpoint", ""))[:16],
        "backend": metadata.get("backend"),
        "quantization": report.quantization.name if report.quantization else None,
        "seed": configuration.get("seed"),
        "rendering": configuration.get("gl"),
        "steps of a success": f"{total.success_steps:.0f} on average" if total.successes else None,
        "inference": f"{1e3 * asked_s:.3g} ms a chunk" if asked_s is not None else None,
    }
    rows = [element("div", element("dt", k), element("dd", str(v))) for k, v in found.items() if v not in (None, "")]
    return element("dl", *rows, class_="facts")


def tasks(report: Report) -> Html:
    """Render a row for each task: its rate and interval, and a tick for each trial."""
    axis = charts.rate_axis([tally.interval[0] for tally in report.by_task.values() if tally.scored])
    by_task: dict[int, list[EpisodeSpec]] = {}
    for spec in report.planned:
        by_task.setdefault(spec.task_id, []).append(spec)
    rows = [_task_row(report, i, tally, by_task[i], axis) for i, tally in report.by_task.items()]
    heads = ("task", charts.scale(axis), "rate", "95 %", "successes")
    head = element("tr", *(element("th", h, scope="col", class_=c) for h, c in zip(heads, _TASK_COLUMNS, strict=True)))
    key = element(
        "p",
        *(join(element("i", class_=f"key {s}"), f" {s}  ") for s in ("success", "failure", "error", "missing")),
        class_="legend",
    )
    table = element("table", element("thead", head), element("tbody", *rows), class_="tasks")
    return section("tasks", "Tasks", table, key, note="Rate and 95 % Wilson interval; below it one tick per trial.")


def over_time(report: Report) -> Html | None:
    """Render the development of the rate, in order of completion."""
    successes = [result.status == "success" for result in report.results if result.status != "error"]
    if not successes:
        return None
    label = f"success rate after each of {len(successes)} scored episodes, ending at {percent(report.total.rate)}"
    chart = charts.rate_over_time(successes, label, mark=report.published)
    note = "Success rate and interval, in order of completion."
    if report.published is not None:
        note += f" Dashed: published, {100 * report.published:.1f}."
    return section("over-time", "As it came in", chart, note=note)


def steps(report: Report) -> Html | None:
    found = [result.steps for result in report.with_status("success")]
    if not found:
        return None
    limit = max(result.max_steps for result in report.results)
    label = f"steps of {len(found)} successes, from {min(found)} to {max(found)}; an episode may take {limit}"
    note = f"Settle steps included; an episode ends after {limit}."
    return section("steps", "Steps to success", charts.histogram(found, limit, label), note=note)


def time_spent(report: Report) -> Html | None:
    parts = mean_seconds(report.results)
    whole = sum(parts.values())
    if not whole:
        return None
    label = "time of an average episode: " + ", ".join(f"{k} {v:.2f} s" for k, v in parts.items())
    rows = [
        element(
            "li",
            element("i", class_=f"key t-{name}"),
            f" {name}",
            element("b", f"{parts[name]:.2f} s"),
            element("span", f"{100 * parts[name] / whole:.0f} %"),
        )
        for name in TIMES
    ]
    note = f"An average episode takes {whole:.1f} s of a worker's time."
    return section(
        "time", "Where the time goes", charts.shares(parts, label), element("ul", *rows, class_="times"), note=note
    )


def provenance(report: Report) -> Html:
    note = "manifest.json, whole: what decides the run's episodes, and what was noted about its making."
    return section("provenance", "Provenance", tree(report.manifest), note=note)


def footer(report: Report) -> Html:
    return element("footer", "pirig · ", report.run, " · success rate = successes / (successes + failures)")


def _verdict(report: Report, live: bool) -> Html:
    total, planned = report.total, len(report.planned)
    if report.is_complete:
        return element("span", f"complete, {planned} episodes", class_="pill good")
    words = f"{total.scored} of {planned} scored"
    if total.errors:
        words += f", {total.errors} error{'s' * (total.errors > 1)}"
    if total.missing:
        words += f", {total.missing} missing"
    if report.stopped:
        return element("span", f"stopped early, as declared: {words}", class_="pill going")
    return element(
        "span", f"{'running' if live else 'incomplete'}: {words}", class_=f"pill {'going' if live else 'bad'}"
    )


_TASK_COLUMNS = ("name", "plot", "n", "n ci", "n")


def _task_row(report: Report, task_id: int, tally: Tally, specs: list[EpisodeSpec], axis: charts.Axis) -> Html:
    found = [(f"trial {s.trial}", _status(report, s)) for s in specs]
    rate = percent(tally.rate) if tally.scored else "no rate"
    bounds = interval(tally.interval) if tally.scored else "–"
    label = f"task {task_id}: {rate}, interval {bounds}"
    bad = ", ".join(str(s.trial) for s, (_, status) in zip(specs, found, strict=True) if status == "failure")
    label_trials = f"task {task_id}: {tally.successes} successes; failures: {bad or 'none'}"
    strip = charts.rate_strip(tally.rate, tally.interval, axis, label)
    return element(
        "tr",
        element(
            "th", element("span", str(task_id), class_="number"), report.task_name(task_id), scope="row", class_="name"
        ),
        element("td", strip, charts.trials(found, label_trials), class_="plot"),
        element("td", f"{100 * tally.rate:.1f}" if tally.scored else "–", class_="n rate"),
        element("td", bounds, class_="n ci"),
        element("td", f"{tally.successes}/{tally.scored}", class_="n of"),
    )


def _status(report: Report, spec: EpisodeSpec) -> str:
    return report.by_spec[spec].status if spec in report.by_spec else "missing"


def fragments(report: Report) -> Iterator[tuple[str, Html]]:
    """Yield the sections that an open page replaces as results arrive, with their ids."""
    yield "headline", headline(report, live=True)
    sections = {"tasks": tasks, "over-time": over_time, "steps": steps, "time": time_spent, "errors": errors}
    for name, show in sections.items():
        yield name, show(report) or element("section", id=name, hidden=True)
