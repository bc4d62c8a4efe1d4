"""What this room needs of a model. It stands below ``saccade.models`` and cannot name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from saccade.structures.input_spec import InputSpec

__all__ = ["Loadable"]


class Loadable(Protocol):
    """The part of :class:`saccade.models.base.Model` that loading touches."""

    builder_name: str
    builder_args: Mapping[str, Any]
    head_name: str
    auxiliary_heads: tuple[str, ...]
    num_classes: int
    class_names: tuple[str, ...]
    input_spec: InputSpec

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name."""
        ...
