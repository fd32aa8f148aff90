"""Configure the heap of a process that receives frames."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of glibc's malloc.h
_MIB = 2**20


def keep_freed_memory() -> None:
    """Make this process keep up to 64 MiB of freed memory instead of returning it to the kernel after each frame.

    An observation has 300 kB and is copied a few times. With glibc's defaults, each copy gets new memory, whose pages
    the kernel clears: 90 page faults, a quarter of a round trip (benchmarks/protocol.py). Does nothing with another
    libc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 64 * _MIB)
        mallopt(_MMAP_THRESHOLD, 16 * _MIB)
