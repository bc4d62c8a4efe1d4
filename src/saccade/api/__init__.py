"""The verbs in Python; the command line calls these and nothing else.

Each name is loaded on first use: ``options.py`` describes the options of all of them, and needs none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saccade.api.comparing import compare as compare
    from saccade.api.data import check as check
    from saccade.api.data import convert as convert
    from saccade.api.data import datasets as datasets
    from saccade.api.data import repair as repair
    from saccade.api.data import show as show
    from saccade.api.exporting import export as export
    from saccade.api.inference import evaluate as evaluate
    from saccade.api.inference import explain as explain
    from saccade.api.inference import predict as predict
    from saccade.api.labelling import label as label
    from saccade.api.networks import create_model as create_model
    from saccade.api.networks import list_models as list_models
    from saccade.api.networks import load as load
    from saccade.api.networks import models as models
    from saccade.api.networks import summary as summary
    from saccade.api.training import demo as demo
    from saccade.api.training import recipe as recipe
    from saccade.api.training import train as train
    from saccade.api.tuning import tune as tune

_FILES = {
    "comparing": ("compare",),
    "data": ("check", "convert", "datasets", "repair", "show"),
    "exporting": ("export",),
    "inference": ("evaluate", "explain", "predict"),
    "labelling": ("label",),
    "networks": ("create_model", "list_models", "load", "models", "summary"),
    "training": ("demo", "recipe", "train"),
    "tuning": ("tune",),
}
_HOMES = {name: file for file, names in _FILES.items() for name in names}

__all__ = [
    "check",
    "compare",
    "convert",
    "create_model",
    "datasets",
    "demo",
    "evaluate",
    "explain",
    "export",
    "label",
    "list_models",
    "load",
    "models",
    "predict",
    "recipe",
    "repair",
    "show",
    "summary",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'saccade.api' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"saccade.api.{_HOMES[name]}"), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
