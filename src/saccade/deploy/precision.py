"""Which precision a device computes in, and on how many threads."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Literal

__all__ = ["Precision", "has_bf16", "resolve_precision", "thread_count"]

Precision = Literal["auto", "32", "bf16", "16"]

_CPU_INFO = Path("/proc/cpuinfo")
_BF16 = ("avx512_bf16", "amx_bf16", "bf16")


@functools.cache
def has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX-512 BF16, AMX, or Arm's BF16 extension).

    Elsewhere torch emulates bfloat16, which is slower than float32 and less exact, so nothing should choose it there.
    """
    if _CPU_INFO.exists():  # tells it without torch, which exported files do not need
        return not set(_BF16).isdisjoint(_CPU_INFO.read_text(encoding="utf-8", errors="replace").split())
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", None)  # newer torch
    if capabilities is not None:
        return any(bool(capabilities().get(name)) for name in _BF16)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_precision(precision: Precision, device: str) -> Precision:
    """Resolve ``auto`` for a kind of device: half precision where it computes in it in hardware.

    Example:
        >>> resolve_precision("bf16", "cpu"), resolve_precision("auto", "mps")
        ('bf16', '32')
    """
    if precision != "auto":
        return precision
    if device == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"
    return "bf16" if device == "cpu" and has_bf16() else "32"


def thread_count() -> int | None:
    """Threads that an engine takes: as many as torch where that is loaded, else ``OMP_NUM_THREADS``.

    None: the engine chooses.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) > 0 else None
