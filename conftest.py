"""What docstring examples find at hand: torch, numpy and saccade, in an empty folder of their own."""

from __future__ import annotations

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
