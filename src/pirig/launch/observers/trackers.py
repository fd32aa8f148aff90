"""Log a run's curves to a tracker (`pirig eval --track tensorboard`, `trackio` or `wandb`).

    tensorboard    event files in the run's folder, under tensorboard/: tensorboard --logdir results/libero/runs
    trackio        project pirig, on this machine: trackio show --project pirig
    wandb          project pirig, with files in the run's folder, under wandb/

A tracker reads its own environment variables, such as WANDB_MODE=offline and TRACKIO_DIR.

Law 1: A tracker changes nothing in the run. One that fails is not used for the rest of it.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

from pirig.imports import require
from pirig.interfaces import Observer
from pirig.results.curves import Curves
from pirig.results.store import RunStore
from pirig.types import EpisodeResult

TrackerName = Literal["none", "tensorboard", "trackio", "wandb"]
_EXTRAS = {"tensorboard": ("tensorboard", "trackers"), "trackio": ("trackio", "trackio"), "wandb": ("wandb", "wandb")}
_PROJECT = "pirig"
_FLUSH_S = 5
_log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Something that keeps curves."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


def check(name: TrackerName) -> None:
    """Raise MissingExtra if the tracker is not installed."""
    if name != "none":
        package, extra = _EXTRAS[name]
        require(package, extra=extra)


class Tracking(Observer):
    """Logs the curves of one suite's run. The run goes on without a tracker that fails."""

    def __init__(self, name: str, store: RunStore, scored: Iterable[EpisodeResult]):
        """`name`: one of TrackerName except none. `scored`: results that the run has already."""
        self._tracker, self._curves = _MAKERS[name](store), Curves(scored)
        self._suite, self._works = store.configuration["suite"], True

    def result(self, result: EpisodeResult) -> None:
        if result.spec.suite == self._suite:
            values = self._curves.after(result)
            self._try(lambda: self._tracker.log(values, self._curves.scored))

    def close(self) -> None:
        self._try(self._tracker.close)

    def _try(self, do: Callable[[], None]) -> None:
        """Keep the run going whatever the tracker's server or disk does."""
        if not self._works:
            return
        try:
            do()
        except Exception:
            self._works = False
            _log.warning("the tracker failed; the run goes on without it", exc_info=True)


class _TensorBoard:
    """Write event files with TensorBoard's own writer, which needs neither TensorFlow nor PyTorch."""

    def __init__(self, store: RunStore):
        files: Any = require("tensorboard.summary.writer.event_file_writer", extra="trackers")
        self._events: Any = require("tensorboard.compat.proto.event_pb2", extra="trackers")
        self._writer = files.EventFileWriter(str(store.directory / "tensorboard"), flush_secs=_FLUSH_S)

    def log(self, values: Mapping[str, float], step: int) -> None:
        event = self._events.Event(wall_time=time.time(), step=step)
        for name, value in values.items():
            event.summary.value.add(tag=name, simple_value=value)
        self._writer.add_event(event)

    def close(self) -> None:
        self._writer.close()


class _Started:
    """A run of trackio or wandb, which have the same interface."""

    def __init__(self, run: Any):
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


def _trackio(store: RunStore) -> Tracker:
    trackio: Any = require("trackio", extra="trackio")
    name, configuration = store.directory.name, dict(store.configuration)
    return _Started(trackio.init(project=_PROJECT, name=name, config=configuration, resume="allow", embed=False))


def _wandb(store: RunStore) -> Tracker:
    wandb: Any = require("wandb", extra="wandb")
    name = store.directory.name
    settings = wandb.Settings(console="off", silent=True)  # it must not capture pirig's output
    return _Started(
        wandb.init(
            project=_PROJECT,
            name=name,
            id=name,
            resume="allow",
            group=str(store.configuration.get("suite", "")),
            config=dict(store.configuration),
            dir=str(store.directory),
            settings=settings,
        )
    )


_MAKERS: Mapping[str, Callable[[RunStore], Tracker]] = {
    "tensorboard": _TensorBoard,
    "trackio": _trackio,
    "wandb": _wandb,
}
