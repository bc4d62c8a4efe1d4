"""Resuming (``resume_cases.py``) in a process of its own.

Its runs are forked and stopped by signals, which torch allows only where no test before has started autograd's threads.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("resume_cases.py")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "kind", [pytest.param("not slow", id="quick"), pytest.param("slow", id="slow", marks=pytest.mark.slow)]
)
def test_cases_of_resuming(kind: str) -> None:
    command = [sys.executable, "-m", "pytest", str(CASES), "-q", "-m", kind, "--tb=short", "-p", "no:xdist"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
