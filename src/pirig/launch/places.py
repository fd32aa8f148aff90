"""Look at this machine once, and divide it among policy hosts and workers (`machine/placement.py`)."""

import dataclasses
import logging
import os
from collections.abc import Mapping
from typing import Literal

from pirig import envvars
from pirig.machine import egl, gpus
from pirig.machine.gpus import Gpu
from pirig.machine.placement import HostPlace, WorkerPlace, host_places, worker_places

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Places:
    hosts: tuple[HostPlace, ...]  # of policy hosts
    gpus: tuple[Gpu, ...]
    cores: tuple[int, ...]
    near: Mapping[int, set[int]]  # cores by GPU index
    egl: Mapping[int, int]  # EGL device by GPU index; empty if the user or another back end chooses

    def workers(self, count: int) -> list[WorkerPlace]:
        return worker_places(count, self.hosts, self.gpus, self.cores, near=self.near, egl=self.egl)


def look(policy_hosts: int | Literal["auto"], *, device: str | None, renderer: str) -> Places:
    """Look at this machine's GPUs, cores and EGL devices.

    `policy_hosts`: how many; auto: one for each GPU. `device`: of the model, empty where any will do; None: there is no
    model to compute. `renderer`: a name of gl.BACKENDS.
    """
    there = gpus.visible(gpus.gpus(), envvars.get("CUDA_VISIBLE_DEVICES"))
    for_models = [] if device else there  # the user has named the device
    count = policy_hosts if policy_hosts != "auto" else max(1, len(for_models))
    cores = tuple(sorted(os.sched_getaffinity(0)))
    hosts = tuple(host_places(count, for_models)) if device is not None else ()
    chosen = renderer == "egl" and not envvars.get("MUJOCO_EGL_DEVICE_ID")
    pairs = egl.pair(egl.devices(), there) if chosen and there else {}
    if chosen and len(pairs) < len(there):
        _log.warning("EGL shows %d of %d GPUs; for the others its first device renders", len(pairs), len(there))
    return Places(hosts, tuple(there), cores, {gpu.index: gpus.local_cores(gpu) for gpu in there}, pairs)
