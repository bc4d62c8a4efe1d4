"""Where weights come from: a file of any known format, or a row of the published table; opened before a network is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from saccade.structures.text import printable
from saccade.weights.darknet import count_darknet_classes, count_darknet_layers, is_darknet_file, read_darknet
from saccade.weights.files import read_file
from saccade.weights.foreign import read_foreign, require_weights_file
from saccade.weights.heads import EarlierHead, count_classes, names_of_rows, split_heads
from saccade.weights.layouts import layouts
from saccade.weights.loadable import Loadable
from saccade.weights.positions import interpolate_positions
from saccade.weights.prefix import backbone_prefix

__all__ = ["COUNTER", "WeightsSource", "open_source"]

# A counter of BatchNorm that plays no part in its output with the usual fixed momentum; older files lack it.
COUNTER = "num_batches_tracked"
_SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".ckpt", ".bin", ".tar")


@dataclass(frozen=True)
class WeightsSource:
    """Tensors of a file, under its own names, with what is known of them.

    Args:
        name: File, or name of published weights, safe to print.
        path: The file.
        state: Its tensors; empty for Darknet's format, which names none.
        class_names: Names of the classes of its head; empty if unknown.
        builder_name: Network that it was saved from, where Saccade wrote it.
        notes: What was unwrapped on the way.
        arguments: Options of the builder that it was trained with, beyond what its tensors tell.
        preprocessing: Fields of the input spec that it was trained with, where they are not its builder's.
        earlier_heads: Heads that it kept from before.
    """

    name: str
    path: Path
    state: Mapping[str, Tensor]
    class_names: tuple[str, ...] = ()
    builder_name: str = ""
    notes: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    earlier_heads: tuple[EarlierHead, ...] = field(default=(), repr=False)

    @property
    def is_darknet(self) -> bool:
        """Whether it is a file of floats without names."""
        return is_darknet_file(self.path)

    @property
    def layout(self) -> str:
        """Layout whose names its tensors have; empty if none is recognised."""
        keys = set(self.state)
        return next((layout.NAME for layout in layouts() if layout.matches(keys)), "")

    def under_names_of(self, model: Loadable) -> tuple[str, dict[str, Tensor]]:
        """Layout, as a user knows it, and the tensors under the names of a network.

        Args:
            model: The network, perhaps without memory.

        Raises:
            WeightsError: If a file without names is not of the network or of its first layers.
        """
        if self.is_darknet:
            held, layers = count_darknet_layers(self.path, model)
            part = "" if held == layers else f", the first {held} of {layers} layers with weights"
            return f"Darknet{part}", read_darknet(self.path, model)
        layout, state = self._named_for(model)
        return layout, interpolate_positions(state, model)

    def count_classes(self, model: Loadable) -> int | None:
        """Classes of its head, as a network of that kind counts them; None where that cannot be told.

        Args:
            model: A network of the kind, for any number of classes.
        """
        if self.is_darknet:
            return count_darknet_classes(self.path, model)
        classes = count_classes(self._named_for(model)[1], model.class_rows)
        named = names_of_rows(self.class_names, classes or 0)
        return sum(map(bool, named)) if named else classes  # rows without a name are of no class

    def _named_for(self, model: Loadable) -> tuple[str, dict[str, Tensor]]:
        state, own = dict(self.state), model.state_dict()
        if self.builder_name:
            title = f"Saccade checkpoint of {printable(self.builder_name, limit=100)}"
            return title, _inside(state, own)
        keys = set(state)
        for layout in layouts():
            if layout.matches(keys):
                # A state dict that has the model's own names needs no converter, even where a foreign one looks alike.
                complete = all(name in keys for name in own if not name.endswith(COUNTER))
                return layout.NAME, state if complete else layout.convert(state, model)
        return "plain state dict", _inside(state, own)


def _inside(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a network that a larger one holds as its backbone, under the names that they have there."""

    def held(prefix: str) -> int:
        return sum(f"{prefix}{name}" in own for name in state)

    if held("") > len(state) // 2:
        return state
    some = list(state)[:: max(len(state) // 20, 1)]
    prefixes = {prefix for name in some if (prefix := backbone_prefix(own, name)) is not None}
    best = max(sorted(prefixes), key=held, default="")  # the shortest of equals, which is none
    return {f"{best}{name}": tensor for name, tensor in state.items()} if held(best) > held("") else state


def open_source(source: str | Path | WeightsSource, builder: str) -> WeightsSource:
    """Open a file of weights, or fetch published ones by name.

    Args:
        source: Path, or a name of the published table; only a name may lead to a download. An opened one stays as it
            is.
        builder: Builder of the network that asks, for names of the table.

    Raises:
        WeightsError: If there is no such file or name, or it cannot be read.

    Example:
        >>> torch.save({"fc.weight": torch.zeros(3, 2)}, "last.pth")
        >>> list(open_source("last.pth", "resnet18").state)
        ['fc.weight']
    """
    from saccade.weights.published import PUBLISHED, fetch_published, find_published

    if isinstance(source, WeightsSource):
        return source
    # A published name means the table even where a file of that name lies about; a path with a suffix never does.
    published = isinstance(source, str) and (source in PUBLISHED or f"{builder}/{source}" in PUBLISHED)
    entry = None if not published and _is_path(source) else find_published(builder, str(source))
    path = Path(source) if entry is None else fetch_published(entry)
    name = printable(str(source)) if entry is None else f"{entry.builder}/{entry.name}"
    suffix = path.suffix.lower()
    arguments, preprocessing = (entry.arguments, entry.preprocessing) if entry is not None else ({}, {})
    if is_darknet_file(path):
        require_weights_file(path)
        return WeightsSource(name, path, {}, arguments=arguments, preprocessing=preprocessing)
    metadata: dict[str, Any] = {}
    notes: list[str] = []
    if suffix == ".safetensors":
        state, metadata = read_file(path)
    else:
        state, notes = read_foreign(path)
    state, earlier_heads = split_heads(state, metadata.get("earlier_heads", ()))
    class_names = tuple(metadata.get("class_names", ()) if entry is None else entry.class_names())
    return WeightsSource(
        name,
        path,
        state,
        class_names,
        str(metadata.get("builder_name", "")),
        tuple(notes),
        arguments,
        preprocessing,
        earlier_heads,
    )


def _is_path(source: str | Path) -> bool:
    path = Path(source)
    return isinstance(source, Path) or path.suffix.lower() in _SUFFIXES or is_darknet_file(path) or path.exists()
