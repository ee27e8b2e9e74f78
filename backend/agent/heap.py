"""Memory for streams: buffers of many sizes are taken and let go for every piece that passes."""

from __future__ import annotations

import ctypes

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 32 * 1024 * 1024
_FROM_HEAP_BYTES = 8 * 1024 * 1024


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next piece, instead of giving it back to the kernel and having each page
    faulted in again: that can double the processor time of a download. Another C library is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _FROM_HEAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
