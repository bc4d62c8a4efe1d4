"""Darknet's ``.weights`` files, read and written: a header, then floats in the order of the network's configuration.

A convolution with BatchNorm is bias, scale, mean, variance and kernel; one without is bias and kernel. A fully
connected layer is bias and weights, and behind them scale, mean and variance where it has BatchNorm; a locally
connected one is bias and kernels, a weighted shortcut its weights. That is the order in which our networks hold their
layers, so no configuration is needed.

A backbone to start training from is a file that ends behind one of the first layers; Darknet names it by their number
(``darknet53.conv.74``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from saccade.errors import WeightsError
from saccade.structures.files import atomic_write
from saccade.structures.text import printable
from saccade.weights.foreign import require_weights_file
from saccade.weights.loadable import Loadable

__all__ = [
    "DarknetHeader",
    "count_darknet_classes",
    "count_darknet_layers",
    "is_darknet_file",
    "read_darknet",
    "read_darknet_header",
    "write_darknet",
]

_MAX_BYTES = 4 << 30  # the largest known, of YOLOv4-P7, has 1.1 GB
_FILE = re.compile(r"\.(weights|conv\.\d+)$", flags=re.IGNORECASE)
_NORM = ("bias", "weight", "running_mean", "running_var")


@dataclass(frozen=True)
class DarknetHeader:
    """Header of a ``.weights`` file: version of the format, and how many images the network has seen in training.

    Args:
        major: Version.
        minor: Version; from 0.2 on ``seen`` has 64 bits, before it has 32.
        revision: Version.
        seen: Images.

    Raises:
        WeightsError: If a number does not fit into its field.

    Example:
        >>> DarknetHeader(seen=64).to_bytes().hex()
        '0000000002000000050000004000000000000000'
    """

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0

    def __post_init__(self) -> None:
        bits = 63 if self.wide else 31
        for name, most in (("major", 31), ("minor", 31), ("revision", 31), ("seen", bits)):
            if not -(1 << most) <= getattr(self, name) < 1 << most:
                raise WeightsError(
                    f"{name} of a Darknet header is {getattr(self, name)}, which needs over {most} bits."
                )

    @property
    def wide(self) -> bool:
        """Whether ``seen`` has 64 bits."""
        return self.major * 10 + self.minor >= 2

    def to_bytes(self) -> bytes:
        """The header as it stands in a file."""
        version = np.array([self.major, self.minor, self.revision], "<i4").tobytes()
        return version + np.array([self.seen], "<i8" if self.wide else "<i4").tobytes()


@dataclass(frozen=True)
class _Piece:
    """Consecutive floats of a file: a tensor of the network, or rows of one."""

    layer: int  # number of the layer with weights, from 0
    name: str
    shape: tuple[int, ...]
    rows: slice | None  # of the first dimension; None for all
    swapped: bool = False  # the halves of its input channels stand the other way round in the file

    def turned(self, tensor: Tensor) -> Tensor:
        """The file's order of a tensor of the network, or back."""
        return torch.cat(tensor.chunk(2, dim=1)[::-1], dim=1) if self.swapped else tensor

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def is_darknet_file(path: str | Path) -> bool:
    """Whether a file is one of Darknet's by its name: ``*.weights``, or a backbone ``*.conv.N``.

    Example:
        >>> is_darknet_file("yolov3.weights"), is_darknet_file("darknet53.conv.74"), is_darknet_file("yolov3.pt")
        (True, True, False)
    """
    return _FILE.search(Path(path).name) is not None


def read_darknet_header(path: str | Path) -> DarknetHeader:
    """Read the header of a Darknet ``.weights`` file.

    Raises:
        WeightsError: If the file is missing or no Darknet file.

    Example:
        >>> _ = Path("tiny.weights").write_bytes(DarknetHeader(0, 1, 0, 64).to_bytes() + bytes(4))
        >>> read_darknet_header("tiny.weights")
        DarknetHeader(major=0, minor=1, revision=0, seen=64)
    """
    size = _size(path)
    with Path(path).open("rb") as file:
        return _header(file, size, path)


def read_darknet(path: str | Path, model: Loadable) -> dict[str, Tensor]:
    """Read a Darknet ``.weights`` file under the tensor names of a model.

    A file whose head has another number of classes is read with the head that it has; one that ends behind one of the
    first layers, with those. What such files do not hold, such as anchors, stays the model's own.

    Args:
        path: The file. Its header is major, minor and revision as int32 and the number of images seen, which is int64
            from version 0.2 on and int32 before.
        model: A network whose layers are those of the file's configuration, in the same order; perhaps without memory.

    Raises:
        WeightsError: If the file is missing, holds more floats than the model has, or ends inside a layer.

    Example:
        >>> header, floats = np.array([0, 2, 0, 0, 0], "<i4"), np.array([1, 2, 3, 4], "<f4")
        >>> _ = Path("tiny.weights").write_bytes(header.tobytes() + floats.tobytes())
        >>> state = read_darknet("tiny.weights", torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1)))  # bias, then kernel
        >>> {name: tensor.flatten().tolist() for name, tensor in state.items()}
        {'0.bias': [1.0, 2.0], '0.weight': [3.0, 4.0]}
    """
    pieces, absent = _held_pieces(path, model)
    parts: dict[str, list[Tensor]] = {}
    with Path(path).open("rb") as file:
        _header(file, _size(path), path)
        for piece in pieces:
            floats = np.fromfile(file, "<f4", piece.count).astype(np.float32, copy=False)
            parts.setdefault(piece.name, []).append(piece.turned(torch.from_numpy(floats.reshape(piece.shape))))
    missing = {piece.name for piece in absent}
    state = {
        name: several[0] if len(several) == 1 else torch.cat(several)
        for name, several in parts.items()
        if name not in missing  # the file may end between the halves of one
    }
    placeless = set(_parameters(model)) | state.keys() | missing
    return state | {name: value for name, value in model.state_dict().items() if _is_extra(name, placeless)}


def write_darknet(path: str | Path, model: Loadable, header: DarknetHeader | None = None) -> Path:
    """Write the weights of a network as a Darknet ``.weights`` file, whole or not at all.

    Args:
        path: The file, ``*.weights``.
        model: A network whose layers stand in the order of its configuration: those of the Darknet line, and any that
            was built from a ``.cfg``.
        header: Version and images seen; :func:`read_darknet_header` gives that of another file.

    Returns:
        The file.

    Raises:
        WeightsError: If the name has another suffix, or the network holds a weight that such a file has no place for.

    Example:
        >>> path = write_darknet("tiny.weights", torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1)))
        >>> path.stat().st_size, read_darknet_header(path).seen
        (36, 0)
    """
    path = Path(path)
    if path.suffix != ".weights":
        raise WeightsError(f"'{printable(str(path))}' is no name of a Darknet file. End it with .weights.")
    own, pieces = model.state_dict(), _pieces(model)
    placed = {piece.name for piece in pieces}
    lost = [name for name in _parameters(model) if name not in placed]
    if lost:
        raise WeightsError(
            f"{_title(model)} cannot be written as a Darknet file: it has no place for {lost[0]}. Save a checkpoint "
            "instead (*.safetensors)."
        )
    head = header or DarknetHeader()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(head.to_bytes())
            for piece in pieces:
                tensor = own[piece.name].detach()
                rows = piece.turned(tensor if piece.rows is None else tensor[piece.rows])
                file.write(rows.to("cpu", torch.float32).contiguous().numpy().astype("<f4", copy=False).tobytes())

    atomic_write(path, write)
    return path


def count_darknet_classes(path: str | Path, model: Loadable) -> int | None:
    """Classes of the head of a Darknet file, if all the rest is that of a network; None if it is not.

    Args:
        path: The file.
        model: A network whose layers are those of the file's configuration, for any number of classes.

    Raises:
        WeightsError: If the file is missing or no Darknet file.
    """
    held, spare = _held(path)
    if not getattr(model, "class_rows", {}):
        return None
    # The number of floats is linear in that of the classes.
    one, two = (sum(piece.count for piece in _pieces(model, classes)) for classes in (1, 2))
    rest, each = held - one, two - one
    return 1 + rest // each if each > 0 and rest >= 0 and rest % each == 0 and not spare else None


def count_darknet_layers(path: str | Path, model: Loadable) -> tuple[int, int]:
    """Layers with weights that a Darknet file holds, and those of the network.

    Args:
        path: The file.
        model: A network whose layers are those of the file's configuration, or begin with them.

    Raises:
        WeightsError: As of :func:`read_darknet`.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 2, 1))
        >>> count_darknet_layers(write_darknet("first.weights", model[:1]), model)
        (1, 2)
    """
    pieces, absent = _held_pieces(path, model)
    held = {piece.layer for piece in pieces}
    return len(held), len(held | {piece.layer for piece in absent})


def _held_pieces(path: str | Path, model: Loadable) -> tuple[list[_Piece], list[_Piece]]:
    """Pieces of a network that a file holds, and those behind its end.

    Raises:
        WeightsError: If it is of another network, or ends inside a layer.
    """
    held, spare = _held(path)
    pieces = _pieces(model)
    if held == sum(piece.count for piece in pieces) and not spare:
        return pieces, []
    classes = count_darknet_classes(path, model)
    if classes is not None:
        return _pieces(model, classes), []
    end = 0
    for number, piece in enumerate(pieces):
        if end == held and number and piece.layer > pieces[number - 1].layer and not spare:
            return pieces[:number], pieces[number:]
        end += piece.count
    raise WeightsError(_misfit(path, model, pieces, held, spare))


def _pieces(model: Loadable, classes: int | None = None) -> list[_Piece]:
    """All floats of a network in the order of the file; with a head for another number of classes if one is given."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if classes is not None:
        for name, layout in model.class_rows.items():
            own[name] = tuple(
                layout.length(classes) if axis in layout.axes else side for axis, side in enumerate(own[name])
            )
    layers = [name.removesuffix(".weight") for name in own if name.endswith(".weight")]
    norms = {layer for layer in layers if f"{layer}.running_mean" in own}
    pieces: list[_Piece] = []
    number = 0
    for index, layer in enumerate(layers):
        if layer in norms:
            continue
        following = layers[index + 1] if index + 1 < len(layers) else ""
        norm = [f"{following}.{part}" for part in _NORM] if following in norms else []
        weight, bias = f"{layer}.weight", f"{layer}.bias"
        if norm and len(own[weight]) == 2:  # fully connected: the bias is BatchNorm's, its other parts come last
            names = [norm[0], weight, *norm[1:]]
        elif norm:
            names = [*norm, weight]
        else:
            names = [bias, weight] if bias in own else [weight]
        # Both halves of a cross-stage partial layer in one, which the file keeps apart.
        parts = 2 if ".conv_exp." in f".{layer}." else 1
        for part in range(parts):
            for name in names:
                length = own[name][0] // parts
                rows = None if parts == 1 else slice(part * length, (part + 1) * length)
                # Darknet joins the halves of such a layer with the residual one first, timm and we with it last.
                swapped = name == weight and ".conv_transition." in f".{layer}."
                pieces.append(_Piece(number, name, (length, *own[name][1:]), rows, swapped))
            number += 1
    return pieces


def _misfit(path: str | Path, model: Loadable, pieces: Sequence[_Piece], held: int, spare: int) -> str:
    """What is wrong with a file that has other floats than the network, and where it ends."""
    needed = sum(piece.count for piece in pieces)
    title = f"'{printable(str(path))}' (Darknet)"
    totals = f"{title} holds {held:,} floats, and {_title(model)} has {needed:,} weights and statistics"
    if held >= needed:
        extra = f"{held - needed:,} floats" + (f" and {spare} bytes" if spare else "")
        problem = f"{extra} are left" + (f" behind its last layer, {_place(model, pieces[-1])}" if pieces else "")
        remedy = "Create the model that the file was made for, with its number of classes."
    else:
        first, there = 0, held
        while there >= (count := sum(piece.count for piece in pieces if piece.layer == first)):
            there -= count
            first += 1
        layer = [piece for piece in pieces if piece.layer == first]
        problem = (
            f"it ends in {_place(model, layer[-1])}, with {there:,} of its {count:,} floats"
            f"{f' and {spare} bytes' if spare else ''}, and {needed - held:,} are missing in all"
        )
        remedy = (
            "Create the model that the file was made for, with its number of classes, or copy or download it again if "
            "it was cut off."
        )
    return f"{totals}: {problem}. {remedy}"


def _place(model: Loadable, piece: _Piece) -> str:
    """Where a layer stands: in a configuration if the network has one, else in the network."""
    for prefix, place in getattr(model, "layer_places", {}).items():
        if piece.name.startswith(f"{prefix}."):
            return str(place)
    return f"layer {piece.layer} of those with weights ({piece.name.rpartition('.')[0]})"


def _parameters(model: Loadable) -> list[str]:
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    ]


def _is_extra(name: str, others: Set[str]) -> bool:
    return name not in others and not name.endswith("num_batches_tracked")


def _title(model: Loadable) -> str:
    return getattr(model, "builder_name", "") or "the model"


def _size(path: str | Path) -> int:
    """Bytes of a file.

    Raises:
        WeightsError: If it is no regular file, or too large.
    """
    size = require_weights_file(path)
    if size > _MAX_BYTES:
        raise WeightsError(f"'{printable(str(path))}' has {size:,} bytes, more than the {_MAX_BYTES:,} that are read.")
    return size


def _header(file: BinaryIO, size: int, path: str | Path) -> DarknetHeader:
    """Header of an open file, which then stands behind it.

    Raises:
        WeightsError: If it has none.
    """
    content = file.read(12)
    wide = len(content) == 12 and _version(content)[0] * 10 + _version(content)[1] >= 2
    content += file.read(8 if wide else 4)
    if len(content) < (20 if wide else 16):
        raise WeightsError(f"'{printable(str(path))}' is no Darknet file: it has {size} bytes, less than the header.")
    seen = int(np.frombuffer(content, "<i8" if wide else "<i4", 1, offset=12)[0])
    return DarknetHeader(*_version(content), seen)


def _version(content: bytes) -> tuple[int, int, int]:
    major, minor, revision = np.frombuffer(content, "<i4", 3).tolist()
    return major, minor, revision


def _held(path: str | Path) -> tuple[int, int]:
    """Floats behind the header, and bytes that are left over and make none."""
    size = _size(path)
    start = len(read_darknet_header(path).to_bytes())
    return divmod(size - start, 4)
