"""How an evaluation grows with its workers: episodes a minute of 1, 2, 4 … of them, and what the coordinator costs.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --workers 1 4 --seconds 20 --rounds 1 --fake-seconds 20

Three measurements. `scripted`: whole episodes with the scripted policy, which each worker computes itself. `echo`:
the same scene with a policy that looks at two images and answers after a fixed time, whatever the batch, from a policy
host; as a fast GPU does. `coordinator`: CPU time of the evaluation's loop, store and queue with 64 workers whose
episodes have no physics and take as long as real ones. Numbers of workers take turns, so that ratios hold on a busy
machine too. Prints tables and writes JSON; docs/scaling.md says what follows.
"""

import dataclasses
import functools
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from pirig import envvars
from pirig.evaluation.episode import run_episode
from pirig.evaluation.executors import ProcessExecutor
from pirig.evaluation.plan import Plan, Work, plan
from pirig.evaluation.run import Observers, run
from pirig.interfaces import Observer, Policy, WorkerFactory
from pirig.launch import simulator
from pirig.launch.observers.progress import EpisodeProgress
from pirig.policies.baselines import RandomPolicy
from pirig.policies.scripted import ScriptedPolicy
from pirig.results.store import RunStore
from pirig.serving.host import host
from pirig.serving.host_policy import HostPolicy
from pirig.sim import boot, suites
from pirig.sim.libero import LiberoEnvironment
from pirig.testing import FakeEnvironment, FunctionWorker
from pirig.types import STANDARD_OBSERVATIONS, EpisodeResult, EpisodeSpec, Job, Observation, Rules, Video

ROOT = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Args:
    workers: tuple[int, ...] = (1, 2, 4)
    suite: str = "libero_object"
    task: int = 0
    latency_ms: float = 40.0
    """of the echo policy, for a batch of any size"""
    seconds: float = 60.0
    """of each round: episodes that begin within"""
    rounds: int = 3
    fake_workers: int = 64
    fake_episode_s: float = 11.5
    """64 workers then do 2000 episodes in six minutes"""
    fake_seconds: float = 60.0
    output: pathlib.Path = ROOT / "benchmarks/results/scaling.json"


class Echo:
    """Implements interfaces.Policy: looks, and holds still after `latency_s`, however many ask."""

    metadata = {"name": "echo", "observations": list(STANDARD_OBSERVATIONS)}
    max_batch = 64

    def __init__(self, latency_s: float):
        self._latency_s = latency_s

    def infer(self, obs: Observation) -> dict[str, Any]:
        return self.infer_batch([obs])[0]

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        assert all(key in obs for obs in observations for key in STANDARD_OBSERVATIONS)
        time.sleep(self._latency_s)
        return [{"actions": np.tile(np.array([0.0] * 6 + [-1.0]), (10, 1))} for _ in observations]

    def close(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Repeating:
    """Implements interfaces.WorkerFactory: a job is as many whole episodes as begin within `seconds`."""

    settings: boot.Settings
    flags: Args
    open_policy: Callable[[], Policy]
    rules: Rules

    def __call__(self, index: int) -> FunctionWorker:
        env, policy = LiberoEnvironment(self.settings), self.open_policy()
        first = EpisodeSpec(self.flags.suite, self.flags.task, 0)
        run_episode(first, env, policy, dataclasses.replace(self.rules, max_policy_steps=10))

        def work(job: Job) -> EpisodeResult | Video:
            assert isinstance(job, EpisodeSpec)
            start, count, steps = time.monotonic(), 0, 0
            while time.monotonic() - start < self.flags.seconds:
                spec = dataclasses.replace(job, trial=(job.trial + count) % 50)
                result = run_episode(spec, env, policy, self.rules)
                assert result.status != "error", result.error
                count, steps = count + 1, steps + result.steps
            wall_s = time.monotonic() - start
            return EpisodeResult(job, "success", steps, max_steps=count, wall_s=wall_s)  # max_steps: how many episodes

        return FunctionWorker(work)


class AtOnce(Work):
    """Hands out nothing until every worker is ready, so that none works while another still builds its scene."""

    def __init__(self, specs: list[EpisodeSpec]):
        super().__init__(specs)
        self._missing = len(specs)

    def one_is_ready(self, description: object) -> None:
        self._missing -= 1

    def take(self, last: EpisodeSpec | None, busy: Any) -> Job | None:
        return None if self._missing else super().take(last, busy)


@dataclasses.dataclass(frozen=True)
class FakeWorker:
    """Implements interfaces.WorkerFactory: episodes without physics, in real episodes' time."""

    episode_s: float

    def __call__(self, index: int) -> FunctionWorker:
        env, policy, rules = FakeEnvironment(), RandomPolicy(), Rules(max_policy_steps=150, settle_action=(0.0,) * 7)

        def work(job: Job) -> EpisodeResult | Video:
            assert isinstance(job, EpisodeSpec)
            until_s = time.monotonic() + self.episode_s * (0.5 + job.trial % 2)  # half as long, or one and a half times
            result = run_episode(job, env, policy, rules)
            time.sleep(max(0.0, until_s - time.monotonic()))
            return result

        return FunctionWorker(work)


def main() -> None:
    flags = tyro.cli(Args, description=__doc__)
    envvars.export(boot.PROCESS_VARIABLES, override=False)
    settings = simulator.settings()
    rules = suites.rules(flags.suite)
    scripted = Repeating(settings, flags, ScriptedPolicy, dataclasses.replace(rules, replan_steps=1))
    table = {"scripted": measure(flags, scripted)}
    with host(functools.partial(Echo, flags.latency_ms / 1e3)) as (address, _):
        short = dataclasses.replace(rules, max_policy_steps=100)
        table["echo"] = measure(flags, Repeating(settings, flags, functools.partial(HostPolicy, address), short))
    overhead = coordinator(flags)
    show(flags, table, overhead)
    save(flags, settings.gl, table, overhead)


def measure(flags: Args, factory: WorkerFactory) -> list[dict[str, float]]:
    """A row for each number of workers; medians over rounds, ratios within each round."""
    rates: dict[int, list[tuple[float, float]]] = {number: [] for number in flags.workers}
    for _ in range(flags.rounds):
        for number in flags.workers:
            work = AtOnce([EpisodeSpec(flags.suite, flags.task, trial) for trial in range(number)])
            found = list(ProcessExecutor(number, work.one_is_ready).run(work, factory))
            results = [result for result in found if isinstance(result, EpisodeResult)]
            episodes = sum(60 * result.max_steps / result.wall_s for result in results)
            rates[number].append((episodes, sum(result.steps / result.wall_s for result in results)))
    first = min(rates)
    return [
        {
            "workers": number,
            "episodes_per_min": statistics.median(episodes for episodes, _ in rates[number]),
            "steps_per_s": statistics.median(steps for _, steps in rates[number]),
            "efficiency": statistics.median(
                here[1] / there[1] / number * first for here, there in zip(rates[number], rates[first], strict=True)
            ),
        }
        for number in flags.workers
    ]


def coordinator(flags: Args) -> dict[str, float]:
    """CPU time of this process while fake workers run, from when all are ready on."""
    specs = plan("fake", range(40), range(50), seed=7)
    missing, begun, results = [flags.fake_workers], [0.0, 0.0], [0]

    def on_ready(description: object) -> None:
        missing[0] -= 1
        if not missing[0]:
            begun[:] = time.monotonic(), time.process_time()

    with (
        tempfile.TemporaryDirectory() as folder,
        RunStore.open(pathlib.Path(folder) / "run", {"suite": "fake"}) as store,
    ):

        class Counter(Observer):
            def result(self, result: EpisodeResult) -> None:
                results[0] += begun[0] > 0

        over = time.monotonic() + 600
        run(
            Plan(
                specs,
                is_decided=lambda: time.monotonic() > min(over, begun[0] + flags.fake_seconds if begun[0] else over),
            ),
            store,
            ProcessExecutor(flags.fake_workers, on_ready),
            FakeWorker(flags.fake_episode_s),
            Observers(EpisodeProgress({"fake": (len(specs), [])}), Counter()),
        )
        wall_s, cpu_s = time.monotonic() - begun[0], time.process_time() - begun[1]
    return {
        "workers": flags.fake_workers,
        "episodes_per_s": results[0] / wall_s,
        "share_of_a_core": cpu_s / wall_s,
        "ms_per_episode": 1e3 * cpu_s / max(1, results[0]),
    }


def show(flags: Args, table: dict[str, list[dict[str, float]]], overhead: dict[str, float]) -> None:
    for name, rows in table.items():
        said = Table(title=f"{name}: {flags.suite} task {flags.task}", title_justify="left")
        for column in ("workers", "episodes/min", "steps/s", "efficiency"):
            said.add_column(column, justify="right")
        for row in rows:
            said.add_row(str(row["workers"]), f"{row['episodes_per_min']:.1f}", f"{row['steps_per_s']:.1f}",
                         f"{row['efficiency']:.2f}")  # fmt: skip
        Console(width=100).print(said)
    print(
        f"coordinator of {overhead['workers']} fake workers: {100 * overhead['share_of_a_core']:.2f} % of a core at "
        f"{overhead['episodes_per_s']:.1f} episodes/s, {overhead['ms_per_episode']:.2f} ms each"
    )


def save(flags: Args, backend: str, table: dict[str, list[dict[str, float]]], overhead: dict[str, float]) -> None:
    about = {
        "benchmark": "scaling",
        "suite": flags.suite,
        "task": flags.task,
        "gl": backend,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "machine": platform.machine(),
        "seconds": flags.seconds,
        "rounds": flags.rounds,
        "latency_ms": flags.latency_ms,
        **table,
        "coordinator": overhead,
    }
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
