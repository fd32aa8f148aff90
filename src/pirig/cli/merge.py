"""Join parts of a run that several machines made, and write exports and report (`pirig merge WHOLE PART…`)."""

import dataclasses
import pathlib
from typing import Annotated

import tyro

from pirig.errors import ConfigError
from pirig.launch import exports, reports
from pirig.launch.settings import RESULTS, VIDEOS
from pirig.results import runs
from pirig.results.merge import merge
from pirig.results.store import RunStore
from pirig.sim import suites


@dataclasses.dataclass(frozen=True)
class MergeArgs:
    whole: Annotated[str, tyro.conf.Positional]
    """Name of the joined run."""
    parts: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Runs to join: their names or their folders."""
    results: pathlib.Path = RESULTS
    """Results folder. Runs are looked up by name in its folder runs, and the joined run is written there."""
    videos: pathlib.Path = VIDEOS
    """Videos folder. The report links to the videos in the folder with the run's name."""


def run(flags: MergeArgs) -> int:
    """Join the runs. Raises ConfigError if they are not parts of one run."""
    if pathlib.PurePath(flags.whole).name != flags.whole or flags.whole in (".", ".."):
        raise ConfigError(f"{flags.whole!r} is no name of a run, which is one word without slashes")
    sources = [runs.find(name, flags.results) for name in flags.parts]
    (flags.results / "runs").mkdir(parents=True, exist_ok=True)
    store = merge(flags.results / "runs" / flags.whole, sources)
    found = runs.overview(store)
    low, high = found.interval
    print(
        f"{found.run}: {found.scored} episodes of {found.suite}, {found.successes} succeeded "
        f"(95 % Wilson {100 * low:.1f} – {100 * high:.1f}), {found.errors} errors"
    )
    _write(store, flags)
    if not found.complete:
        print(f"not every part is complete: pirig eval --run {flags.whole} with the same flags goes on with it")
    return 0


def _write(store: RunStore, flags: MergeArgs) -> None:
    """Write exports and pages, as `pirig eval` does. The joined run becomes its suite's latest."""
    recorded = {result.spec for result in store.results()}
    planned = sorted(recorded.union(reports.planned(store.manifest)))
    path, _, _ = exports.write(store, planned, flags.results)
    print(f"results: {path}")
    print(f"report: {reports.write_run(store, flags.videos)}")
    reports.write_overview(flags.results, tuple(suites.MAX_STEPS))
