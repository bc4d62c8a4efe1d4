"""Loading weights of any known layout into a model, with a report of one line."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.errors import WeightsError
from saccade.structures.text import printable
from saccade.weights.advice import advise
from saccade.weights.fit import body_lacks, body_leaves, fits, shorten, unlike, unusable
from saccade.weights.heads import (
    EarlierHead,
    count_classes,
    drop_unnamed_rows,
    head_tensors,
    names_of_rows,
    pair_classes,
)
from saccade.weights.loadable import Loadable
from saccade.weights.source import COUNTER, WeightsSource, open_source

__all__ = ["LoadReport", "load_weights"]

logger = logging.getLogger("saccade")


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_weights` did; ``str()`` is the line it logged.

    Args:
        source: File, or name of published weights.
        recognised: Layout, as a user knows it.
        loaded: Tensors that the model now has from the file, whole.
        renamed: Tensors of the file that have another name in the model.
        head: Tensors in which rows stayed as they were, because the file does not have all of the model's classes.
        taken: Classes whose rows were taken by their name; None where names played no part.
        new: Classes of the model that the file does not have, where names decided.
        missing: Tensors of the model that the file does not have.
        unexpected: Tensors of the file that the model does not have.
        notes: What was unwrapped on the way.
        file_head: The whole head of the file, where it belongs to other classes.
        earlier_heads: Heads that the file kept from before, by :mod:`saccade.weights.heads`.
    """

    source: str
    recognised: str
    loaded: int
    renamed: int = 0
    head: tuple[str, ...] = ()
    taken: tuple[str, ...] | None = None
    new: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    file_head: EarlierHead | None = field(default=None, repr=False, compare=False)
    earlier_heads: tuple[EarlierHead, ...] = field(default=(), repr=False, compare=False)

    def __str__(self) -> str:
        unwrapped = f" ({', '.join(self.notes)})" if self.notes else ""
        renamed = self.renamed or "none"
        parts = [f"{self.source}: {self.recognised}{unwrapped}, {self.loaded} tensors loaded, {renamed} renamed"]
        if self.taken:
            rest = f", as initialised {shorten(self.new)}" if self.new else ""
            parts.append(f"head: {len(self.taken)} of {len(self.taken) + len(self.new)} classes taken by name{rest}")
        elif self.taken is not None:
            parts.append(f"head of other classes left as it was ({shorten(self.head)})")
        elif self.head:
            parts.append(f"head of another size left as it was ({shorten(self.head)})")
        parts.append(f"missing {shorten(self.missing)}")
        parts.append(f"unexpected {shorten(self.unexpected)}")
        return "; ".join(parts) + "."


def load_weights(
    model: Loadable, source: str | Path | WeightsSource, strict_head: bool = False, partial: bool = False
) -> LoadReport:
    """Load weights from a file of any known layout, or published weights by name.

    Heads follow the names of classes where file and model have them: rows of shared names are copied, in whatever order
    they stand, and rows of new classes stay as they were. Where names are unknown, a head of as many classes is copied
    as it is, and one of another number stays as it was, which is how training on one's own classes starts; rows that
    belong to no class are copied. A file of a backbone alone leaves necks and heads as they were, which is how a dense
    network starts; so does one of Darknet's that ends behind one of its first layers (``darknet53.conv.74``). Every
    other difference is an error, which names the network or option that the file fits: a shape, a tensor of the body
    that the file does not have, a layer that the network does not have. The report is also logged by the logger
    ``saccade``.

    Args:
        model: Where the weights go, in place.
        source: Path of a ``.safetensors``, ``.pt``, ``.pth`` or Darknet ``.weights`` file, or a name of the published
            table such as ``imagenet`` or ``coco``; only a name may lead to a download. Or an opened one.
        strict_head: Make other classes an error too.
        partial: Load what there is: tensors of the body may be missing, and layers may be left over.

    Returns:
        What was recognised, renamed, missing, unexpected.

    Raises:
        WeightsError: If the file cannot be read, nothing in it fits, shapes differ outside the rows of classes, or the
            body is not whole and ``partial`` was not asked for. The model is then unchanged.

    Example:
        >>> from saccade.models.checkpoint import save_model
        >>> model = saccade.create_model("lenet5", num_classes=2)
        >>> model.class_names = ("cat", "dog")
        >>> path = save_model(model, "pets.safetensors")
        >>> other = saccade.create_model("lenet5", num_classes=3)
        >>> other.class_names = ("dog", "cow", "cat")
        >>> print(load_weights(other, "pets.safetensors"))  # doctest: +ELLIPSIS
        pets.safetensors: Saccade checkpoint of lenet5, 8 tensors loaded, none renamed;
        head: 2 of 3 classes taken by name, as initialised cow; missing none; unexpected none.
        >>> torch.equal(other.output.weight[0], model.output.weight[1])
        True
    """
    file = open_source(source, model.builder_name)
    try:
        recognised, converted = file.under_names_of(model)
    except WeightsError as error:
        raise WeightsError(f"{error}{advise(model, lambda other: fits(other, file))}") from error
    title = f"'{file.name}' ({recognised})"
    checked = _checked(model, converted, file, title, strict_head)
    if not partial and not file.is_darknet:  # one without names has all layers of the network, or its first
        _require_body(model, converted, file, title)
    report = replace(
        _copy(model, checked),
        source=file.name,
        recognised=recognised,
        renamed=len(converted.keys() - file.state.keys()),
        notes=file.notes,
        earlier_heads=file.earlier_heads,
    )
    model.input_spec = replace(model.input_spec, **file.preprocessing)
    others = {key: value for key, value in file.arguments.items() if model.builder_args.get(key, value) != value}
    if others:
        report = replace(report, notes=(*report.notes, f"trained with {_options(others)}, unlike this network"))
    logger.log(logging.WARNING if report.missing else logging.INFO, "%s", report)
    return report


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())


def _require_body(model: Loadable, state: Mapping[str, Tensor], file: WeightsSource, title: str) -> None:
    """Refuse a file that leaves layers of the body as initialised, or holds layers that the body does not have.

    Raises:
        WeightsError: With what the file fits, where that is found.
    """
    lacking, left = body_lacks(model, state), body_leaves(model, state)
    if not lacking and not left:
        return
    own = _title(model)
    found = [f"it lacks {shorten(lacking)}"] if lacking else []
    found += [f"it has layers that {own} has not, {shorten(left)}"] if left else []
    raise WeightsError(
        f"{title} is not of {own}: {'; '.join(found)}. Its answers would be chance."
        f"{advise(model, lambda other: fits(other, file))} Create the model that the file was made for; to start "
        "training from what there is, ask for it: partial=True (--partial-weights)."
    )


@dataclass(frozen=True)
class _File:
    """Tensors of a file under the model's names, all of shapes that fit, and the classes of its head.

    Args:
        state: The tensors; rows of no class are gone.
        classes: Classes of its head; None without one.
        class_names: Their names; empty if unknown.
        pairs: (class of the model, class of the file) of all rows to copy.
        by_name: Names decided on ``pairs``.
    """

    state: Mapping[str, Tensor]
    classes: int | None
    class_names: tuple[str, ...]
    pairs: Sequence[tuple[int, int]]
    by_name: bool


def _checked(
    model: Loadable, state: Mapping[str, Tensor], source: WeightsSource, title: str, strict_head: bool
) -> _File:
    """Find out what goes where, before anything is written.

    Raises:
        WeightsError: If nothing fits, or a shape differs that must not.
    """
    own = model.state_dict()
    common = [name for name in state if name in own]
    advice = lambda: advise(model, lambda other: fits(other, source))  # noqa: E731
    if not any(not name.endswith(COUNTER) for name in common):
        raise WeightsError(
            f"{title} has nothing for {_title(model)}: its names are like {shorten(sorted(state))}; "
            f"the model's like {shorten(sorted(own))}.{advice()} Create the model that the file was made for."
        )
    rows = model.class_rows
    classes = count_classes(state, rows) if rows else model.num_classes
    names = () if classes is None else names_of_rows(source.class_names, classes)
    if not all(names):
        state, names = drop_unnamed_rows(state, rows, names), tuple(name for name in names if name)
        classes = len(names)
    wrong = list(unlike(model, state))
    if strict_head or classes is None:  # heads that disagree about their classes are of another network
        wrong = [name for name in common if state[name].shape != own[name].shape]
    if wrong:
        shapes = {name: (tuple(state[name].shape), tuple(own[name].shape)) for name in wrong}
        raise WeightsError(_mismatch(title, _title(model), shapes, advice()))
    problem = unusable(own, state)
    if problem:
        raise WeightsError(f"{title} cannot be loaded: {problem}. It is damaged: copy, download or save it again.")
    by_name = bool(rows and names) and len(model.class_names) == model.num_classes and names != model.class_names
    if by_name:
        pairs = pair_classes(model.class_names, names)
    else:
        pairs = [(index, index) for index in range(model.num_classes)] if classes == model.num_classes else []
    if strict_head and by_name and len(pairs) < model.num_classes:
        raise WeightsError(
            f"{title} has other classes than {_title(model)}: it does not know "
            f"{shorten(_without(model.class_names, [index for index, _ in pairs]))}."
        )
    return _File(state, classes, names, pairs, by_name)


def _copy(model: Loadable, file: _File) -> LoadReport:
    """Write everything that is paired into the model."""
    own, rows, state = model.state_dict(), model.class_rows, file.state
    common = [name for name in state if name in own]
    complete = len(file.pairs) == model.num_classes
    left = () if complete else tuple(name for name in common if name in rows)
    with torch.no_grad():
        for name in common:
            if name in rows and file.classes is not None:
                rows[name].copy(own[name], state[name], file.pairs, (model.num_classes, file.classes))
            else:
                own[name].copy_(state[name])
    if complete and not model.class_names and len(file.class_names) == model.num_classes:
        model.class_names = file.class_names
    taken: tuple[str, ...] | None = None
    new: tuple[str, ...] = ()
    file_head = None
    if file.classes is not None and rows and not (complete and file.classes == model.num_classes):
        heads = (*model.head_names, *model.auxiliary_heads)
        file_head = EarlierHead(file.classes, file.class_names, head_tensors(state, heads))
    if file.by_name:
        shared = [index for index, _ in file.pairs]
        taken, new = tuple(model.class_names[index] for index in shared), _without(model.class_names, shared)
    return LoadReport(
        source="",
        recognised="",
        loaded=len(common) - len(left),
        head=left,
        taken=taken,
        new=new,
        missing=tuple(name for name in own if name not in state and not name.endswith(COUNTER)),
        unexpected=tuple(name for name in state if name not in own and not name.endswith(COUNTER)),
        file_head=file_head,
    )


def _without(names: Sequence[str], indices: Sequence[int]) -> tuple[str, ...]:
    return tuple(name for index, name in enumerate(names) if index not in indices)


def _title(model: Loadable) -> str:
    return model.builder_name or type(model).__name__


def _mismatch(title: str, model: str, shapes: Mapping[str, tuple[tuple[int, ...], ...]], advice: str) -> str:
    rows = [
        f"{printable(name, limit=100)}: {file} in the file, {own} in the model"
        for name, (file, own) in list(shapes.items())[:4]
    ]
    more = f"; and {len(shapes) - len(rows)} more" if len(shapes) > len(rows) else ""
    return (
        f"{title} does not fit {model}.{advice} Create the model that the file was made for ({'; '.join(rows)}{more})."
    )
