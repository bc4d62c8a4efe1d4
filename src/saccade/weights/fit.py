"""Whether tensors of a file are those of a network: what it lacks, what is left over, what has another shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from saccade.errors import WeightsError
from saccade.structures.text import printable
from saccade.weights.loadable import Loadable
from saccade.weights.source import COUNTER, WeightsSource

__all__ = ["body_lacks", "body_leaves", "fits", "shorten", "unlike", "unusable"]


def body_lacks(model: Loadable, names: Iterable[str]) -> tuple[str, ...]:
    """Tensors of a network's body that are not among ``names``.

    Heads may be missing: they are trained anew. So may the necks of a dense network, all of them together, as in a file
    of a backbone alone; and tensors beside all layers that are not learnt, with which a network is created (anchors).

    Example:
        >>> model = saccade.create_model("lenet5")
        >>> body_lacks(model, [name for name in model.state_dict() if not name.startswith("c3")])
        ('c3.weight', 'c3.bias')
    """
    names = set(names)
    heads = (*model.head_names, *model.auxiliary_heads)
    necks = () if any(_inside(name, model.neck_names) for name in names) else model.neck_names
    names |= {name for name, _ in model.named_buffers(recurse=False)}
    return tuple(
        name
        for name in model.state_dict()
        if name not in names and not name.endswith(COUNTER) and not _inside(name, (*heads, *necks))
    )


def body_leaves(model: Loadable, names: Iterable[str]) -> tuple[str, ...]:
    """Layers among ``names`` that a network's body has not: it is shallower, or of another kind.

    Tensors of heads that the network does not have, or beside its parts, are none of them.

    Example:
        >>> model = saccade.create_model("resnet18")
        >>> body_leaves(model, ["layer1.2.conv1.weight", "fc2.weight"])
        ('layer1.2.conv1.weight',)
    """
    own = set(model.state_dict())
    inner = {name[:end] for name in own for end in range(len(name)) if name[end] == "."}
    heads = (*model.head_names, *model.auxiliary_heads)
    # What a backbone does without (its last layers, its head) was taken out of it.
    removed = [name for name, module in model.named_modules() if type(module) is nn.Identity]
    left = []
    for name in names:
        if name in own or name.endswith(COUNTER) or _inside(name, heads):
            continue
        parts = name.split(".")
        depth = next((end for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in inner), 0)
        following = parts[depth] if 0 < depth < len(parts) else ""
        # Something else inside of a stage, or a further number of a sequence.
        inside = _inside(name, (*model.stage_names, *model.neck_names))
        if inside or (following.isdigit() and not _inside(name, removed)):
            left.append(name)
    return tuple(left)


def unlike(model: Loadable, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Tensors of another shape than the network's, apart from the number of classes.

    Example:
        >>> model = saccade.create_model("lenet5", num_classes=3)
        >>> unlike(model, {"output.bias": torch.zeros(5), "f6.bias": torch.zeros(85)})
        ('f6.bias',)
    """
    own, rows = model.state_dict(), model.class_rows
    return tuple(
        name
        for name, tensor in state.items()
        if name in own
        and tensor.shape != own[name].shape
        and not (name in rows and rows[name].matches(tensor, own[name]))
    )


def unusable(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What is wrong with the values of a file, of tensors of the right shape; empty where nothing is.

    Example:
        >>> unusable({"bias": torch.zeros(2)}, {"bias": torch.tensor([1.0, torch.nan])})
        'bias holds values that are no number (NaN or infinite)'
    """
    for name, tensor in state.items():
        if name not in own:
            continue
        shown = printable(name, limit=100)
        if own[name].is_floating_point() and not tensor.is_floating_point():
            return f"{shown} is {str(tensor.dtype).removeprefix('torch.')}, and the network computes with real numbers"
        if tensor.is_floating_point() and not _is_finite(tensor.float()):
            return f"{shown} holds values that are no number (NaN or infinite)"
    return ""


def _is_finite(tensor: Tensor) -> bool:
    # A sum is several times as fast; one that is no number may have overflowed.
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def fits(model: Loadable, source: WeightsSource) -> bool:
    """Whether a file is of this network, up to the number of classes.

    Args:
        model: The network, perhaps without memory.
        source: The file.
    """
    if source.is_darknet:
        return source.count_classes(model) is not None
    try:
        state = source.under_names_of(model)[1]
    except WeightsError:
        return False
    own = model.state_dict()
    common = [name for name in state if name in own and not name.endswith(COUNTER)]
    return bool(common) and not (unlike(model, state) or body_lacks(model, state) or body_leaves(model, state))


def shorten(names: Sequence[str], limit: int = 4) -> str:
    """Names for a line: the first few, safe to print, and how many more.

    Example:
        >>> shorten(["a", "b", "c"], limit=2)
        '3: a, b and 1 more'
    """
    if not names:
        return "none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    shown = [printable(name, limit=100) for name in names[:limit]]
    return f"{len(names)}: {', '.join(shown)}{more}" if len(names) > 1 else shown[0]


def _inside(name: str, parts: Iterable[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)
