"""Check the disk space, memory, cores and ports that a run needs."""

import contextlib
import os
import pathlib
import socket

from pirig.files import existing_parent, free_bytes
from pirig.machine.findings import Finding

_WORKER_GIB, _MODEL_GIB = 1.5, 7.1  # measured: one simulator, and π0.5 in bfloat16 on a CPU
_CONTROL_GROUP = pathlib.Path("/sys/fs/cgroup")
_CHECKPOINT_GIB = 11.6  # the published checkpoint pi05_libero
_RESULTS_GIB = 2.0  # 2000 episodes with videos


def memory() -> Finding:
    free_gib = _free_gib()
    if free_gib < _WORKER_GIB:
        fix = "end other programs; one simulator takes 1 to 1.5 GiB"
        return Finding("memory", "error", f"{free_gib:.1f} GiB are free", fix)
    simulators = int(free_gib / _WORKER_GIB)
    with_model = f", {max(0, int((free_gib - _MODEL_GIB) / _WORKER_GIB))} beside a model on the CPU"
    return Finding("memory", "ok", f"{free_gib:.1f} GiB free: room for {simulators} simulators{with_model}")


def cores() -> int:
    """Return the number of cores that this process may use.

    It is limited by the affinity, and by the quota of the control group, which is how containers are limited.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _control_group("cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        allowed = min(allowed, max(1, int(quota[0]) // int(quota[1])))
    return allowed


def processor() -> str:
    """Return the processor's name, e.g. `AMD EPYC 9R14`."""
    return ", ".join(line.partition(":")[2].strip() for line in cpuinfo("model name")) or os.uname().machine


def cpuinfo(*fields: str) -> list[str]:
    """Return the distinct lines of /proc/cpuinfo that begin with one of `fields`; none if there is no such file."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        return sorted({line for line in file if line.startswith(fields)})
    return []


def memory_gib() -> float:
    """Return the total memory of the machine [GiB]."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def describe() -> dict[str, float | None]:
    """Return what a benchmark records about the machine: cores, memory [GiB], and load average over one minute."""
    return {"cores": os.cpu_count(), "memory_gib": round(memory_gib(), 1), "load": os.getloadavg()[0]}


def simulators() -> int:
    """Return how many simulators fit into the free memory."""
    return int(_free_gib() / _WORKER_GIB)


def _free_gib() -> float:
    """Return the free memory of the machine or of this process's control group, whichever is less [GiB]."""
    with open("/proc/meminfo") as file:
        rows = dict(line.split(":") for line in file)
    free = int(rows["MemAvailable"].split()[0]) * 1024
    limit, used = _control_group("memory.max"), _control_group("memory.current")
    if limit.isdigit() and used.isdigit():
        free = min(free, int(limit) - int(used))
    return free / 2**30


def _control_group(name: str) -> str:
    """Return the content of a file of the control group (version 2); empty if there is no such file.

    A container sees its own control group as the root, which is the one that is read here.
    """
    try:
        return (_CONTROL_GROUP / name).read_text().strip()
    except OSError:
        return ""


def disk(folder: pathlib.Path, what: str, needed_gib: float) -> Finding:
    """Check that `needed_gib` are free on the disk where `folder` is or will be."""
    free_gib = free_bytes(folder) / 2**30
    found = f"{free_gib:.1f} GiB free in {existing_parent(folder)}"
    if free_gib < needed_gib:
        problem = f"{found}; {needed_gib:g} are needed: No space left on device"
        return Finding(f"disk for {what}", "warning", problem, "free some space, or choose a folder on another disk")
    return Finding(f"disk for {what}", "ok", found)


def disks(results: pathlib.Path, data_home: pathlib.Path, *, has_checkpoint: bool) -> list[Finding]:
    download = 0.0 if has_checkpoint else _CHECKPOINT_GIB
    return [disk(results, "results and videos", _RESULTS_GIB), disk(data_home, "checkpoints", download)]


def port(number: int) -> Finding:
    """Check whether a policy server could listen on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", number))
        except OSError as e:
            problem = f"{number} is taken ({e.strerror}: bind: address already in use)"
            return Finding("port", "warning", problem, f"ss -ltnp 'sport = :{number}' names who has it; or --port")
    return Finding("port", "ok", f"{number} is free")
