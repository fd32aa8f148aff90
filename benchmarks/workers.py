"""What several simulators on one machine are worth: environment steps a second of 1, 2, 4 … worker processes.

    python benchmarks/workers.py
    python benchmarks/workers.py --workers 1 4 --seconds 60

Each worker is one of the evaluation's own processes, pinned as there, and runs its loop on one task with
a policy that answers at once and looks at two images every fifth step. The numbers of workers take turns, so that their
ratios hold on a busy machine too. Prints a table and writes JSON.
"""

import dataclasses
import json
import os
import pathlib
import platform
import statistics
import time
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from pirig import envvars
from pirig.evaluation.episode import run_episode
from pirig.evaluation.executors import ProcessExecutor
from pirig.evaluation.plan import Work
from pirig.launch import simulator
from pirig.policies.wrappers import OneByOne
from pirig.sim import boot, suites
from pirig.sim.libero import LiberoEnvironment
from pirig.testing import FunctionWorker
from pirig.types import STANDARD_OBSERVATIONS, EpisodeResult, EpisodeSpec, Job, Observation, Video

ROOT = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Args:
    suite: str = "libero_spatial"
    task: int = 0
    workers: tuple[int, ...] = (1, 2, 4)
    seconds: float = 30.0
    """of each round"""
    rounds: int = 3
    simulator: Literal["fast", "reference"] = "fast"
    images: bool = True
    output: pathlib.Path | None = None
    """JSON file; default: benchmarks/results/workers-SIMULATOR.json"""


class HoldsStill(OneByOne):
    """Looks, and answers at once."""

    def __init__(self, observations: tuple[str, ...]):
        self.metadata = {"name": "still", "observations": list(observations)}

    def infer(self, obs: Observation) -> dict:
        assert all(key in obs for key in self.metadata["observations"])
        return {"actions": np.tile(np.array([0.0] * 6 + [-1.0]), (10, 1))}


@dataclasses.dataclass(frozen=True)
class Factory:
    """Implements interfaces.WorkerFactory: each job is as many episodes as begin within `seconds`."""

    settings: boot.Settings
    flags: Args

    def __call__(self, index: int) -> FunctionWorker:
        flags = self.flags
        env = LiberoEnvironment(self.settings, simulator=flags.simulator)
        policy = HoldsStill(STANDARD_OBSERVATIONS if flags.images else ())
        rules = suites.rules(flags.suite)
        run_episode(
            EpisodeSpec(flags.suite, flags.task, 49), env, policy, dataclasses.replace(rules, max_policy_steps=10)
        )
        short = dataclasses.replace(rules, max_policy_steps=50)

        def work(job: Job) -> EpisodeResult | Video:
            assert isinstance(job, EpisodeSpec)
            start, steps = time.monotonic(), 0
            while time.monotonic() - start < flags.seconds:
                result = run_episode(job, env, policy, short)
                assert result.status == "failure", result.error
                steps += result.steps
            return dataclasses.replace(result, steps=steps, wall_s=time.monotonic() - start)

        return FunctionWorker(work)


def main() -> None:
    flags = tyro.cli(Args, description=__doc__)
    envvars.export(boot.PROCESS_VARIABLES, override=False)
    settings = simulator.settings()
    rates: dict[int, list[float]] = {number: [] for number in flags.workers}
    for _ in range(flags.rounds):
        for number in flags.workers:
            rates[number].append(steps_per_second(number, Factory(settings, flags)))
    rows = [row(number, rates) for number in flags.workers]
    show(flags, rows)
    save(flags, settings.gl, rows)


def steps_per_second(number: int, factory: Factory) -> float:
    """Of all workers together, each at its own pace, while all are at work."""
    flags = factory.flags
    work = AtOnce([EpisodeSpec(flags.suite, flags.task, trial) for trial in range(number)])
    executor = ProcessExecutor(number, lambda _: work.one_is_ready())
    results = [found for found in executor.run(work, factory) if isinstance(found, EpisodeResult)]
    return sum(result.steps / result.wall_s for result in results)


class AtOnce(Work):
    """Hands out nothing until every worker is ready, so that none works while another still builds its scene."""

    def __init__(self, specs: list[EpisodeSpec]):
        super().__init__(specs)
        self._missing = len(specs)

    def one_is_ready(self) -> None:
        self._missing -= 1

    def take(self, last: EpisodeSpec | None, busy: Any) -> Job | None:
        return None if self._missing else super().take(last, busy)


def row(number: int, rates: dict[int, list[float]]) -> dict[str, Any]:
    first = min(rates)
    efficiency = [here / there / number * first for here, there in zip(rates[number], rates[first], strict=True)]
    return {
        "workers": number,
        "steps_per_s": statistics.median(rates[number]),
        "speedup": statistics.median(efficiency) * number / first,
        "efficiency": statistics.median(efficiency),
    }


def show(flags: Args, rows: list[dict[str, Any]]) -> None:
    looks = "two images every fifth step" if flags.images else "no images"
    table = Table(title=f"{flags.suite} task {flags.task}, {flags.simulator}, {looks}", title_justify="left")
    for column in ("workers", "steps/s", "speed-up", "efficiency"):
        table.add_column(column, justify="right")
    for one in rows:
        table.add_row(
            str(one["workers"]), f"{one['steps_per_s']:.1f}", f"{one['speedup']:.2f}", f"{one['efficiency']:.2f}"
        )
    Console(width=100).print(table)


def save(flags: Args, backend: str, rows: list[dict[str, Any]]) -> None:
    output = flags.output or ROOT / f"benchmarks/results/workers-{flags.simulator}.json"
    about = {
        "benchmark": "workers",
        "suite": flags.suite,
        "task": flags.task,
        "simulator": flags.simulator,
        "images": flags.images,
        "gl": backend,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "machine": platform.machine(),
        "seconds": flags.seconds,
        "rounds": flags.rounds,
        "rows": rows,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
