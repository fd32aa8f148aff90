"""Which GPU and which cores each policy host and each worker of one machine gets. Pure; a table in, a table out.

Rule 1: hosts are dealt over GPUs, workers over hosts, evenly. Rule 2: a worker renders on its host's GPU, and has a
core of its own where there are enough, on that GPU's memory node where one is left. Rule 3: hosts are not pinned; how
many cores one sees decides its threads, and on a CPU those decide the last bits of its answers.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from pirig.machine.gpus import Gpu


@dataclasses.dataclass(frozen=True)
class HostPlace:
    gpu: Gpu | None = None


ANYWHERE = HostPlace()


@dataclasses.dataclass(frozen=True)
class WorkerPlace:
    host: int = 0
    core: int | None = None  # of its own
    egl: int | None = None  # MUJOCO_EGL_DEVICE_ID


def host_places(hosts: int, gpus: Sequence[Gpu]) -> list[HostPlace]:
    return [HostPlace(gpus[i % len(gpus)]) if gpus else ANYWHERE for i in range(hosts)]


def worker_places(
    workers: int,
    hosts: Sequence[HostPlace],
    gpus: Sequence[Gpu],
    cores: Sequence[int],
    *,
    near: Mapping[int, set[int]],
    egl: Mapping[int, int],
) -> list[WorkerPlace]:
    """`hosts`: empty where the policy is elsewhere; then workers are dealt over the GPUs.

    `near`: cores by GPU index. `egl`: EGL device by GPU index.
    """
    free = sorted(cores) if workers <= len(cores) else []
    places = []
    for i in range(workers):
        host = i % len(hosts) if hosts else 0
        gpu = hosts[host].gpu if hosts else gpus[i % len(gpus)] if gpus else None
        core = None
        if free:
            local = near.get(gpu.index, set()) if gpu else set()
            core = next((core for core in free if core in local), free[0])
            free.remove(core)
        places.append(WorkerPlace(host, core, egl.get(gpu.index) if gpu else None))
    return places
