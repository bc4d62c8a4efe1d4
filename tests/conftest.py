"""Shared by all tests: where real data is, that its absence is said aloud, and the same weights in any order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

_MISSING: set[str] = set()


def _root() -> Path | None:
    value = os.environ.get("SACCADE_DATA")
    return Path(value) if value else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests whose real data set is not on this machine."""
    root = _root()
    for item in items:
        for marker in item.iter_markers("data"):
            for name in marker.args:
                if root is None or not (root / name).exists():
                    _MISSING.add(name)
                    item.add_marker(pytest.mark.skip(reason=f"real data '{name}' is not in SACCADE_DATA={root}"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Networks of a test begin with the same weights, whichever tests ran before it."""
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One visible line when real data was missing."""
    if _MISSING:
        line = f"NOT RUN: tests on real data {sorted(_MISSING)}; set SACCADE_DATA to a folder that holds them."
        terminalreporter.write_line(line)


@pytest.fixture
def data_root() -> Path:
    """Folder of the real data sets; only for tests marked ``data``."""
    root = _root()
    assert root is not None, "mark the test with @pytest.mark.data(name)"
    return root
