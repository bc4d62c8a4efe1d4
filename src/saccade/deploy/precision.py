"""Which precision a device computes in."""

from __future__ import annotations

import functools
from typing import Literal

import torch

__all__ = ["Precision", "has_bf16", "resolve_precision"]

Precision = Literal["auto", "32", "bf16", "16"]


@functools.cache
def has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX-512 BF16, AMX, or Arm's BF16 extension).

    Elsewhere torch emulates bfloat16, which is slower than float32 and less exact, so nothing should choose it there.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # newer torch
    if capabilities is not None:
        return any(bool(capabilities().get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Resolve ``auto`` for a device: half precision where it computes in it in hardware; others stay as they are.

    Example:
        >>> resolve_precision("bf16", torch.device("cpu")), resolve_precision("auto", torch.device("mps"))
        ('bf16', '32')
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"
    return "bf16" if device.type == "cpu" and has_bf16() else "32"
