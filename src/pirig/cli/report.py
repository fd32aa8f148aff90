"""Write pages, tables and files about runs, or about the latest results of all suites (`pirig report [RUN…]`)."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from pirig.errors import ConfigError
from pirig.launch import reports
from pirig.launch.settings import DEFAULT_IN_HELP, RESULTS, VIDEOS
from pirig.results import runs, summary
from pirig.results.statistics import published
from pirig.results.store import RunStore
from pirig.results.tables import difference_text
from pirig.sim.suites import MAX_STEPS


@dataclasses.dataclass(frozen=True)
class ReportArgs:
    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], DEFAULT_IN_HELP] = ()
    """Names or folders of runs; default: the latest run of each suite, and a page about all suites."""
    format: tuple[reports.Format, ...] = ("html",)
    """html: a self-contained page. json, csv, md: files beside it."""
    out: Annotated[pathlib.Path | None, DEFAULT_IN_HELP] = None
    """File to write, if there is only one; - is standard output; default: a file in the run's folder."""
    results: pathlib.Path = RESULTS
    """Results folder. Runs are looked up by name in its folder runs."""
    videos: pathlib.Path = VIDEOS
    """Videos folder. Pages link to the videos that each run has in the folder of its name."""
    suites: tuple[str, ...] = tuple(MAX_STEPS)
    """Suites in the table about all suites."""


def run(flags: ReportArgs) -> int:
    """Write the reports. Raises ConfigError if there are no results."""
    if flags.out is not None and len(flags.runs) * len(flags.format) > 1:
        raise ConfigError(
            f"--out names one file, but {len(flags.runs)} runs in {len(flags.format)} formats were asked for; ask for "
            "one, or leave --out away"
        )
    written = _of_runs(flags) if flags.runs else _of_suites(flags)
    for path in written:
        if str(path) != "-":
            print(f"report: {path}", file=sys.stderr)
    return 0


def _of_runs(flags: ReportArgs) -> list[pathlib.Path]:
    stores = [runs.find(name, flags.results) for name in flags.runs]
    return [reports.write_run(store, flags.videos, form, flags.out) for store in stores for form in flags.format]


def _of_suites(flags: ReportArgs) -> list[pathlib.Path]:
    rows = summary.latest(flags.results, flags.suites)
    if not rows:
        raise ConfigError(f"no results in {flags.results}; pirig eval makes some, or name a folder: --results")
    about_all = [form for form in flags.format if form in ("html", "md")]
    if flags.out is not None:
        if not about_all:
            raise ConfigError(
                f"a file about all suites is html or md, not {flags.format[0]}; name a RUN, or a --format"
            )
        if str(flags.out) != "-":
            show(flags.results, flags.suites)
        return [reports.write_overview(flags.results, flags.suites, about_all[0], flags.out)]
    show(flags.results, flags.suites)
    folders = [flags.results / "runs" / row.run for row in rows if row.run]
    stores = [RunStore.read(folder) for folder in folders if folder.is_dir()]
    written = [reports.write_run(store, flags.videos, form) for store in stores for form in flags.format]
    return written + [reports.write_overview(flags.results, flags.suites, form) for form in about_all]


def show(results: pathlib.Path, suites: Sequence[str]) -> bool:
    """Print the table about all suites. Return whether there was anything to print. Raises DamagedFile."""
    rows = summary.latest(results, suites)
    if not rows:
        return False
    console = Console(highlight=False)
    (console if console.is_terminal else Console(width=150, highlight=False)).print(_table(rows))
    return True


def _table(rows: Sequence[summary.SuiteRow]) -> Table:
    table = Table()
    for column in ("suite", "success", "rate", "95 % Wilson", "published π0.5", "difference", "run"):
        table.add_column(column, justify="left" if column in ("suite", "run") else "right", overflow="fold")
    for row in rows:
        low, high = row.interval
        theirs = published.PUBLISHED.get(row.suite)
        table.add_row(
            row.suite,
            f"{row.successes}/{row.scored}" + ("" if row.complete else ", incomplete"),
            f"{100 * row.rate:.1f}" if row.complete else "-",
            f"{100 * low:.1f} – {100 * high:.1f}" if row.complete else "-",
            f"{theirs:.1f}" if theirs is not None else "-",
            difference_text(published.place(row.suite, row.successes, row.scored) if row.complete else None),
            row.run,
        )
    mean, spread = summary.average(rows), summary.average_interval(rows)
    table.add_section()
    table.add_row(
        "average of four",
        "",
        f"{100 * mean:.2f}" if mean is not None else "-",
        f"{100 * spread.low:.1f} – {100 * spread.high:.1f} *" if spread else "",
        f"{published.PUBLISHED_AVERAGE:.2f}",
        difference_text(published.place_average(summary.complete_counts(rows))),
        "* for tasks like these: tasks are counted as clusters" if spread else "",
    )
    return table
