"""Visual recognition from LeNet to YOLOX behind one small set of verbs.

Every name is loaded on first use, so that ``import saccade`` costs nothing: torch comes with the first verb.

Example:
    >>> import saccade
    >>> saccade.create_model("resnet18", num_classes=3).num_classes
    3
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saccade.api import check as check
    from saccade.api import compare as compare
    from saccade.api import convert as convert
    from saccade.api import create_model as create_model
    from saccade.api import datasets as datasets
    from saccade.api import demo as demo
    from saccade.api import evaluate as evaluate
    from saccade.api import explain as explain
    from saccade.api import export as export
    from saccade.api import label as label
    from saccade.api import list_models as list_models
    from saccade.api import load as load
    from saccade.api import models as models
    from saccade.api import predict as predict
    from saccade.api import recipe as recipe
    from saccade.api import repair as repair
    from saccade.api import show as show
    from saccade.api import summary as summary
    from saccade.api import train as train
    from saccade.api import tune as tune
    from saccade.api.networks import ModelRow

    __version__: str
else:
    from saccade import models

    class _ModelsPackage(types.ModuleType):
        """The package of networks, which bears the name of a verb and therefore does what the verb does."""

        def __call__(self, task: str | None = None) -> list[ModelRow]:
            """Networks by name; see :func:`saccade.api.networks.models`."""
            from saccade import api

            return api.models(task)

    models.__class__ = _ModelsPackage

__all__ = [
    "__version__",
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
