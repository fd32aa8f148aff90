"""Summarize all suites: the latest exports next to the published results."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pirig.errors import DamagedFile
from pirig.results.statistics.intervals import Count, Estimate, clustered
from pirig.results.statistics.published import PUBLISHED
from pirig.results.statistics.tally import wilson


@dataclasses.dataclass(frozen=True)
class SuiteRow:
    suite: str
    successes: int
    scored: int
    complete: bool  # every planned episode is scored
    run: str
    tasks: tuple[Count, ...] = ()  # successes and scored episodes of each task

    @property
    def rate(self) -> float:
        return self.successes / self.scored

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % Wilson interval of the success rate."""
        return wilson(self.successes, self.scored)


def latest(results: pathlib.Path, suites: Sequence[str]) -> list[SuiteRow]:
    """Return the rows of those suites that have an export with scored episodes.

    Raises ConfigError for a damaged export.
    """
    rows = []
    for suite in suites:
        path = results / f"{suite}_results.json"
        if not path.exists():
            continue
        try:
            found = json.loads(path.read_bytes())
            row = SuiteRow(
                suite,
                int(found["total_successes"]),
                int(found["total_episodes"]),
                bool(found.get("complete", True)),  # files of other evaluators do not have this key
                str(found.get("run", "")),
                _tasks(found["results"]),
            )
        except (ValueError, KeyError, TypeError) as e:
            raise DamagedFile(f"{path} is no results file ({e}); run the suite again, its episodes are kept") from e
        if row.scored:
            rows.append(row)
    return rows


def average(rows: Sequence[SuiteRow]) -> float | None:
    """Return the mean of the suites' success rates, computed like the published average.

    Returns None unless all four suites are present and complete.
    """
    by_suite = {row.suite: row for row in rows if row.complete}
    if not PUBLISHED.keys() <= by_suite.keys():
        return None
    return sum(by_suite[suite].rate for suite in PUBLISHED) / len(PUBLISHED)


def average_interval(rows: Sequence[SuiteRow]) -> Estimate | None:
    """Return the interval of `average`, with the tasks of each suite treated as a sample of tasks like them.

    Returns None if there is no average, or if a file does not contain the results of its tasks.
    """
    by_suite = {row.suite: row for row in rows if row.complete and row.tasks}
    if not PUBLISHED.keys() <= by_suite.keys():
        return None
    return clustered([by_suite[suite].tasks for suite in PUBLISHED])


def complete_counts(rows: Sequence[SuiteRow]) -> dict[str, Count]:
    """Return the successes and scored episodes of the complete runs, by suite."""
    return {row.suite: (row.successes, row.scored) for row in rows if row.complete}


def _tasks(episodes: Iterable[Mapping[str, Any]]) -> tuple[Count, ...]:
    counts: dict[int, Count] = {}
    for episode in episodes:
        successes, scored = counts.get(int(episode["task_id"]), (0, 0))
        counts[int(episode["task_id"])] = successes + bool(episode["success"]), scored + 1
    return tuple(counts[task_id] for task_id in sorted(counts))
