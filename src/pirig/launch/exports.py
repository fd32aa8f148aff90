"""Write the CSV and JSON exports of a suite's run."""

import pathlib
from collections.abc import Collection

from pirig.launch.reports import task_names
from pirig.results import runs
from pirig.results.export import export
from pirig.results.statistics.tally import Tally, tally
from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec


def write(
    store: RunStore, planned: Collection[EpisodeSpec], folder: pathlib.Path
) -> tuple[pathlib.Path, list[EpisodeResult], Tally]:
    """Export the planned episodes. Return the CSV's path, the results (errors included), and their tally."""
    configuration, wanted = store.configuration, set(planned)
    results = [result for result in store.results() if result.spec in wanted]
    total = tally(results, planned)
    low, high = total.interval
    extra = {
        "complete": total.complete,
        "planned_episodes": len(planned),
        "errors": total.errors,
        "wilson_95": [low, high],
        "run": store.directory.name,
        "stopped_early": runs.decided({**store.manifest, "complete": total.complete}) or None,
    }
    path, _ = export(
        folder,
        configuration["suite"],
        results,
        task_names=task_names(store.manifest),
        seed=configuration["seed"],
        headless=configuration["headless"],
        extra=extra,
    )
    return path, results, total
