"""Run jobs in this process, or in worker processes.

A worker process is started with `spawn`, so that it has its own render context and its own global generator of NumPy.
LIBERO needs both.

Law 1: A worker that dies costs one `error` result and is replaced.
Law 2: A worker that cannot start stops the run, and the error has its reason. So do `_DEATHS_IN_A_ROW` deaths without a
result in between.
Law 3: A worker that has done its number of jobs, or uses too much memory, is replaced between two jobs.
Law 4: A worker that hangs is killed, and counts as one that died.
Law 5: A worker exits when its coordinator exits, however that happened and whatever the worker was doing.
"""

import contextlib
import math
import multiprocessing as mp
import multiprocessing.connection
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from pirig.errors import StartError
from pirig.evaluation import worker_life
from pirig.evaluation.plan import spec_of
from pirig.interfaces import Work, WorkerFactory
from pirig.text import process_end
from pirig.types import EpisodeResult, EpisodeSpec, Job, Video

_SPAWN = mp.get_context("spawn")
_DEATHS_IN_A_ROW = 5
_CLOSES_WITHIN_S = 20.0
_GIB = 2**30

OnReady = Callable[[Mapping[str, Any]], None]
"""The executor calls this with the description of each worker that has started."""

OnStart = Callable[[int, Job], None]
"""The executor calls this with the index of a worker and the job that it was given."""


def ignore(*_: object) -> None:
    """Do nothing. This is the default of OnReady and OnStart."""


class SerialExecutor:
    """Run one job after another in this process. Use this executor for debugging."""

    def __init__(self, on_ready: OnReady = ignore, on_start: OnStart = ignore):
        self._on_ready, self._on_start = on_ready, on_start

    def run(self, work: Work, make_worker: WorkerFactory) -> Iterator[EpisodeResult | Video]:
        if not len(work):
            return
        worker = make_worker(0)
        try:
            self._on_ready(worker.description)
            last: EpisodeSpec | None = None
            while (job := work.take(last, ())) is not None:
                last = spec_of(job)
                self._on_start(0, job)
                yield worker(job)
        finally:
            worker.close()


class ProcessExecutor:
    """Run jobs in `workers` processes, each pinned to its own core if there are enough cores."""

    def __init__(
        self,
        workers: int,
        on_ready: OnReady = ignore,
        on_start: OnStart = ignore,
        *,
        cores: Sequence[int] = (),
        recycle_after: int = 200,
        max_memory_gib: float = 4.0,
        job_timeout_s: float = 0.0,
    ):
        """Set the limits of the workers. Starts no process.

        `cores`: cores of the workers, in the order of their indices; default: all that this process may use.
        `recycle_after`: number of jobs after which a process is replaced. `max_memory_gib`: resident memory beyond
        which it is replaced. `job_timeout_s`: time limit of a job, and of a start; 0: none.
        """
        self._workers, self._on_ready, self._on_start = workers, on_ready, on_start
        self._at_first, self._cores = workers, list(cores) or sorted(os.sched_getaffinity(0))
        self._recycle_after, self._max_memory = recycle_after, max_memory_gib * _GIB
        self._timeout_s = job_timeout_s or math.inf

    def run(self, work: Work, make_worker: WorkerFactory) -> Iterator[EpisodeResult | Video]:
        slots: list[_Slot] = []
        deaths = 0
        try:
            slots = [_Slot(i, make_worker, self._core(i)) for i in range(min(self._workers, len(work)))]
            while slots:
                self._fit(slots, work, make_worker)
                if not self._is_occupied(slots, work):
                    return
                for slot, (kind, value) in self._messages([slot for slot in slots if not slot.is_idle]):
                    if kind == "ready":
                        self._on_ready(value)
                    elif kind == "failed":
                        raise StartError(value)
                    elif kind == "died":
                        deaths += 1
                        if slot.job is None or deaths >= _DEATHS_IN_A_ROW:
                            raise StartError(f"{value}; {deaths} in a row without a result, so the run stops")
                        slots[slots.index(slot)] = self._successor(slot, make_worker)
                        yield worker_life.lost(slot.job, value)
                    else:
                        deaths = 0
                        if self._is_spent(slot):
                            slot.stop()
                            slots[slots.index(slot)] = self._successor(slot, make_worker)
                        yield value
        finally:
            for slot in slots:
                slot.close()
            for slot in slots:
                slot.stop()

    def resize(self, workers: int) -> None:
        """Change the number of workers: more are started, or surplus ones stop after their current job.

        Call it from the thread that iterates over `run`.
        """
        self._workers = workers

    def _messages(self, busy: "list[_Slot]") -> "Iterator[tuple[_Slot, tuple[str, Any]]]":
        """Wait until a busy worker sends a message or exceeds its time limit, and yield (worker, message)."""
        left_s = min(slot.since_s for slot in busy) + self._timeout_s - time.monotonic()
        ready = set(mp.connection.wait([slot.pipe for slot in busy], None if left_s == math.inf else max(0.0, left_s)))
        for slot in busy:
            if slot.pipe in ready:
                yield slot, slot.take()
            elif time.monotonic() - slot.since_s >= self._timeout_s and not slot.pipe.poll():
                yield slot, slot.give_up(self._timeout_s)

    def _fit(self, slots: "list[_Slot]", work: Work, make_worker: WorkerFactory) -> None:
        for slot in [slot for slot in reversed(slots) if slot.is_idle][: max(0, len(slots) - self._workers)]:
            slot.stop()
            slots.remove(slot)
        if self._workers <= self._at_first:
            return
        wanted = min(self._workers, len(work) + sum(not slot.is_idle for slot in slots))
        if len(slots) < wanted > len(self._cores):  # more workers than cores
            for slot in slots:
                slot.unpin(self._cores)
        while len(slots) < wanted:
            index = min(set(range(wanted)) - {slot.index for slot in slots})
            slots.append(_Slot(index, make_worker, self._core(index)))

    def _is_occupied(self, slots: "list[_Slot]", work: Work) -> bool:
        """Give jobs to idle workers. Return whether any worker is busy, because its result may add jobs."""
        for slot in slots:
            if slot.is_idle:
                busy = [spec_of(other.job) for other in slots if other is not slot and other.job is not None]
                if (job := work.take(slot.last, busy)) is not None:
                    slot.give(job)
                    self._on_start(slot.index, job)
        return any(not slot.is_idle for slot in slots) and (
            len(work) > 0 or any(slot.job is not None for slot in slots)
        )

    def _successor(self, slot: "_Slot", make_worker: WorkerFactory) -> "_Slot":
        return _Slot(slot.index, make_worker, self._core(slot.index))

    def _is_spent(self, slot: "_Slot") -> bool:
        return slot.done >= self._recycle_after or slot.memory() > self._max_memory

    def _core(self, index: int) -> int | None:
        return self._cores[index] if self._workers <= len(self._cores) else None


class _Slot:
    """Control one worker process from the coordinator."""

    def __init__(self, index: int, make_worker: WorkerFactory, core: int | None):
        self.index, self.done = index, 0
        self.is_idle = False  # the worker has started, and waits for a job
        self.job: Job | None = None  # the current one
        self.last: EpisodeSpec | None = None  # the last episode; its scene is built in the worker
        self.since_s = time.monotonic()  # when the current job, or the start, began
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_work, args=(index, make_worker, core, theirs), name=f"pirig-worker-{index}", daemon=True
        )
        self._process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.job, self.last, self.is_idle, self.since_s = job, spec_of(job), False, time.monotonic()
        with contextlib.suppress(OSError):  # the worker has died; `take` reports it
            self.pipe.send(job)

    def take(self) -> tuple[str, Any]:
        """Return the next message: ("ready", description), ("failed", reason), ("result", outcome) or ("died", how)."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            how = process_end(self._process.exitcode or 0)
            return "died", f"worker {self.index} died with {how}{self._where()}"
        self.is_idle = True
        if message[0] == "result":
            self.job, self.done = None, self.done + 1
        return message

    def give_up(self, after_s: float) -> tuple[str, Any]:
        """Kill a process that hangs. Return ("died", how)."""
        self._process.kill()  # a stopped process handles no signal but SIGKILL
        self._process.join()
        return "died", f"worker {self.index} gave no sign for {after_s:g} s (--episode-timeout-s){self._where()}"

    def _where(self) -> str:
        return f" during {spec_of(self.job).key}" if self.job is not None else " while it started"

    def unpin(self, cores: Collection[int]) -> None:
        with contextlib.suppress(OSError):  # the process has ended
            os.sched_setaffinity(self._process.pid or 0, cores)

    def memory(self) -> int:
        """Return the resident memory of the process [bytes]; 0 if it has ended."""
        return worker_life.resident(self._process.pid or 0)

    def close(self) -> None:
        """Ask an idle process to exit. Kill a busy one, because it reads no message during a job."""
        if not self.is_idle:
            self._process.kill()
        self.pipe.close()

    def stop(self) -> None:
        """Let an idle process close its simulator, then kill the process if it is still running."""
        self.close()
        self._process.join(timeout=_CLOSES_WITHIN_S)
        self._process.kill()
        self._process.join()


def _work(index: int, make_worker: WorkerFactory, core: int | None, pipe: mp.connection.Connection) -> None:
    """Run a worker process until the coordinator closes the pipe. Signals are ignored: the coordinator handles them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(pipe.fileno(),), daemon=True).start()
    if core is not None:
        os.sched_setaffinity(0, {core})
    worker, found = worker_life.start(make_worker, index)
    try:
        pipe.send(found)
        while worker:
            pipe.send(("result", worker(pipe.recv())))
    except (EOFError, OSError):
        pass
    finally:
        if worker:
            worker.close()


def _end_with(pipe: int) -> None:
    """Exit this process after the coordinator has exited (law 5).

    A worker that waits for a job sees the closed pipe itself, and has `_CLOSES_WITHIN_S` to close its simulator. One
    that waits for a policy host would wait forever, because the host exits with the coordinator.
    """
    closed = select.poll()
    closed.register(pipe, 0)  # without an event mask, poll reports only that the other end is closed
    closed.poll()
    time.sleep(_CLOSES_WITHIN_S)
    os._exit(1)
