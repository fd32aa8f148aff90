"""NVIDIA GPUs, their driver, and which EGL device is which CUDA device."""

import ctypes
import ctypes.util
import dataclasses

from pirig.stack.findings import Finding, output

_CUDA_DEVICE_NV = 0x323A  # EGL_NV_device_cuda
_QUERY = "index,name,memory.total,driver_version"


@dataclasses.dataclass(frozen=True, slots=True)
class Gpu:
    index: int
    name: str
    memory_mib: int
    driver: str


def gpus() -> list[Gpu]:
    """As the driver lists them; empty where there is none."""
    code, said = output(["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"])
    rows = [[word.strip() for word in line.split(",")] for line in said.splitlines()] if code == 0 else []
    return [Gpu(int(row[0]), row[1], int(float(row[2])), row[3]) for row in rows if len(row) == 4]


def check(*, has_device_files: bool) -> list[Finding]:
    found = gpus()
    if not found and has_device_files:
        _, said = output(["nvidia-smi"])
        problem = said.splitlines()[0] if said else "nvidia-smi says nothing"
        return [
            Finding("gpu", "error", f"/dev/nvidia* is there, but: {problem}", "reinstall the NVIDIA driver, reboot")
        ]
    if not found:
        return [Finding("gpu", "ok", "none; models run on the CPU, in seconds for each chunk of actions")]
    names = ", ".join(f"{gpu.index}: {gpu.name}, {gpu.memory_mib / 1024:.0f} GiB" for gpu in found)
    return [Finding("gpu", "ok", f"{names}; driver {found[0].driver}"), _egl(len(found))]


def _egl(count: int) -> Finding:
    mapping = egl_devices()
    cuda = [index for index in mapping.values() if index is not None]
    if len(cuda) < count:
        return Finding(
            "EGL and CUDA",
            "warning",
            f"EGL sees {len(cuda)} of {count} GPUs; rendering on the others is in software",
            "NVIDIA_DRIVER_CAPABILITIES must contain graphics; libEGL_nvidia.so.0 must be installed",
        )
    pairs = ", ".join(f"EGL {egl} is GPU {index}" for egl, index in mapping.items() if index is not None)
    return Finding("EGL and CUDA", "ok", pairs)


def egl_devices() -> dict[int, int | None]:
    """CUDA index by EGL device index, the number in MUJOCO_EGL_DEVICE_ID; None for a device that is no NVIDIA GPU."""
    name = ctypes.util.find_library("EGL")
    if name is None:
        return {}
    egl = ctypes.CDLL(name)
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    egl.eglGetProcAddress.argtypes = [ctypes.c_char_p]
    query, ask = (egl.eglGetProcAddress(word) for word in (b"eglQueryDevicesEXT", b"eglQueryDeviceAttribEXT"))
    if not query or not ask:
        return {}
    devices, count = (ctypes.c_void_p * 64)(), ctypes.c_int(0)
    list_devices = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(query)
    attribute = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(ask)
    if not list_devices(len(devices), devices, ctypes.byref(count)):
        return {}
    found: dict[int, int | None] = {}
    for i in range(count.value):
        value = ctypes.c_ssize_t(-1)
        is_nvidia = attribute(devices[i], _CUDA_DEVICE_NV, ctypes.byref(value))
        found[i] = value.value if is_nvidia and value.value >= 0 else None
    return found
