"""Where episodes run: in this process, or in a set of processes.

A worker process is started fresh (`spawn`), so it has a render context and a NumPy global generator of its own,
both of which LIBERO needs. Law 1: one that dies costs one `error` result and is replaced. Law 2: one that can't
start stops the run with its reason; so does a run of deaths without a result in between.
"""

import contextlib
import multiprocessing as mp
import multiprocessing.connection
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pirig.errors import PirigError, StartError
from pirig.evaluation.plan import next_for
from pirig.interfaces import WorkerFactory
from pirig.types import EpisodeResult, EpisodeSpec

_SPAWN = mp.get_context("spawn")
_DEATHS_IN_A_ROW = 5

OnReady = Callable[[Mapping[str, Any]], None]
"""Hears the description of each worker that has started."""


def ignore(_: Mapping[str, Any]) -> None:
    """The OnReady of a caller that does not care."""


class SerialExecutor:
    """Runs episodes one after another in this process. The one to debug with."""

    def __init__(self, on_ready: OnReady = ignore):
        self._on_ready = on_ready

    def run(self, specs: Sequence[EpisodeSpec], make_worker: WorkerFactory) -> Iterator[EpisodeResult]:
        if not specs:
            return
        worker = make_worker(0)
        try:
            self._on_ready(getattr(worker, "description", {}))
            todo, last = list(specs), None
            while todo:
                last = next_for(todo, last, ())
                yield worker(last)
        finally:
            _close(worker)


class ProcessExecutor:
    """Runs episodes in `workers` processes."""

    def __init__(self, workers: int, on_ready: OnReady = ignore):
        self._workers, self._on_ready = workers, on_ready

    def run(self, specs: Sequence[EpisodeSpec], make_worker: WorkerFactory) -> Iterator[EpisodeResult]:
        todo, slots, deaths = list(specs), [], 0
        try:
            slots = [_Slot(index, make_worker) for index in range(min(self._workers, len(todo)))]
            while slots:
                ready = set(mp.connection.wait([slot.pipe for slot in slots]))
                for slot in [slot for slot in slots if slot.pipe in ready]:
                    kind, value = slot.take()
                    if kind == "ready":
                        self._on_ready(value)
                    elif kind == "failed":
                        raise StartError(value)
                    elif kind == "died":
                        deaths += 1
                        if slot.spec is None or deaths >= _DEATHS_IN_A_ROW:
                            raise StartError(f"{value}; {deaths} in a row without a result, so the run stops")
                        slots.remove(slot)
                        if todo:
                            slots.append(_Slot(slot.index, make_worker))
                        yield EpisodeResult(slot.spec, "error", 0, 0, error=value)
                        continue
                    if todo:
                        slot.give(next_for(todo, slot.spec, [s.spec for s in slots if s is not slot and s.spec]))
                    else:
                        slot.stop()
                        slots.remove(slot)
                    if kind == "result":
                        deaths = 0
                        yield value
        finally:
            for slot in slots:
                slot.kill()


class _Slot:
    """One worker process, seen from the coordinator."""

    def __init__(self, index: int, make_worker: WorkerFactory):
        self.index = index
        self.spec: EpisodeSpec | None = None  # the last one given
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_work, args=(index, make_worker, theirs), name=f"pirig-worker-{index}", daemon=True
        )
        self._process.start()
        theirs.close()

    def give(self, spec: EpisodeSpec) -> None:
        self.spec = spec
        with contextlib.suppress(OSError):  # it died meanwhile; `take` says so
            self.pipe.send(spec)

    def take(self) -> tuple[str, Any]:
        """The next message: ("ready", description), ("failed", reason), ("result", result) or ("died", how)."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            where = f" during {self.spec.key}" if self.spec else " while it started"
            return "died", f"worker {self.index} died with {how}{where}"

    def stop(self) -> None:
        """Lets the process close its simulator; then makes sure that it is gone."""
        self.pipe.close()
        self._process.join(timeout=20)
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _work(index: int, make_worker: WorkerFactory, pipe: mp.connection.Connection) -> None:
    """The life of a worker process. Signals are the coordinator's business; a closed pipe is the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        worker = make_worker(index)
    except PirigError as error:
        return pipe.send(("failed", str(error)))
    except Exception:
        return pipe.send(("failed", f"worker {index} could not start:\n{traceback.format_exc()}"))
    try:
        pipe.send(("ready", getattr(worker, "description", {})))
        while True:
            pipe.send(("result", worker(pipe.recv())))
    except (EOFError, OSError):
        pass
    finally:
        _close(worker)


def _close(worker: object) -> None:
    if close := getattr(worker, "close", None):
        close()
