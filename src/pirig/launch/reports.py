"""Collect what belongs into a report (plan, task names, videos), and write it where users look for it."""

import dataclasses
import hashlib
import os
import pathlib
import shlex
import sys
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pirig.errors import UnusableResource
from pirig.evaluation.worker import video_name
from pirig.files import write_atomically
from pirig.launch.settings import RESULTS, VIDEOS
from pirig.results import plans, summary, tables
from pirig.results.comparison import Comparison
from pirig.results.page import comparison, overview, run
from pirig.results.page.side import Side
from pirig.results.report import Report, make_report
from pirig.results.store import RunStore
from pirig.sim import suites
from pirig.types import EpisodeSpec

Format = Literal["html", "json", "csv", "md"]
WRITERS: Mapping[Format, Callable[[Report], str]] = {
    "html": run.page,
    "json": tables.json_text,
    "csv": tables.csv_text,
    "md": tables.markdown,
}


def report_of(store: RunStore, videos: pathlib.Path, seen_from: pathlib.Path) -> Report:
    """Return the report of a run. `videos`: the videos folder. `seen_from`: folder of the page that links to the
    videos.
    """
    bare = make_report(store, planned=planned(store.manifest), names=task_names(store.manifest))
    folder = videos / store.directory.name
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    at = os.path.relpath(folder, seen_from)
    links = {
        result.spec: urllib.parse.quote(f"{at}/{video_name(result)}")
        for result in bare.results
        if video_name(result) in there
    }
    return dataclasses.replace(bare, videos=links)


def planned(manifest: Mapping[str, Any]) -> list[EpisodeSpec]:
    """Return the episodes that commands planned for a run; none for a suite that this version does not know."""
    suite = str(manifest["configuration"].get("suite", ""))
    return plans.planned(manifest, suite, list(task_names(manifest))) if suite in suites.MAX_STEPS else []


def task_names(manifest: Mapping[str, Any]) -> dict[int, str]:
    suite = str(manifest["configuration"].get("suite", ""))
    return {task.task_id: task.language for task in suites.tasks(suite)} if suite in suites.MAX_STEPS else {}


def write_run(
    store: RunStore, videos: pathlib.Path, form: Format = "html", out: pathlib.Path | None = None
) -> pathlib.Path:
    """Write a run's report, and return its path: `out`, or report.FORMAT in the run's folder. `-` is standard
    output.
    """
    path = out or store.directory / f"report.{form}"
    return put(path, WRITERS[form](report_of(store, videos, path.parent)))


def write_overview(
    results: pathlib.Path, names: Sequence[str], form: Literal["html", "md"] = "html", out: pathlib.Path | None = None
) -> pathlib.Path:
    """Write the page about the latest results of the suites `names`, with links to the pages of runs."""
    path, rows = out or results / f"report.{form}", summary.latest(results, names)
    if form == "md":
        return put(path, tables.markdown_overview(rows))
    pages = {row.run: results / "runs" / row.run / "report.html" for row in rows if row.run}
    links = {name: _address(page, path.parent) for name, page in pages.items() if page.exists()}
    return put(path, overview.page(rows, links))


def write_comparison(
    found: Comparison,
    sides: Sequence[Sequence[RunStore]],
    results: pathlib.Path,
    videos: pathlib.Path,
    *,
    level: float,
    margin: float | None,
    out: pathlib.Path | None = None,
) -> pathlib.Path:
    """Write the page of a comparison, and return its path: `out`, or A--B.html in `results`/comparisons. `sides`:
    the runs of A, and those of B.
    """
    path = out or results / "comparisons" / f"{_joined(found)}.html"
    a, b = (_side(name, runs, results, videos, path.parent) for name, runs in zip("AB", sides, strict=True))
    return put(path, comparison.page(comparison.Shown(found, a, b, level, margin)))


def _joined(found: Comparison) -> str:
    """Return a file name made of all runs' names, within the length limit of file systems."""
    words = "--".join("+".join(side.values()) for side in (found.runs_a, found.runs_b))
    digest = hashlib.blake2b(words.encode(), digest_size=4).hexdigest()
    return words if len(words) <= 200 else f"{words[:190]}-{digest}"


def _side(
    name: str, stores: Sequence[RunStore], results: pathlib.Path, videos: pathlib.Path, seen_from: pathlib.Path
) -> Side:
    by_suite = {str(store.configuration.get("suite", "")): store for store in stores}
    own = {suite: store.directory / "report.html" for suite, store in by_suite.items()}
    return Side(
        name,
        {suite: report_of(store, videos, seen_from) for suite, store in by_suite.items()},
        {suite: _address(page, seen_from) for suite, page in own.items() if page.exists()},
        {suite: _replay(store, results, videos) for suite, store in by_suite.items()},
    )


def _replay(store: RunStore, results: pathlib.Path, videos: pathlib.Path) -> str:
    """Return the `pirig replay` command that finds this run and puts videos where the page looks for them."""
    folder = store.directory
    words = ["pirig", "replay"]
    if videos != VIDEOS:
        words += ["--videos", str(videos)]
    if folder == results / "runs" / folder.name:
        words += ["--results", str(results)] if results != RESULTS else []
        return shlex.join([*words, folder.name])
    return shlex.join([*words, str(folder)])


def _address(path: pathlib.Path, seen_from: pathlib.Path) -> str:
    return urllib.parse.quote(os.path.relpath(path, seen_from))


def put(path: pathlib.Path, text: str) -> pathlib.Path:
    """Write a text to a file, or to standard output for `-`. Raises UnusableResource if it cannot be written."""
    if str(path) == "-":
        sys.stdout.write(text)
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except (OSError, ValueError) as e:  # ValueError: an invalid file name
        reason = getattr(e, "strerror", None) or e
        raise UnusableResource(f"cannot write the report {path}: {reason}; choose a file with --out") from e
    return path
