"""What docstring examples find at hand: torch, numpy and saccade, in an empty folder of their own.

No test writes into the user's own cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import saccade


@pytest.fixture(autouse=True)
def _names_of_examples(request: pytest.FixtureRequest) -> None:
    if not isinstance(request.node, pytest.DoctestItem):
        return
    names = request.getfixturevalue("doctest_namespace")
    names.update(torch=torch, np=np, numpy=np, saccade=saccade, F=F, Path=Path)
    request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_this_run() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="saccade-cache-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SACCADE_CACHE", folder)
        yield
