"""Key layouts of other projects, one file each. A file is found by being here."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import Protocol, cast

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["Layout", "layouts"]


class Layout(Protocol):
    """What a module of this folder offers."""

    NAME: str  # as a user knows it: "torchvision ResNet"

    def matches(self, keys: set[str]) -> bool:
        """Whether a state dict with these names has this layout."""
        ...

    def convert(self, state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
        """The same tensors under the names of ``model``; tensors it has no place for keep theirs."""
        ...


@functools.cache
def layouts() -> tuple[Layout, ...]:
    """All layouts, by file name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(cast(Layout, importlib.import_module(f"{__name__}.{name}")) for name in names)
