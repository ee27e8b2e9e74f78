"""What glibc does with memory. Another C library is left as it is."""

from __future__ import annotations

import ctypes
import gc

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KEPT_BYTES = 32 * 1024 * 1024
_FROM_HEAP_BYTES = 8 * 1024 * 1024


def keep_freed_memory() -> None:
    """For streams, where buffers of many sizes are taken and let go for every piece that passes: let glibc keep what is
    freed for the next one, instead of giving it back to the kernel and having each page faulted in again: that can
    double the processor time of a download."""
    _set(_M_MMAP_THRESHOLD, _FROM_HEAP_BYTES)
    _set(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back_freed_memory() -> None:
    """What was kept for streams, and all else that is free now: closed connections too, which hold each other. A few
    milliseconds."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def share_one_heap() -> None:
    """For a process whose threads do little: each would get a heap of its own, and keep what its work once took. Before
    any thread is started."""
    _set(_M_ARENA_MAX, 1)


def _set(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)
