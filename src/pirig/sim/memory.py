"""Gives back memory that a built simulation does not need any more: some 500 MB of LIBERO's 1.6 GB.

LIBERO's textures are up to 4096² pixels. MuJoCo holds them three times: in the description it compiled the model from,
in the model, and in OpenGL. Only the last is looked at.
"""

import ctypes
import importlib.util
import mmap
import pathlib
from typing import Any

_DONTNEED = 4  # MADV_DONTNEED of Linux


def forget_description() -> None:
    """Of the model compiled last, which MuJoCo keeps for mj_saveLastXML."""
    found = importlib.util.find_spec("mujoco")
    assert found is not None
    assert found.origin is not None
    library = next(pathlib.Path(found.origin).parent.glob("libmujoco.so*"))
    ctypes.CDLL(str(library)).mj_freeLastXML()  # not among the Python functions; the library is loaded already


def forget_textures(model: Any) -> None:
    """The model's own copy reads as black from now on; for when a render context has been made of it."""
    pixels = model.tex_data
    start = pixels.__array_interface__["data"][0]
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (start + pixels.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if length > 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _DONTNEED):
            raise OSError(ctypes.get_errno(), "madvise")


def return_freed() -> None:
    """What is free in the process goes back to the system, instead of being kept for later."""
    ctypes.CDLL(None).malloc_trim(0)
