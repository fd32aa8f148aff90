"""Estimate how long an evaluation takes, from tables of measured rates. Pure functions.

The lower bound assumes that every episode is as long as π0.5's successes on average, at the best measured rates. The
upper bound assumes that no episode succeeds, at the worst measured rates. Each rate names its source, or says that
nobody has measured it.
"""

import dataclasses
from collections.abc import Mapping, Sequence

Range = tuple[float, float]  # least, most

SUCCESS_STEPS: Mapping[str, int] = {  # settle steps included; docs/scaling.md
    "libero_spatial": 115,
    "libero_object": 151,
    "libero_goal": 124,
    "libero_10": 283,
}


@dataclasses.dataclass(frozen=True)
class Rate:
    per_s: Range  # least, most
    source: str


WITHOUT_IMAGES = Rate((130, 290), "steps/s of a core without images: benchmarks/results/scaling.json, simulator-*.json")
IN_SOFTWARE = Rate((38, 51), "steps/s of a core, images in software: benchmarks/results/simulator-*, workers-fast.json")
ON_A_GPU = Rate((38, 150), "steps/s of a core, images on a GPU: not measured; as in software, or as if for nothing")
VIDEO_MAKING = Rate(
    (5, 20), "frames/s of a core that makes videos in software: pirig replay, on a machine with other work"
)
ON_A_CPU = Rate((0.116, 0.25), "chunks/s on 4 cores, bfloat16, JAX to PyTorch: benchmarks/results/inference-*.json")
ON_AN_H100 = Rate((8.4, 210), "chunks/s of an H100: published by others for one at a time, and our goal; not measured")

_START_S: Range = (10, 20)  # start of the simulators
_SCENE_S: Range = (4, 6)  # construction of one scene; docs/scaling.md
_LOAD_S: Range = (11, 60)  # loading and warm-up of a model, on a CPU


@dataclasses.dataclass(frozen=True)
class Workload:
    """The work that remains. `episodes` has the number of episodes by (suite, steps of an episode that never
    succeeds).
    """

    episodes: Mapping[tuple[str, int], int]
    settle_steps: int
    replan_steps: int
    scenes: int
    videos: bool

    @property
    def steps(self) -> Range:
        least = sum(min(SUCCESS_STEPS.get(suite, total // 2), total) * n for (suite, total), n in self.episodes.items())
        return least, sum(total * n for (_, total), n in self.episodes.items())

    @property
    def chunks(self) -> Range:
        settled = self.settle_steps * sum(self.episodes.values())
        least, most = ((steps - settled) / self.replan_steps for steps in self.steps)
        return max(0.0, least), most


@dataclasses.dataclass(frozen=True)
class Means:
    """What does the work. `inference` is the rate of one policy host; None if it is unknown or takes no time."""

    workers: int
    cores: int
    simulation: Rate
    inference: Rate | None = None
    hosts: int = 0
    hosts_have_gpus: bool = False


@dataclasses.dataclass(frozen=True)
class Forecast:
    seconds: Range
    core_hours: Range
    gpu_hours: Range
    rates: Sequence[str]


def estimate(work: Workload, means: Means) -> Forecast:
    """Estimate time and cost. Simulation and inference share the cores of a machine without GPUs and overlap
    otherwise.
    """
    at_once = max(1, min(means.workers, means.cores))
    seconds, core_s = [], []
    for end, rate in ((0, -1), (1, 0)):  # the least time needs the highest rate
        simulating = work.steps[end] / means.simulation.per_s[rate]
        making_videos = work.steps[end] / VIDEO_MAKING.per_s[rate] if work.videos else 0.0
        starting = (_START_S[end] + _SCENE_S[end] * -(-work.scenes // at_once)) if work.episodes else 0.0
        inferring = work.chunks[end] / means.inference.per_s[rate] if means.inference else 0.0
        loading = _LOAD_S[end] if means.hosts and work.episodes else 0.0
        own = (simulating + making_videos) / at_once
        inferring_here = inferring / max(1, means.hosts)
        busy = max(own, inferring_here) if means.hosts_have_gpus else own + inferring_here
        seconds.append(starting + loading + busy)
        on_cores = 0.0 if means.hosts_have_gpus else inferring_here * means.cores
        core_s.append(simulating + making_videos + on_cores + starting * at_once)
    gpus = means.hosts if means.hosts_have_gpus else 0
    used = [means.simulation, *([VIDEO_MAKING] if work.videos else []), *([means.inference] if means.inference else [])]
    return Forecast(
        (seconds[0], seconds[1]),
        (core_s[0] / 3600, core_s[1] / 3600),
        (gpus * seconds[0] / 3600, gpus * seconds[1] / 3600),
        [f"{rate.per_s[0]:g} to {rate.per_s[1]:g} {rate.source}" for rate in used],
    )
