"""`pirig report`: the latest results of all suites, beside the published row of π0.5."""

import dataclasses
import pathlib
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pirig.cli import args
from pirig.errors import ConfigError
from pirig.results import summary
from pirig.sim.suites import MAX_STEPS


@dataclasses.dataclass(frozen=True)
class ReportArgs:
    results: pathlib.Path = pathlib.Path("results/libero")
    suites: tuple[str, ...] = tuple(MAX_STEPS)


def run(argv: Sequence[str]) -> int:
    """Raises ConfigError where there are no results."""
    flags = args.parse(ReportArgs, argv, prog="pirig report", description=__doc__ or "")
    if not show(flags.results, flags.suites):
        raise ConfigError(f"no results in {flags.results}; pirig eval makes some, or name a folder: --results")
    return 0


def show(results: pathlib.Path, suites: Sequence[str]) -> bool:
    """Prints the table. Returns whether there was anything to print. Raises ConfigError for a damaged file."""
    rows = summary.latest(results, suites)
    if not rows:
        return False
    console = Console(highlight=False)
    (console if console.is_terminal else Console(width=130, highlight=False)).print(_table(rows))
    return True


def _table(rows: Sequence[summary.SuiteRow]) -> Table:
    table = Table()
    for column in ("suite", "success", "rate", "95 % Wilson", "published π0.5", "run"):
        table.add_column(column, justify="left" if column in ("suite", "run") else "right", overflow="fold")
    for row in rows:
        low, high = row.interval
        published = summary.PUBLISHED.get(row.suite)
        table.add_row(
            row.suite,
            f"{row.successes}/{row.scored}" + ("" if row.complete else ", incomplete"),
            f"{100 * row.rate:.1f}" if row.complete else "-",
            f"{100 * low:.1f} – {100 * high:.1f}" if row.complete else "-",
            f"{published:.1f}" if published is not None else "-",
            row.run,
        )
    mean = summary.average(rows)
    table.add_section()
    table.add_row("average of four", "", f"{100 * mean:.2f}" if mean is not None else "-", "",
                  f"{summary.PUBLISHED_AVERAGE:.2f}", "")  # fmt: skip
    return table
