"""The part of a model that loading touches. This room stands below ``saccade.models`` and cannot name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from saccade.structures.class_rows import ClassRows
from saccade.structures.input_spec import InputSpec

__all__ = ["Loadable"]


class Loadable(Protocol):
    """Attributes and methods of :class:`saccade.models.base.Model` that loading touches."""

    builder_name: str
    builder_args: Mapping[str, Any]
    stage_names: tuple[str, ...]
    neck_names: tuple[str, ...]
    head_names: tuple[str, ...]
    auxiliary_heads: tuple[str, ...]
    class_rows: Mapping[str, ClassRows]
    num_classes: int
    class_names: tuple[str, ...]
    input_spec: InputSpec

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name."""
        ...

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Any]]:
        """Tensors that are not learnt."""
        ...

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """Submodules by name."""
        ...
