"""Find and list the runs of a results folder."""

import dataclasses
import datetime
import pathlib
from typing import Any

from pirig.errors import ConfigError
from pirig.results.statistics.tally import wilson
from pirig.results.store import RunStore


def find(name: str, results: pathlib.Path) -> RunStore:
    """Open a run for reading, by its folder or by its name under `results`/runs.

    Raises ConfigError if there is no such run, naming the runs that exist.
    """
    folder = pathlib.Path(name)
    if (folder / "manifest.json").exists():
        return RunStore.read(folder)
    return RunStore.read(results / "runs" / name)


@dataclasses.dataclass(frozen=True)
class Overview:
    """An `Overview` summarizes one run in one line."""

    run: str
    suite: str
    policy: str
    successes: int
    scored: int
    errors: int
    planned: int | None  # None if it was not recorded
    complete: bool
    stopped: str  # what was decided when the run stopped early; otherwise empty
    date: datetime.datetime  # time of the last result, in local time

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % Wilson interval of the success rate."""
        return wilson(self.successes, self.scored)


def overview(store: RunStore) -> Overview:
    status = [result.status for result in store.results()]
    configuration, manifest = store.configuration, store.manifest
    successes, errors = status.count("success"), status.count("error")
    episodes = store.directory / "episodes.jsonl"
    written = (episodes if episodes.exists() else store.directory / "manifest.json").stat().st_mtime
    return Overview(
        store.directory.name,
        str(configuration.get("suite", "")),
        str(configuration.get("policy", "")),
        successes,
        len(status) - errors,
        errors,
        manifest.get("planned"),
        bool(manifest.get("complete", False)),
        decided(manifest),
        datetime.datetime.fromtimestamp(written).astimezone(),
    )


def decided(manifest: dict[str, Any]) -> str:
    """Return what ended a run before its plan was complete.

    The result is empty if nothing did, and once the plan has been completed after all.
    """
    if manifest.get("complete"):
        return ""
    return (manifest.get("stopping") or {}).get("decided") or ""


def overviews(results: pathlib.Path) -> list[Overview]:
    """Return overviews of all runs, the latest first.

    Raises ConfigError if there is no run, or if one is damaged.
    """
    folders = [path.parent for path in (results / "runs").glob("*/manifest.json")]
    if not folders:
        raise ConfigError(f"no runs in {results / 'runs'}; pirig eval makes some, or name a folder: --results")
    return sorted((overview(RunStore.read(folder)) for folder in folders), key=lambda row: row.date, reverse=True)
