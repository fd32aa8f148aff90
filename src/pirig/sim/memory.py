"""Free memory that a built simulation no longer needs, which is some 500 MB of LIBERO's 1.6 GB.

LIBERO's textures have up to 4096² pixels. MuJoCo holds them three times: in the description from which it compiled the
model, in the model, and in OpenGL. Only the copy in OpenGL is used.
"""

import ctypes
import importlib.util
import mmap
import pathlib
from typing import Any

_DONTNEED = 4  # MADV_DONTNEED of Linux


def forget_description() -> None:
    """Free the XML description that MuJoCo keeps of the last compiled model for mj_saveLastXML."""
    found = importlib.util.find_spec("mujoco")
    assert found is not None
    assert found.origin is not None
    library = next(pathlib.Path(found.origin).parent.glob("libmujoco.so*"))
    ctypes.CDLL(str(library)).mj_freeLastXML()  # it has no Python binding; the library is already loaded


def forget_textures(model: Any) -> None:
    """Free the model's own copy of the textures, which reads as black afterwards.

    Call it only once a render context has been created from the model.
    """
    pixels = model.tex_data
    start = pixels.__array_interface__["data"][0]
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (start + pixels.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if length > 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _DONTNEED):
            raise OSError(ctypes.get_errno(), "madvise")


def return_freed() -> None:
    """Return the process's free memory to the operating system, instead of keeping it for later."""
    ctypes.CDLL(None).malloc_trim(0)
