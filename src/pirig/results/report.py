"""What is known of one run, as one value: every page, table and file about a run is made of it.

Law: a report is of the whole run. What any command on it planned counts, and so does whatever is recorded beyond that.
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
"""Of `as_json`; described in docs/schema/report-1.json. A key may be added, any other change is another number."""

TIMES = ("reset", "simulation", "rendering", "inference", "other")


@dataclasses.dataclass(frozen=True)
class Report:
    run: str
    manifest: Mapping[str, Any]
    results: tuple[EpisodeResult, ...]  # one per episode, in order of completion
    planned: tuple[EpisodeSpec, ...]  # ascending; with every result's
    names: Mapping[int, str]  # language instruction by task id; may lack some
    videos: Mapping[EpisodeSpec, str] = dataclasses.field(default_factory=dict)  # address, relative to the page
    is_planned: bool = True  # somebody knew what was planned

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
        """The published π0.5's success rate on this suite, 0 to 1."""
        percent = PUBLISHED.get(self.suite)
        return None if percent is None else percent / 100

    @property
    def placement(self) -> Placement | None:
        """Beside the published rate; None where there is none, and before the run is complete."""
        return place(self.suite, self.total.successes, self.total.scored) if self.is_complete else None

    @property
    def is_complete(self) -> bool:
        """Every planned episode is scored, and the plan is known."""
        known = self.is_planned or self.manifest.get("complete", True)
        return self.total.complete and self.total.scored > 0 and bool(known)

    @property
    def stopped(self) -> str:
        """What was decided when the run stopped early, as declared; else empty."""
        return runs.decided(dict(self.manifest))

    @functools.cached_property
    def quantization(self) -> quantization.Quantization | None:
        """None: the policy was not quantized."""
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
        """Ascending."""
        return sorted((r for r in self.results if r.status in status), key=lambda result: result.spec)


def make_report(
    store: RunStore,
    *,
    planned: Iterable[EpisodeSpec] = (),
    names: Mapping[int, str] | None = None,
    videos: Mapping[EpisodeSpec, str] | None = None,
) -> Report:
    """`planned`: of all commands on the run; what is recorded is added. Raises ConfigError for a damaged store."""
    results = tuple(store.results())
    planned = set(planned)
    specs = tuple(sorted(planned.union(result.spec for result in results)))
    return Report(store.directory.name, dict(store.manifest), results, specs, names or {}, videos or {}, bool(planned))


def seconds(result: EpisodeResult) -> dict[str, float]:
    """Where an episode's wall time went, by TIMES: parts that do not overlap. What was rendered is taken out of
    simulation first, since that is where it happens, and out of the reset for the rest."""
    times = result.timings
    in_simulation = min(times.rendering_s, times.simulation_s)
    reset = max(0.0, times.reset_s - (times.rendering_s - in_simulation))
    known = reset, times.simulation_s - in_simulation, times.rendering_s, times.inference_s
    return dict(zip(TIMES, (*known, max(0.0, result.wall_s - sum(known))), strict=True))


def mean_seconds(results: Iterable[EpisodeResult]) -> dict[str, float]:
    """Of an average episode; errors left out. All zero where there is none."""
    parts = [seconds(result) for result in results if result.status != "error"]
    return {name: sum(part[name] for part in parts) / max(1, len(parts)) for name in TIMES}


def mean_inference_s(results: Iterable[EpisodeResult]) -> float | None:
    """Of one question to the policy; None where none was asked."""
    times = [result.timings for result in results if result.status != "error"]
    chunks = sum(time.chunks for time in times)
    return sum(time.inference_s for time in times) / chunks if chunks else None
