"""The heap of a process that takes in frames."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of glibc's malloc.h
_MIB = 2**20


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, up to 64 MiB, instead of giving it back to the kernel with every frame.

    An observation is 300 kB, copied a few times on its way. By glibc's defaults each copy is new memory, whose pages
    the kernel clears: 90 page faults, a quarter of a round trip (benchmarks/protocol.py). Does nothing under another
    libc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 64 * _MIB)
        mallopt(_MMAP_THRESHOLD, 16 * _MIB)
