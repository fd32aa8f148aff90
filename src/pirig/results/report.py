"""A `Report` holds everything known about one run; every page, table and file about a run is made from it.

Law: A report covers the whole run. It counts everything that any command on the run planned, and everything that is
recorded beyond that.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from pirig.results import quantization, runs
from pirig.results.statistics.published import PUBLISHED, Placement, place
from pirig.results.statistics.tally import Tally, tally, tally_by_task
from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec

SCHEMA = "pirig-report/1"
"""Schema of `as_json`, see docs/schema/report-1.json. A key may be added; any other change needs a new number."""

TIMES = ("reset", "simulation", "rendering", "inference", "other")


@dataclasses.dataclass(frozen=True)
class Report:
    run: str
    manifest: Mapping[str, Any]
    results: tuple[EpisodeResult, ...]  # one per episode, in order of completion
    planned: tuple[EpisodeSpec, ...]  # ascending; includes the specs of all results
    names: Mapping[int, str]  # language instruction by task id; may be incomplete
    videos: Mapping[EpisodeSpec, str] = dataclasses.field(default_factory=dict)  # addresses, relative to the page
    is_planned: bool = True  # whether the plan is known

    @property
    def configuration(self) -> Mapping[str, Any]:
        return self.manifest["configuration"]

    @property
    def suite(self) -> str:
        return str(self.configuration.get("suite", ""))

    @property
    def policy(self) -> str:
        return str(self.configuration.get("policy", ""))

    @property
    def published(self) -> float | None:
        """Return the published success rate of π0.5 on this suite (0 to 1), or None if there is none."""
        percent = PUBLISHED.get(self.suite)
        return None if percent is None else percent / 100

    @property
    def placement(self) -> Placement | None:
        """Return the comparison with the published rate.

        It is None if no rate is published, and before the run is complete.
        """
        return place(self.suite, self.total.successes, self.total.scored) if self.is_complete else None

    @property
    def is_complete(self) -> bool:
        """Return whether the plan is known and every planned episode is scored."""
        known = self.is_planned or self.manifest.get("complete", True)
        return self.total.complete and self.total.scored > 0 and bool(known)

    @property
    def stopped(self) -> str:
        """Return what the declared stopping rule decided if the run stopped early, otherwise an empty string."""
        return runs.decided(dict(self.manifest))

    @functools.cached_property
    def quantization(self) -> quantization.Quantization | None:
        """Return the quantization of the policy, or None if it was not quantized."""
        return quantization.of_run(self.configuration)

    @functools.cached_property
    def total(self) -> Tally:
        return tally(self.results, self.planned)

    @functools.cached_property
    def by_task(self) -> Mapping[int, Tally]:
        return tally_by_task(self.results, self.planned)

    @functools.cached_property
    def by_spec(self) -> Mapping[EpisodeSpec, EpisodeResult]:
        return {result.spec: result for result in self.results}

    def task_name(self, task_id: int) -> str:
        return self.names.get(task_id, f"task {task_id}")

    def with_status(self, *status: str) -> list[EpisodeResult]:
        """Return the results with one of these statuses, sorted by spec."""
        return sorted((r for r in self.results if r.status in status), key=lambda result: result.spec)


def make_report(
    store: RunStore,
    *,
    planned: Iterable[EpisodeSpec] = (),
    names: Mapping[int, str] | None = None,
    videos: Mapping[EpisodeSpec, str] | None = None,
) -> Report:
    """Build the report of a stored run.

    `planned`: episodes that all commands on the run planned; recorded episodes are added.

    Raises ConfigError for a damaged store.
    """
    results = tuple(store.results())
    planned = set(planned)
    specs = tuple(sorted(planned.union(result.spec for result in results)))
    return Report(store.directory.name, dict(store.manifest), results, specs, names or {}, videos or {}, bool(planned))


def seconds(result: EpisodeResult) -> dict[str, float]:
    """Divide an episode's wall time into the parts of TIMES, which do not overlap [s].

    Rendering time is subtracted from simulation first, because rendering happens there, and the remainder from the
    reset.
    """
    times = result.timings
    in_simulation = min(times.rendering_s, times.simulation_s)
    reset = max(0.0, times.reset_s - (times.rendering_s - in_simulation))
    known = reset, times.simulation_s - in_simulation, times.rendering_s, times.inference_s
    return dict(zip(TIMES, (*known, max(0.0, result.wall_s - sum(known))), strict=True))


def mean_seconds(results: Iterable[EpisodeResult]) -> dict[str, float]:
    """Return the parts of an average episode's wall time [s], errors excluded.

    All parts are zero if there is no such episode.
    """
    parts = [seconds(result) for result in results if result.status != "error"]
    return {name: sum(part[name] for part in parts) / max(1, len(parts)) for name in TIMES}


def mean_inference_s(results: Iterable[EpisodeResult]) -> float | None:
    """Return the mean duration of one query to the policy [s], or None if there was no query."""
    times = [result.timings for result in results if result.status != "error"]
    chunks = sum(time.chunks for time in times)
    return sum(time.inference_s for time in times) / chunks if chunks else None
