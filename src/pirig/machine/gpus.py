"""List NVIDIA GPUs with their driver and PCI address, and select those that this process may use."""

import dataclasses
import pathlib
from collections.abc import Sequence

from pirig.machine.findings import Finding, output

_QUERY = "index,name,memory.total,driver_version,uuid,pci.bus_id"
_WITHOUT = (
    "no NVIDIA GPU. Without one: scripted, zero and random policies, replays, reports and ws:// servers elsewhere work "
    "as they do with one; images are rendered in software; π0 and π0.5 run on the CPU, 4 to 9 s a chunk"
)
_PCI_DEVICES = pathlib.Path("/sys/bus/pci/devices")


@dataclasses.dataclass(frozen=True, slots=True)
class Gpu:
    index: int  # the driver's index, in the order of the PCI bus
    name: str
    memory_mib: int
    driver: str
    uuid: str = ""  # GPU-…
    pci: str = ""  # PCI address in Linux's format, e.g. 0000:65:00.0


def gpus() -> list[Gpu]:
    """Return the GPUs in the order of the driver; empty if there is no driver."""
    code, said = output(["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"])
    return parse(said) if code == 0 else []


def has_device_files() -> bool:
    """Return whether the NVIDIA driver has created device files for a GPU, whether or not the driver responds."""
    return any(pathlib.Path("/dev").glob("nvidia[0-9]*"))


def parse(said: str) -> list[Gpu]:
    """Parse the answer of nvidia-smi to the query."""
    rows = [[word.strip() for word in line.split(",")] for line in said.splitlines()]
    return [
        Gpu(int(row[0]), row[1], int(float(row[2])), row[3], row[4], _as_linux(row[5])) for row in rows if len(row) == 6
    ]


def visible(there: Sequence[Gpu], cuda_visible_devices: str) -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, in its order; all GPUs if it is empty.

    It names GPUs by index or by the beginning of a UUID. Parts of GPUs (MIG-…) are not returned.
    """
    words = [word.strip() for word in cuda_visible_devices.split(",") if word.strip()]
    if not words:
        return list(there)
    return [
        gpu
        for word in words
        for gpu in there
        if word == str(gpu.index) or (word.startswith("GPU-") and gpu.uuid.startswith(word))
    ]


def local_cores(gpu: Gpu, devices: pathlib.Path = _PCI_DEVICES) -> set[int]:
    """Return the CPU cores on the GPU's NUMA node; empty if Linux does not report them."""
    try:
        text = (devices / gpu.pci / "local_cpulist").read_text().strip() if gpu.pci else ""
    except OSError:
        return set()
    cores: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cores |= set(range(int(first), int(last or first) + 1))
    return cores


def check(*, has_device_files: bool) -> list[Finding]:
    found = gpus()
    if not found and has_device_files:
        _, said = output(["nvidia-smi"])
        problem = said.splitlines()[0] if said else "nvidia-smi says nothing"
        return [
            Finding("gpu", "error", f"/dev/nvidia* is there, but: {problem}", "reinstall the NVIDIA driver, reboot")
        ]
    if not found:
        return [Finding("gpu", "ok", _WITHOUT)]
    names = ", ".join(f"{gpu.index}: {gpu.name}, {gpu.memory_mib / 1024:.0f} GiB" for gpu in found)
    return [Finding("gpu", "ok", f"{names}; driver {found[0].driver}")]


def _as_linux(bus_id: str) -> str:
    """Convert a PCI address from the driver's format, `00000000:65:00.0`, to that of Linux, `0000:65:00.0`."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}"
