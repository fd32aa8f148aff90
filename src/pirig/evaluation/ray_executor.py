"""Run jobs on the nodes of a Ray cluster. Ray starts the workers, and reports when one is lost.

Law 1: A worker does the same as on one machine. Results go to the coordinator, which alone writes them.
Law 2: A worker that is lost, alone or with its node, costs no result: another worker does its job. A job that was lost
`_LOSSES_OF_A_JOB` times is an `error`, because the job itself may kill workers. A worker that hangs counts as lost.
Law 3: Nodes that join the cluster during the run are used.
Law 4: A worker that cannot start stops the run, and the error has its reason. So do `_DEATHS_IN_A_ROW` deaths, without
a result in between, on nodes that are alive.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from pirig import imports
from pirig.errors import StartError
from pirig.evaluation import worker_life
from pirig.evaluation.executors import OnReady, OnStart, ignore
from pirig.evaluation.plan import spec_of
from pirig.evaluation.ray_nodes import Node, Nodes
from pirig.interfaces import Work, WorkerFactory
from pirig.types import EpisodeResult, EpisodeSpec, Job, Video

_log = logging.getLogger(__name__)
_TICK_S = 1.0
_CLOSES_WITHIN_S = 20.0
_LOSSES_OF_A_JOB = 3
_DEATHS_IN_A_ROW = 5
_NO_NODE_FOR_S = 1800.0
_GIB = 2**30

AtNode = Callable[[WorkerFactory, Sequence[str]], WorkerFactory]
"""Adapts a worker factory to a node. The second argument has the addresses of the policy hosts that the node uses."""


class RayExecutor:
    """Run a worker on each core of the nodes. Implements interfaces.Executor."""

    def __init__(
        self,
        nodes: Nodes,
        at_node: AtNode,
        on_ready: OnReady = ignore,
        on_start: OnStart = ignore,
        *,
        workers: int | None = None,
        recycle_after: int = 200,
        max_memory_gib: float = 4.0,
        settle_s: float = 40.0,
        job_timeout_s: float = 0.0,
    ):
        """Set the limits of the workers. Starts no process.

        `workers`: total number; default: the number of cores. `recycle_after`, `max_memory_gib`: as in
        ProcessExecutor. `settle_s`: how long a lost worker's place stays empty; by then Ray knows whether the node is
        dead. `job_timeout_s`: time limit of a job, and of a start; 0: none.
        """
        self._ray = imports.require("ray", extra="ray")
        self._nodes, self._at_node, self._on_ready, self._on_start = nodes, at_node, on_ready, on_start
        self._most, self._recycle_after, self._max_memory = workers, recycle_after, max_memory_gib * _GIB
        self._settle_s, self._timeout_s = settle_s, job_timeout_s or math.inf
        self._slots: list[_Slot] = []
        self._vacant: list[tuple[str, float]] = []  # (node id, time until which a lost worker's place stays empty)
        self._deaths, self._losses = 0, Counter[Job]()
        self._deserted_since_s: float | None = None

    def run(self, work: Work, make_worker: WorkerFactory) -> Iterator[EpisodeResult | Video]:
        try:
            while len(work) or any(slot.job is not None for slot in self._slots):
                nodes = self._nodes.usable()
                for slot in [slot for slot in self._slots if slot.node not in nodes]:  # or its hosts changed
                    yield from self._lose(slot, work, "its node, or a policy host there", has_died=False)
                for slot in [slot for slot in self._slots if time.monotonic() - slot.since_s >= self._timeout_s]:
                    if slot.pending is not None:
                        yield from self._lose(slot, work, f"no sign for {self._timeout_s:g} s: --episode-timeout-s")
                self._staff(nodes, work, make_worker)
                self._hand_out(work)
                pending = {slot.pending: slot for slot in self._slots if slot.pending is not None}
                if not pending:
                    time.sleep(_TICK_S)
                    continue
                self._ray.wait(list(pending), num_returns=1, timeout=_TICK_S)
                ready, _ = self._ray.wait(list(pending), num_returns=len(pending), timeout=0)  # all answers so far
                for reference in ready:
                    yield from self._hear(pending[reference], work)
        finally:
            _end(self._ray, self._slots)
            self._slots.clear()

    def _staff(self, nodes: Sequence[Node], work: Work, make_worker: WorkerFactory) -> None:
        """Start workers on nodes with free cores, but not more than there are jobs."""
        self._judge_losses({node.id for node in nodes})
        self._wait_for_nodes(bool(nodes))
        limit = self._most or sum(node.cpus for node in nodes)
        wanted = min(limit, len(work) + sum(slot.job is not None for slot in self._slots))
        while len(self._slots) < wanted:
            room = {node: node.cpus - self._taken(node) for node in nodes}
            node = max(room, key=lambda node: room[node], default=None)
            if node is None or room[node] < 1:
                return
            index = _first_free(slot.index for slot in self._slots)
            place = _first_free(slot.place for slot in self._slots if slot.node.id == node.id)
            factory = self._at_node(make_worker, node.addresses)
            self._slots.append(_Slot(self._ray, index, place, node, factory))

    def _taken(self, node: Node) -> int:
        return sum(slot.node.id == node.id for slot in self._slots) + sum(id_ == node.id for id_, _ in self._vacant)

    def _hand_out(self, work: Work) -> None:
        for slot in self._slots:
            if slot.pending is None:
                busy = [spec_of(other.job) for other in self._slots if other is not slot and other.job is not None]
                if (job := work.take(slot.last, busy)) is not None:
                    slot.give(job)
                    self._on_start(slot.index, job)

    def _hear(self, slot: "_Slot", work: Work) -> Iterator[EpisodeResult | Video]:
        try:
            kind, value, memory = self._ray.get(slot.pending)
        except self._ray.exceptions.RayTaskError as e:
            raise StartError(f"a worker of node {slot.node.name} broke:\n{e}") from e
        except self._ray.exceptions.RayError as e:
            yield from self._lose(slot, work, type(e).__name__)
            return
        slot.pending = None
        if kind == "failed":
            raise StartError(f"node {slot.node.name}: {value}")
        if kind == "ready":
            self._on_ready({**value, "node": slot.node.name})
            return
        slot.job, slot.done, self._deaths = None, slot.done + 1, 0
        if slot.done >= self._recycle_after or memory > self._max_memory:
            self._slots.remove(slot)
            _end(self._ray, [slot])
        yield value

    def _lose(self, slot: "_Slot", work: Work, how: str, *, has_died: bool = True) -> Iterator[EpisodeResult | Video]:
        """Remove the worker and return its job to the queue, or yield an error if the job was lost too often (law 2).

        `has_died`: the worker died by itself, so its place stays empty until `_judge_losses` has counted the death. A
        worker that is killed here because its node or policy host is lost does not count. Otherwise one lost host would
        count as the deaths of all workers that use it, and stop the run.
        """
        self._slots.remove(slot)
        slot.kill()
        if has_died:
            self._vacant.append((slot.node.id, time.monotonic() + self._settle_s))
        what = f" during {spec_of(slot.job).key}" if slot.job is not None else ""
        _log.warning("a worker of node %s is lost (%s)%s", slot.node.name, how, what)
        if slot.job is None:
            return
        self._losses[slot.job] += 1
        if self._losses[slot.job] < _LOSSES_OF_A_JOB:
            work.put_back(slot.job)
        else:
            how = f"its worker was lost {_LOSSES_OF_A_JOB} times, the last time on {slot.node.name}"
            yield worker_life.lost(slot.job, how)

    def _judge_losses(self, alive: Collection[str]) -> None:
        """Count the deaths of workers on nodes that are alive (law 4).

        Workers that were lost with their node do not count. Raises StartError if too many died in a row.
        """
        now = time.monotonic()
        for place in [place for place in self._vacant if place[0] not in alive or place[1] <= now]:
            self._vacant.remove(place)
            self._deaths += place[0] in alive
        if self._deaths >= _DEATHS_IN_A_ROW:
            raise StartError(f"{self._deaths} workers died in a row without a result; Ray's logs say how")

    def _wait_for_nodes(self, is_there_one: bool) -> None:
        now = time.monotonic()
        if is_there_one or self._slots:
            self._deserted_since_s = None
        elif self._deserted_since_s is None:
            self._deserted_since_s = now
            _log.warning("no node of the cluster can work now; waiting for one")
        elif now - self._deserted_since_s > _NO_NODE_FOR_S:
            raise StartError(f"no node of the cluster could work for {_NO_NODE_FOR_S:.0f} s; see: ray status")


class _Slot:
    """Control one worker from the coordinator."""

    def __init__(self, ray: Any, index: int, place: int, node: Node, make_worker: WorkerFactory):
        """Start the worker. `index`: its number in the cluster. `place`: its number on the node."""
        self.index, self.place, self.node, self.done = index, place, node, 0
        self.job: Job | None = None
        self.last: EpisodeSpec | None = None
        self.since_s = time.monotonic()  # when the current job, or the start, began
        self._ray = ray
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)
        self._actor = ray.remote(_WorkerActor).options(num_cpus=1, scheduling_strategy=strategy).remote()
        self.pending: Any = self._actor.start.remote(make_worker, place)  # call in progress; None: the worker is idle

    def give(self, job: Job) -> None:
        self.job, self.last, self.since_s = job, spec_of(job), time.monotonic()
        self.pending = self._actor.do.remote(job)

    def close(self) -> Any:
        """Close the simulator. Return Ray's reference to this call."""
        return self._actor.close.remote()

    def kill(self) -> None:
        self._ray.kill(self._actor)


def _end(ray: Any, slots: Sequence[_Slot]) -> None:
    """Kill the workers, after the idle ones have closed their simulators, all at the same time."""
    if closing := [slot.close() for slot in slots if slot.pending is None]:
        ray.wait(closing, num_returns=len(closing), timeout=_CLOSES_WITHIN_S)
    for slot in slots:
        slot.kill()


class _WorkerActor:
    """Run one worker in a process of Ray. `start` and `do` return (kind, value, resident memory [bytes])."""

    def start(self, make_worker: WorkerFactory, place: int) -> tuple[str, Any, int]:
        self._worker, found = worker_life.start(make_worker, place)
        return *found, worker_life.resident()

    def do(self, job: Job) -> tuple[str, EpisodeResult | Video, int]:
        assert self._worker
        return "result", self._worker(job), worker_life.resident()

    def close(self) -> None:
        if self._worker:
            self._worker.close()


def _first_free(taken: Iterable[int]) -> int:
    numbers = set(taken)
    return next(i for i in range(len(numbers) + 1) if i not in numbers)
