"""Weights: our own files, foreign layouts, the published table and its downloads. Loaded when first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saccade.weights.files import read_file, save_file
    from saccade.weights.load import LoadReport, load_weights
    from saccade.weights.published import PUBLISHED

__all__ = ["PUBLISHED", "LoadReport", "load_weights", "read_file", "save_file"]

_HOMES = {
    "LoadReport": "load",
    "PUBLISHED": "published",
    "load_weights": "load",
    "read_file": "files",
    "save_file": "files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
