"""List the EGL devices and match them to GPUs. A device's index is the number in MUJOCO_EGL_DEVICE_ID.

EGL and CUDA number GPUs in different orders, and a container may hide a GPU from only one of them. Therefore a GPU is
identified by its UUID (EGL_EXT_device_persistent_id) or its PCI address (EGL_EXT_device_drm), and by CUDA's number only
if EGL reports neither of them.
"""

import ctypes
import ctypes.util
import dataclasses
import pathlib
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from pirig.machine.findings import Finding
from pirig.machine.gpus import Gpu

_DRM_FILES = (0x3233, 0x3377)  # EGL_DRM_DEVICE_FILE_EXT, EGL_DRM_RENDER_NODE_FILE_EXT
_UUID = 0x335C  # EGL_DEVICE_UUID_EXT
_CUDA = 0x323A  # EGL_CUDA_DEVICE_NV
_DRM_CLASS = pathlib.Path("/sys/class/drm")
_MOST_DEVICES = 64


@dataclasses.dataclass(frozen=True, slots=True)
class EglDevice:
    """Describe an EGL device. A property that EGL does not report is empty, or None."""

    index: int
    uuid: str = ""  # in the format of the driver: GPU-…
    pci: str = ""  # e.g. 0000:65:00.0
    cuda: int | None = None


def pair(devices: Sequence[EglDevice], gpus: Sequence[Gpu]) -> dict[int, int]:
    """Return the EGL device of each GPU, by GPU index. A GPU that EGL does not list is left out."""
    ways: tuple[Callable[[EglDevice, Gpu], bool], ...] = (
        lambda device, gpu: bool(gpu.uuid) and device.uuid == gpu.uuid,
        lambda device, gpu: bool(gpu.pci) and device.pci == gpu.pci,
        lambda device, gpu: not device.uuid and not device.pci and device.cuda == gpu.index,
    )
    found: dict[int, int] = {}
    for is_same in ways:
        for gpu in gpus:
            same = [device.index for device in devices if is_same(device, gpu)]
            if gpu.index not in found and same:
                found[gpu.index] = same[0]
    return found


def devices() -> list[EglDevice]:
    """Return the devices in the order of EGL; empty if EGL is missing or lists none."""
    name = ctypes.util.find_library("EGL")
    if name is None:
        return []
    asking = _Asking(ctypes.CDLL(name))
    return [asking.about(index, handle) for index, handle in enumerate(asking.handles())]


def check(gpus: Sequence[Gpu]) -> list[Finding]:
    if not gpus:
        return []
    pairs = pair(devices(), gpus)
    if len(pairs) < len(gpus):
        return [
            Finding(
                "EGL and CUDA",
                "warning",
                f"EGL sees {len(pairs)} of {len(gpus)} GPUs; rendering on the others is in software",
                "NVIDIA_DRIVER_CAPABILITIES must contain graphics; libEGL_nvidia.so.0 must be installed",
            )
        ]
    said = ", ".join(f"EGL {device} is GPU {gpu}" for gpu, device in sorted(pairs.items()))
    return [Finding("EGL and CUDA", "ok", said)]


class _Asking:
    """Call EGL's device queries. A query that this libEGL lacks returns nothing."""

    def __init__(self, library: ctypes.CDLL):
        self._library = library
        library.eglGetProcAddress.restype = ctypes.c_void_p
        library.eglGetProcAddress.argtypes = [ctypes.c_char_p]
        pointer, number, flag = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint
        self._list = self._function("eglQueryDevicesEXT", flag, number, pointer, pointer)
        self._attribute = self._function("eglQueryDeviceAttribEXT", flag, pointer, number, pointer)
        self._string = self._function("eglQueryDeviceStringEXT", ctypes.c_char_p, pointer, number)
        self._binary = self._function("eglQueryDeviceBinaryEXT", flag, pointer, number, number, pointer, pointer)

    def _function(self, name: str, *types: Any) -> Callable[..., Any] | None:
        address = self._library.eglGetProcAddress(name.encode())
        return ctypes.CFUNCTYPE(*types)(address) if address else None

    def handles(self) -> list[int | None]:
        found, count = (ctypes.c_void_p * _MOST_DEVICES)(), ctypes.c_int(0)
        if self._list is None or not self._list(len(found), found, ctypes.byref(count)):
            return []
        return list(found[: count.value])

    def about(self, index: int, handle: int | None) -> EglDevice:
        return EglDevice(index, self._uuid(handle), self._pci(handle), self._cuda(handle))

    def _uuid(self, handle: int | None) -> str:
        value, size = (ctypes.c_ubyte * 16)(), ctypes.c_int(0)
        if self._binary is None or not self._binary(handle, _UUID, 16, value, ctypes.byref(size)) or size.value != 16:
            return ""
        return f"GPU-{uuid.UUID(bytes=bytes(value))}"

    def _pci(self, handle: int | None) -> str:
        for name in _DRM_FILES if self._string else ():
            if self._string and (file := self._string(handle, name)):
                return pci_of(file.decode())
        return ""

    def _cuda(self, handle: int | None) -> int | None:
        value = ctypes.c_ssize_t(-1)
        if self._attribute is None or not self._attribute(handle, _CUDA, ctypes.byref(value)):
            return None
        return value.value if value.value >= 0 else None


def pci_of(drm_file: str, drm_class: pathlib.Path = _DRM_CLASS) -> str:
    """Return the PCI address of a device file such as /dev/dri/card0; empty for a device that is not on a PCI bus."""
    device = (drm_class / pathlib.Path(drm_file).name / "device").resolve()
    words = device.name.split(":")
    return device.name.lower() if len(words) == 3 and "." in words[2] else ""
