"""Memory that a training step has freed, kept in the process for the next step."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> bool:
    """Keep large blocks in the process when they are freed, for the next step to use; returns whether that worked.

    A step on the CPU frees its activations and gradients and the next one asks for the same sizes again. glibc hands
    large blocks back to the kernel at once, which clears every page anew: two fifths of the step of a network with
    large matrices (AlexNet), a fifteenth of ResNet-50's. Kept, they cost up to a ninth more memory at the peak
    (docs/benchmarks.md). The setting holds for the process; other C libraries have no such setting, and nothing
    happens there.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(_M_MMAP_MAX, 0)) and bool(library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
