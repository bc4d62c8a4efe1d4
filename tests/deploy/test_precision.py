from __future__ import annotations

from pathlib import Path

from saccade.deploy.precision import has_bf16


def test_agrees_with_what_the_kernel_says() -> None:
    """Linux lists the instructions of the processor: x86 as flags, Arm as features."""
    words = set(Path("/proc/cpuinfo").read_text().split())
    assert has_bf16() == bool(words & {"avx512_bf16", "amx_bf16", "bf16"})
