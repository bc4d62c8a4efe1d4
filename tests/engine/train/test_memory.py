from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import sys
import torch
from saccade.engine.train.memory import keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.ones(64 * 2**18).sum()  # 64 MB, and whatever torch allocates once
before = resident()
blocks = [torch.ones(64 * 2**18) for _ in range(3)]
del blocks
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_freed_blocks_stay_with_the_process() -> None:
    grown = {
        mode: float(subprocess.run([sys.executable, "-c", _SCRIPT, mode], capture_output=True, check=True).stdout)
        for mode in ("keep", "give back")
    }
    assert grown["keep"] >= 100, grown
    assert grown["give back"] <= 20, grown
