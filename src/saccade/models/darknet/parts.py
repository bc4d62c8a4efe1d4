"""What networks of ``.cfg`` files share: other numbers of classes, names of their parts, places in the file."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from saccade.models.darknet.cfg import Section
from saccade.models.darknet.graph import DarknetBody, Layer

__all__ = ["last_map", "layer_places", "own_parts", "with_classes"]

_HEADS = ("yolo", "region", "detection")


def with_classes(sections: Sequence[Section], num_classes: int | None) -> list[Section]:
    r"""Sections of a ``.cfg`` for another number of classes: of its heads, and of the layer before each.

    Args:
        sections: Of the file.
        num_classes: Classes; as they are if not given.

    Raises:
        ConfigError: If no layer before a head decides how many outputs it has.

    Example:
        >>> from saccade.models.darknet.cfg import parse_cfg
        >>> text = "[net]\n[convolutional]\nfilters=255\n[yolo]\nnum=9\nmask=0,1,2\nclasses=80"
        >>> with_classes(parse_cfg(text), 2)[1].values["filters"][0]
        '21'
    """
    changed = list(sections)
    if num_classes is None:
        return changed
    heads = [number for number, section in enumerate(sections) if section.kind in _HEADS]
    for number in heads or [_last_weighted(sections)]:
        head, before = sections[number], number - 1
        if not heads:
            key = "filters" if head.kind == "convolutional" else "output"
            changed[number] = head.with_values(**{key: num_classes})
            continue
        changed[number] = head.with_values(classes=num_classes)
        boxes = len(head.wholes("mask", 0)) if head.kind == "yolo" else 0
        boxes = boxes or head.whole("num", 1, 1, 1_024)
        if head.kind == "detection":
            outputs = head.whole("side", 7, 1, 1_024) ** 2 * (num_classes + 5 * boxes)
            kind, key = "connected", "output"
        else:
            outputs, kind, key = boxes * (5 + num_classes), "convolutional", "filters"
        if sections[before].kind != kind:
            raise head.fault(f"needs a {kind} section right before it.")
        changed[before] = sections[before].with_values(**{key: outputs})
    return changed


def _last_weighted(sections: Sequence[Section]) -> int:
    """Number of the section that decides how many classes a classifier has."""
    for number in range(len(sections) - 1, 0, -1):
        if sections[number].kind in ("convolutional", "connected"):
            return number
        if sections[number].kind not in ("avgpool", "softmax", "cost", "dropout"):
            break
    raise sections[-1].fault("follows on no convolutional or connected section that decides the number of classes.")


def own_parts(body: DarknetBody, heads: Collection[str]) -> tuple[str, ...]:
    """Layers with weights that are no heads, in the order of the file."""
    weighted = (number for number, layer in enumerate(body.layers) if next(layer.parameters(), None) is not None)
    names = [f"body.layers.{number}" for number in weighted]
    return tuple(name for name in names if not any(head == name or head.startswith(f"{name}.") for head in heads))


def last_map(layers: Sequence[Layer], before: int, height: int) -> tuple[int, int, int]:
    """Number, channels and stride of the last feature map in front of a layer.

    Args:
        layers: Of the network.
        before: Number of the layer.
        height: Of the canvas.
    """
    maps = [number for number in range(before) if layers[number].output.height > 1]
    number = maps[-1] if maps else 0
    output = layers[number].output
    return number, output.channels, -(-height // output.height)


def layer_places(layers: Sequence[Layer]) -> dict[str, str]:
    """For messages: number, kind and line of each layer, by the name of its module."""
    return {
        f"body.layers.{number}": f"layer {number}, [{layer.section.kind}] at line {layer.section.line} of the cfg"
        for number, layer in enumerate(layers)
    }
