"""`pirig eval` with a stage: the command as it is, but for what has to be told where to break.

    fake      the library's fake scene in the place of LIBERO's, its random policy in the place of a model
    libero    LIBERO, and checkpoints; environment and policy only say when they come to a phase

Flags, store, executors, policy hosts, pipes, sockets, exports and pages are the product's own.
"""

import dataclasses
import functools
import multiprocessing.connection
import os
import resource
import signal
import time
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

import pirig.launch.worker
from faults.stage import Stage
from pirig.evaluation.worker import EpisodeWorker
from pirig.interfaces import Policy
from pirig.launch.model_loading import ModelLoader, ModelRequest
from pirig.launch.worker import LiberoWorkerFactory
from pirig.machine.placement import ANYWHERE, HostPlace
from pirig.policies.baselines import RandomPolicy
from pirig.serving.pipe import Answering
from pirig.sim.libero import LiberoEnvironment
from pirig.testing import FakeEnvironment
from pirig.types import EpisodeSpec, Metadata, Observation, Step

_STEP = 12  # of an episode, at which its environment arrives: behind the settle steps
_HOARD = 300 << 20  # [bytes]


def run(words: Sequence[str]) -> None:
    """`words`: the stage's folder, fake or libero, and what stands behind `pirig eval`."""
    import pirig.launch.evaluate  # what workers do not need, who import this file too
    from pirig.cli.main import main

    folder, kind, *rest = words
    stage = Stage.read(folder)
    pirig.launch.evaluate.LiberoWorkerFactory = functools.partial(StagedFactory, stage=stage, is_fake=kind == "fake")
    prepare = ModelRequest.prepare
    ModelRequest.prepare = (
        (lambda _, *batch: _staged_model(stage, *batch))
        if kind == "fake"
        else (lambda model, *batch: StagedCheckpoint(**vars(prepare(model, *batch)), stage=stage))
    )
    _announce_appends(stage)
    main(["eval", *rest])


@dataclasses.dataclass(frozen=True)
class StagedFactory(LiberoWorkerFactory):
    stage: Stage = Stage  # ty: ignore[invalid-assignment]
    is_fake: bool = True

    def __call__(self, index: int) -> EpisodeWorker:
        _suffer(self.stage.arrive("worker", "set-up"))
        _halve_messages(self.stage, "worker", b"EpisodeResult")
        if self.is_fake:
            return EpisodeWorker(StagedFake(self.stage), self.policy.open(index), self.rules, self.first)
        pirig.launch.worker.LiberoEnvironment = functools.partial(StagedLibero, stage=self.stage)
        return super().__call__(index)


class _Staged:
    """An environment that announces one step of each episode."""

    _stage: Stage

    def reset(self, spec: EpisodeSpec, look: Collection[str] = ()) -> Step:
        self._taken = 0
        return super().reset(spec, look)

    def step(self, action: np.ndarray, look: Collection[str] = ()) -> Step:
        self._taken += 1
        if self._taken == _STEP:
            self._suffer(self._stage.arrive("worker", "episode"))
        return super().step(action, look)

    def _suffer(self, act: str) -> None:
        _suffer(act)


class StagedFake(_Staged, FakeEnvironment):
    def __init__(self, stage: Stage):
        self._stage = stage


class StagedLibero(_Staged, LiberoEnvironment):
    def __init__(self, *args: Any, stage: Stage, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._stage = stage

    def _suffer(self, act: str) -> None:
        if act in ("nan", "huge"):
            self._open_scene().built.problem.sim.data._data.qvel[0] = np.nan if act == "nan" else 1e12
        else:
            _suffer(act)


@dataclasses.dataclass(frozen=True)
class StagedModel:
    """In the place of a `ModelLoader`: what a policy host loads."""

    stage: Stage
    max_batch: int
    place: HostPlace = ANYWHERE

    def __call__(self) -> "StagedPolicy":
        _suffer(self.stage.arrive("policy host", "set-up"))
        _halve_answers(self.stage)
        return StagedPolicy(self.stage)


class StagedPolicy(RandomPolicy):
    metadata: Metadata = {"name": "random", "observations": []}

    def __init__(self, stage: Stage):
        self._stage = stage

    def infer(self, obs: Observation) -> dict[str, Any]:
        answer = super().infer(obs)
        if obs["noise_key"].endswith("/call0"):  # a warm-up, or the beginning of an episode
            return answer
        act = self._stage.arrive("policy host", "episode")
        if act in SPOILED:
            return SPOILED[act](answer["actions"])
        _suffer(act)
        return answer


@dataclasses.dataclass(frozen=True)
class StagedCheckpoint(ModelLoader):
    stage: Stage = Stage  # ty: ignore[invalid-assignment]

    def __call__(self) -> "StagedInference":
        return StagedInference(super().__call__(), self.stage)


def _staged_model(stage: Stage, max_batch: Any, auto_batch: int) -> StagedModel:
    return StagedModel(stage, auto_batch if max_batch == "auto" else max_batch)


class StagedInference:
    """A model that says when it is asked."""

    def __init__(self, policy: Policy, stage: Stage):
        self._policy, self._stage = policy, stage
        self.metadata, self.max_batch = policy.metadata, policy.max_batch

    def infer(self, obs: Observation) -> dict[str, Any]:
        return self._policy.infer(obs)

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        _suffer(self._stage.arrive("policy host", "episode"))
        return self._policy.infer_batch(observations)

    def close(self) -> None:
        self._policy.close()


SPOILED = {  # what a policy answers in the place of its actions
    "nan": lambda actions: {"actions": np.where(np.arange(7) == 3, np.nan, actions)},
    "shape": lambda actions: {"actions": actions[:, :6]},
    "dtype": lambda actions: {"actions": actions > 0},
    "short": lambda actions: {"actions": actions[:2]},
    "nothing": lambda actions: {"action": actions},
    "unsendable": lambda actions: {"actions": {1, 2}},
}


def _suffer(act: str) -> None:
    """What a process does to itself."""
    if act == "raise":
        raise RuntimeError("something broke in here")
    if act == "hang":
        time.sleep(3600)
    if act == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if act == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if act == "exit":
        os._exit(11)
    if act == "hoard":
        _kept.append(np.ones(_HOARD, np.uint8))
    if act == "run out of memory":
        _run_out_of_memory()


_kept: list[np.ndarray] = []


def _run_out_of_memory() -> None:
    """The limit is the kernel's; it is lifted again, as another process would give back what it had."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), before[1]))
    try:
        np.ones(_HOARD, np.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _halve_messages(stage: Stage, role: str, mark: bytes) -> None:
    """A message with `mark` in it, which is due, is sent by halves, and the phase is between them."""
    whole = multiprocessing.connection.Connection._send

    def send(self: Any, buf: Any, *write: Any) -> None:
        data = bytes(buf)
        if mark in data and stage.is_due(role, "writing"):
            half = len(data) // 2
            whole(self, data[:half], *write)
            stage.wait()
            data = data[half:]
        whole(self, data, *write)

    multiprocessing.connection.Connection._send = send


def _halve_answers(stage: Stage) -> None:
    """An answer of the policy host, which is due, is sent by halves, and the phase is between them."""
    whole = Answering._write

    def write(self: Answering, client: Any) -> None:
        if b"actions" in client.outgoing and stage.is_due("policy host", "writing"):
            rest = client.outgoing[len(client.outgoing) // 2 :]
            del client.outgoing[-len(rest) :]
            whole(self, client)
            stage.wait()
            client.outgoing += rest
        whole(self, client)

    Answering._write = write


def _announce_appends(stage: Stage) -> None:
    """The coordinator writes: a line is in the file, and not on disk yet."""
    whole = os.fsync

    def fsync(fd: int) -> None:
        is_store = os.readlink(f"/proc/self/fd/{fd}").endswith("/episodes.jsonl")
        if is_store and stage.is_due("coordinator", "writing"):
            stage.wait()
        whole(fd)

    os.fsync = fsync
