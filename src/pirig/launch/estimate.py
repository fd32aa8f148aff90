"""How long so many episodes may take, by the rates that are known. Pure: a table in, a range out.

At least: every episode is as long as π0.5's successes are on the average, and each rate is the best that was seen. At
most: no episode succeeds, at the worst rates. A rate names its source, and says where nobody has measured it.
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

_START_S: Range = (10, 20)  # until simulators have started
_SCENE_S: Range = (4, 6)  # until a worker has built one; docs/scaling.md
_LOAD_S: Range = (11, 60)  # until a model is loaded and warm, on a CPU


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is left to do. `episodes`, by (suite, steps of an episode that never succeeds): how many."""

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
    """What does it. `inference`: of each host; None: unknown, or nothing that takes time."""

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
    """Simulation and inference share the cores of a machine without GPUs, and overlap on one with GPUs."""
    at_once = max(1, min(means.workers, means.cores))
    seconds, core_s = [], []
    for end, rate in ((0, -1), (1, 0)):  # the least time goes with the highest rate
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
