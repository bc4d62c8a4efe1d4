"""Key layouts of other projects, one file each; every module of this folder is one."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import Protocol, cast

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["Layout", "layouts"]


class Layout(Protocol):
    """Key layout of another project: recognises its state dicts and renames their tensors.

    Example:
        >>> layout = next(one for one in layouts() if one.NAME == "torchvision ViT")
        >>> layout.matches({"conv1.weight", "fc.weight"})
        False
    """

    NAME: str  # as a user knows it: "torchvision ResNet"

    def matches(self, keys: set[str]) -> bool:
        """Whether a state dict with these names has this layout."""
        ...

    def convert(self, state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
        """The same tensors under the names of ``model``; tensors without a counterpart keep theirs."""
        ...


@functools.cache
def layouts() -> tuple[Layout, ...]:
    """All layouts, sorted by file name.

    Example:
        >>> keys = {"class_token", "conv_proj.weight", "encoder.pos_embedding"}
        >>> [layout.NAME for layout in layouts() if layout.matches(keys)]
        ['torchvision ViT']
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(cast(Layout, importlib.import_module(f"{__name__}.{name}")) for name in names)
