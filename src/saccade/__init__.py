"""Visual recognition from LeNet to YOLOX behind one small set of verbs.

Every name is loaded on first use, so that ``import saccade`` costs nothing: torch comes with the first verb.

Example:
    >>> import saccade
    >>> saccade.create_model("resnet18", num_classes=3).num_classes
    3
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saccade.api import check as check
    from saccade.api import check_model as check_model
    from saccade.api import convert as convert
    from saccade.api import create_model as create_model
    from saccade.api import datasets as datasets
    from saccade.api import describe as describe
    from saccade.api import evaluate as evaluate
    from saccade.api import evaluate_predictions as evaluate_predictions
    from saccade.api import explain as explain
    from saccade.api import export as export
    from saccade.api import fetch as fetch
    from saccade.api import list_models as list_models
    from saccade.api import load as load
    from saccade.api import predict as predict
    from saccade.api import recipe as recipe
    from saccade.api import repair as repair
    from saccade.api import show as show
    from saccade.api import summary as summary
    from saccade.api import train as train

    __version__: str

__all__ = [
    "__version__",
    "check",
    "check_model",
    "convert",
    "create_model",
    "datasets",
    "describe",
    "evaluate",
    "evaluate_predictions",
    "explain",
    "export",
    "fetch",
    "list_models",
    "load",
    "predict",
    "recipe",
    "repair",
    "show",
    "summary",
    "train",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("saccade")
    elif name in __all__:
        from saccade import api

        value = getattr(api, name)
    else:
        raise AttributeError(f"module 'saccade' has no attribute '{name}'")
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
