"""Assign GPUs and cores to the policy hosts and workers of one machine. Pure functions.

Rule 1: Policy hosts are distributed evenly over GPUs, and workers evenly over policy hosts.
Rule 2: A worker renders on the GPU of its policy host. It gets its own core if there are enough, and one on the NUMA
node of that GPU if one is free.
Rule 3: Policy hosts are not pinned to cores. The number of cores that a host sees determines its number of threads,
which on a CPU affects the last bits of its answers.
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
    core: int | None = None  # the core that it is pinned to; None: not pinned
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
    """Return a place for each worker.

    `hosts`: if it is empty, the policy runs elsewhere, and workers are distributed over the GPUs. `near`: the cores on
    the NUMA node of each GPU, by GPU index. `egl`: EGL device by GPU index.
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
