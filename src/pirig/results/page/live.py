"""Render the page of a run in progress: the report's sections, and above them the current activity."""

import dataclasses
from collections.abc import Mapping, Sequence

from pirig.results.page import run
from pirig.results.page.html import Html, document, element
from pirig.results.report import Report
from pirig.text import duration


@dataclasses.dataclass(frozen=True)
class Now:
    """`Now` describes what one worker is doing."""

    slot: int
    doing: str  # e.g. "task 3 trial 17"; empty if the worker is idle
    for_s: float
    frame: str  # address of the latest image; empty if there is none


def page(report: Report, now: Html, ended: Html) -> str:
    lost = element("p", "No answer: the run has ended, or was stopped. This is what was last heard.", id="lost",
                   role="status", hidden=True)  # fmt: skip
    (_, first), *others = run.fragments(report)
    body = element("main", lost, ended, first, now, *(section for _, section in others), run.provenance(report))
    return document(f"{report.suite} · live · pirig", body, run.footer(report), script="live.js")


def fragments(report: Report) -> Mapping[str, Html]:
    """Return the sections that change when a result arrives, by id."""
    return dict(run.fragments(report))


def provenance(report: Report) -> Html:
    """Return the section that changes when another run is shown."""
    return run.provenance(report)


def now(workers: Sequence[Now], *, done: int, planned: int, left_s: float | None) -> Html:
    """Render the current activity.

    `left_s`: estimated time until the last episode ends [s].
    """
    said = f"{done} of {planned} episodes scored"
    if left_s is not None and done < planned:
        said += f", about {duration(left_s)} left"
    meter = element("div", element("i", style=f"width:{100 * done / max(1, planned):.2f}%"), class_="meter")
    cells = [_worker(worker) for worker in workers]
    content = element("div", *cells, class_="now") if cells else element("p", "Simulators are starting.", class_="note")
    return element(
        "section", element("h2", "Now"), element("p", said, class_="note"), meter, content, id="now", class_="card"
    )


def ended(reports: Sequence[tuple[str, str]]) -> Html:
    """Render links to the reports of runs that have ended, given by name and path.

    An open page keeps these reports after the server has stopped.
    """
    links = [
        element("p", element("a", f"report of {name}", href=f"report/{number}"), element("span", path, class_="sub"))
        for number, (name, path) in enumerate(reports)
    ]
    return element("section", element("h2", "Ended"), *links, id="ended", class_="card", hidden=not reports)


def _worker(worker: Now) -> Html:
    name = worker.doing or "waits"
    if worker.frame and worker.doing:
        label = f"what the policy last saw in {worker.doing}"
        picture = element("img", src=worker.frame, alt=label, data_slot=worker.slot)
    else:
        picture = element("div", "no image: the policy looks at none, or has not yet", class_="blank")
    since = f" {duration(worker.for_s)}" if worker.doing else ""
    return element("figure", picture, element("figcaption", element("b", name), since))
