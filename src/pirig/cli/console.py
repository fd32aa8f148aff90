"""Print what commands report about the episodes of a suite."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from pirig.results.statistics.tally import Tally


def print_table(suite: str, by_task: Mapping[int, Tally], names: Mapping[int, str]) -> None:
    table = Table(title=suite, title_justify="left")
    for column in ("task", "success", "rate", "95 % Wilson", "steps", "errors", "missing"):
        table.add_column(column, justify="left" if column == "task" else "right", overflow="fold")
    for task_id, tally in by_task.items():
        low, high = tally.interval
        table.add_row(
            f"{task_id} {names[task_id]}",
            f"{tally.successes}/{tally.scored}",
            f"{100 * tally.rate:.1f}" if tally.scored else "-",
            f"{100 * low:.1f} – {100 * high:.1f}",
            f"{tally.success_steps:.0f}" if tally.successes else "-",
            str(tally.errors or ""),
            str(tally.missing or ""),
        )
    console = Console()
    (console if console.is_terminal else Console(width=130)).print(table)


def stopped(suite: str, total: Tally, decided: str) -> str:
    """Return the last line of a run that stopped early. Its rate is no headline, because the rest of the plan is
    missing.
    """
    planned = total.scored + total.errors + total.missing
    return f"{suite}: STOPPED EARLY, {total.scored} of {planned} episodes scored, as declared: {decided}"


def verdict(suite: str, total: Tally) -> str:
    """Return the last line of a run. A run with missing episodes gets no headline number."""
    planned = total.scored + total.errors + total.missing
    if not total.complete:
        return (
            f"{suite}: INCOMPLETE, {total.scored} of {planned} episodes scored, {total.errors} errors, "
            f"{total.missing} missing; no success rate yet. The same command goes on where this one stopped."
        )
    low, high = total.interval
    return (
        f"{suite}: complete, {total.successes} of {planned} episodes succeeded: "
        f"{100 * total.rate:.1f} % (95 % Wilson {100 * low:.1f} – {100 * high:.1f})"
    )
