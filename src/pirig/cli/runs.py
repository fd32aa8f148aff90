"""List the runs, the latest first (`pirig runs`)."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pirig.launch.settings import RESULTS
from pirig.results.runs import Overview, overviews


@dataclasses.dataclass(frozen=True)
class RunsArgs:
    results: pathlib.Path = RESULTS
    """Results folder. The runs in its folder runs are listed."""
    json: bool = False
    """Print JSON. Rates are fractions of 1."""


def run(flags: RunsArgs) -> int:
    """Print the list. Raises ConfigError if there are no runs."""
    found = overviews(flags.results)
    if flags.json:
        rows = [{**dataclasses.asdict(row), "date": row.date.isoformat(), "wilson_95": row.interval} for row in found]
        print(json.dumps(rows, indent=1))
    else:
        console = Console(highlight=False)
        (console if console.is_terminal else Console(width=150, highlight=False)).print(_table(found))
    return 0


def _table(found: Sequence[Overview]) -> Table:
    table = Table()
    for column in ("run", "suite", "policy", "scored", "success", "95 % Wilson", "errors", "state", "last result"):
        right = column in ("scored", "success", "95 % Wilson", "errors")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in found:
        low, high = row.interval
        table.add_row(
            row.run,
            row.suite,
            row.policy,
            f"{row.scored}/{'?' if row.planned is None else row.planned}",
            f"{100 * row.successes / row.scored:.1f}" if row.scored else "-",
            f"{100 * low:.1f} – {100 * high:.1f}" if row.scored else "-",
            str(row.errors or ""),
            "stopped: " + row.stopped if row.stopped else "complete" if row.complete else "incomplete",
            f"{row.date:%Y-%m-%d %H:%M}",
        )
    return table
