"""Put weights of any known layout into a model, and say in one line what happened."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.errors import WeightsError
from saccade.weights.darknet_file import read_darknet
from saccade.weights.files import read_file
from saccade.weights.foreign import read_foreign
from saccade.weights.heads import EarlierHead, split_heads
from saccade.weights.layouts import layouts
from saccade.weights.loadable import Loadable
from saccade.weights.positions import interpolate_positions

__all__ = ["LoadReport", "load_weights"]

logger = logging.getLogger("saccade")
# A counter of BatchNorm that plays no part in its output with the usual fixed momentum; older files lack it.
_COUNTER = "num_batches_tracked"
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".tar", ".weights")


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_weights` did; ``str()`` is the line it logged.

    Args:
        source: File, or name of published weights.
        recognised: Layout, as a user knows it.
        loaded: Tensors that the model now has.
        renamed: Tensors of the file that have another name in the model.
        head: Tensors left as they were because they belong to another number of classes.
        missing: Tensors of the model that the file does not have.
        unexpected: Tensors of the file that the model has no place for.
        notes: What was unwrapped on the way.
        file_head: The whole head of the file, where it belongs to another number of classes.
        earlier_heads: Heads that the file kept from before, by :mod:`saccade.weights.heads`.
    """

    source: str
    recognised: str
    loaded: int
    renamed: int = 0
    head: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    file_head: EarlierHead | None = field(default=None, repr=False, compare=False)
    earlier_heads: tuple[EarlierHead, ...] = field(default=(), repr=False, compare=False)

    def __str__(self) -> str:
        unwrapped = f" ({', '.join(self.notes)})" if self.notes else ""
        renamed = self.renamed or "none"
        parts = [f"{self.source}: {self.recognised}{unwrapped}, {self.loaded} tensors loaded, {renamed} renamed"]
        if self.head:
            parts.append(f"head of another size left as it was ({_shorten(self.head)})")
        parts.append(f"missing {_shorten(self.missing)}")
        parts.append(f"unexpected {_shorten(self.unexpected)}")
        return "; ".join(parts) + "."


def _shorten(names: Sequence[str], limit: int = 4) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{len(names)}: {', '.join(names[:limit])}{more}" if len(names) > 1 else names[0]


def load_weights(model: Loadable, source: str | Path, strict_head: bool = False) -> LoadReport:
    """Load weights from a file of any known layout, or published weights by name.

    A last layer made for another number of classes stays as it is, which is how training on one's own classes starts;
    every other difference in shape is an error. The report is also logged by the logger ``saccade``.

    Args:
        model: Where the weights go, in place.
        source: Path of a ``.safetensors``, ``.pt``, ``.pth`` or Darknet ``.weights`` file, or a name of the published
            table such as ``imagenet`` or ``coco``; only a name may lead to a download.
        strict_head: Make another number of classes an error too.

    Returns:
        What was recognised, renamed, missing, unexpected.

    Raises:
        WeightsError: If the file cannot be read, nothing in it fits, or shapes differ outside the head. The model is
            then unchanged.

    Example:
        >>> print(load_weights(create_model("resnet18", num_classes=5), "resnet18-f37072fd.pth"))  # doctest: +SKIP
        resnet18-f37072fd.pth: torchvision ResNet, 100 tensors loaded, none renamed; head of another size left as it was
        (2: fc.weight, fc.bias); ...
    """
    from saccade.weights.published import PUBLISHED, fetch_published, find_published

    # A published name means the table even where a file of that name lies about; a path with a suffix never does.
    published = isinstance(source, str) and (source in PUBLISHED or f"{model.builder_name}/{source}" in PUBLISHED)
    entry = None if not published and _is_path(source) else find_published(model.builder_name, str(source))
    path = Path(source) if entry is None else fetch_published(entry)
    state, metadata, notes = _read(path, model)
    state, earlier_heads = split_heads(state, metadata.get("earlier_heads", ()))
    name = str(source) if entry is None else f"{entry.builder}/{entry.name}"
    class_names = tuple(metadata.get("class_names", ()) if entry is None else entry.class_names())
    report = _fit(model, state, metadata, notes, name, strict_head)
    if report.file_head is not None:
        report = replace(report, file_head=replace(report.file_head, class_names=class_names))
    report = replace(report, earlier_heads=earlier_heads)
    if not report.head and not model.class_names and len(class_names) == model.num_classes:
        model.class_names = class_names
    if entry is not None:
        model.input_spec = replace(model.input_spec, **entry.preprocessing)
        others = {key: value for key, value in entry.arguments.items() if model.builder_args.get(key, value) != value}
        if others:
            report = replace(report, notes=(*report.notes, f"trained with {_options(others)}, unlike this network"))
    logger.log(logging.WARNING if report.missing else logging.INFO, "%s", report)
    return report


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())


def _is_path(source: str | Path) -> bool:
    return isinstance(source, Path) or Path(source).suffix.lower() in _SUFFIXES or Path(source).is_file()


def _read(path: Path, model: Loadable) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    if path.suffix.lower() == ".safetensors":
        state, metadata = read_file(path)
        return state, metadata, []
    if path.suffix.lower() == ".weights":
        return read_darknet(path, model), {}, ["Darknet's format"]
    state, notes = read_foreign(path)
    return state, {}, notes


def _fit(
    model: Loadable,
    state: dict[str, Tensor],
    metadata: Mapping[str, Any],
    notes: list[str],
    source: str,
    strict_head: bool,
) -> LoadReport:
    own = model.state_dict()
    recognised, converted = _recognise(model, set(own), state, metadata)
    converted = interpolate_positions(converted, model)
    renamed = len(converted.keys() - state.keys())
    fitting = {name: tensor for name, tensor in converted.items() if name in own and tensor.shape == own[name].shape}
    other = {name: tensor for name, tensor in converted.items() if name in own and tensor.shape != own[name].shape}
    if not any(not name.endswith(_COUNTER) for name in (*fitting, *other)):
        raise WeightsError(
            f"'{source}' ({recognised}) has nothing for {_title(model)}: its names are like {_shorten(sorted(state))}; "
            f"the model's like {_shorten(sorted(own))}. Create the model that the file was made for."
        )
    # Heads are by contract the only parts whose shapes know the number of classes.
    heads = () if strict_head else tuple(f"{head}." for head in (model.head_name, *model.auxiliary_heads) if head)
    wrong = [name for name in other if not name.startswith(heads)]
    if wrong:
        shapes = {name: (tuple(other[name].shape), tuple(own[name].shape)) for name in wrong}
        raise WeightsError(_mismatch(source, recognised, _title(model), shapes))
    with torch.no_grad():
        for name, tensor in fitting.items():
            own[name].copy_(tensor)
    return LoadReport(
        source=source,
        recognised=recognised,
        loaded=len(fitting),
        renamed=renamed,
        head=tuple(other),
        missing=tuple(name for name in own if name not in converted and not name.endswith(_COUNTER)),
        unexpected=tuple(name for name in converted if name not in own and not name.endswith(_COUNTER)),
        notes=tuple(notes),
        file_head=_head_of(converted, other, (model.head_name, *model.auxiliary_heads)) if other else None,
    )


def _head_of(converted: Mapping[str, Tensor], other: Mapping[str, Tensor], heads: Sequence[str]) -> EarlierHead:
    """The file's head; its classes are as many as the smallest tensor that differs, a bias, is long."""
    smallest = min(other.values(), key=lambda tensor: tensor.numel())
    prefixes = tuple(f"{head}." for head in heads)
    tensors = {name: tensor for name, tensor in converted.items() if name.startswith(prefixes)}
    return EarlierHead(int(smallest.shape[0]), (), tensors)


def _title(model: Loadable) -> str:
    return model.builder_name or type(model).__name__


def _mismatch(
    source: str, recognised: str, title: str, shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
) -> str:
    lines = [f"'{source}' ({recognised}) does not fit {title}. Create the model that the file was made for."]
    lines += [f"  {name}: {file} in the file, {own} in the model" for name, (file, own) in list(shapes.items())[:10]]
    if len(shapes) > 10:
        lines.append(f"  ... and {len(shapes) - 10} more")
    return "\n".join(lines)


def _recognise(
    model: Loadable, own: set[str], state: dict[str, Tensor], metadata: Mapping[str, Any]
) -> tuple[str, dict[str, Tensor]]:
    if metadata.get("builder_name"):
        return f"Saccade checkpoint of {metadata['builder_name']}", state
    keys = set(state)
    for layout in layouts():
        if layout.matches(keys):
            # A state dict that has the model's own names needs no converter, even where a foreign layout looks alike.
            complete = all(name in keys for name in own if not name.endswith(_COUNTER))
            return layout.NAME, state if complete else layout.convert(dict(state), model)
    return "plain state dict", state
