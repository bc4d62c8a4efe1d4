"""BatchNorm folded into the convolution before it: the same function with fewer operations."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from saccade.blocks.depthwise_conv import DepthwiseConv2d
from saccade.models.base import Model

__all__ = ["fuse_batch_norm"]

_CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, DepthwiseConv2d,
)  # fmt: skip
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Uses(TorchDispatchMode):
    """Counts by how many operations each watched tensor is read.

    Whoever has a tensor watched keeps it alive, so that its id stays its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[int, int] = {}

    def watch(self, tensor: Tensor) -> None:
        self.counts[id(tensor)] = 0

    def read(self, values: Any) -> None:
        for key in {id(leaf) for leaf in tree_leaves(values)} & self.counts.keys():
            self.counts[key] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.read((args, kwargs))
        return func(*args, **(kwargs or {}))


def fuse_batch_norm(model: Model, images: Tensor, inputs: Mapping[str, Tensor] | None = None) -> Model:
    """Fold BatchNorm into convolutions, in a copy of a network, wherever that changes nothing.

    The copy is in eval mode and on the CPU. Which convolution feeds which BatchNorm is not guessed from the order of
    modules but watched in one prediction: the two are folded only where each ran once, the very tensor that the
    convolution gave went into the BatchNorm, and nothing else read it.

    Args:
        model: Any network; it stays as it is.
        images: Normalised images of any content, (B, C, H, W), that it can take, on the CPU.
        inputs: What else it takes.

    Returns:
        The copy. A folded BatchNorm is an ``nn.Identity`` in it.

    Example:
        >>> model = saccade.create_model("resnet18").eval()
        >>> images = torch.randn(1, 3, 64, 64)
        >>> fused = fuse_batch_norm(model, images)
        >>> sum(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
        0
        >>> bool((fused(images)["logits"] - model(images)["logits"]).abs().max() < 1e-3)
        True
    """
    model = copy.deepcopy(model).cpu().eval()
    produced: list[tuple[nn.Module, Tensor]] = []
    consumed: list[tuple[nn.Module, Tensor]] = []
    uses = _Uses()

    def after_convolution(module: nn.Module, inputs: Any, output: Tensor) -> None:
        produced.append((module, output))
        uses.watch(output)

    def before_norm(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        consumed.append((module, inputs[0]))

    hooks = [
        module.register_forward_hook(after_convolution) for module in model.modules() if _plain(module, _CONVOLUTIONS)
    ]
    hooks += [module.register_forward_pre_hook(before_norm) for module in model.modules() if _plain(module, _NORMS)]
    with torch.no_grad(), uses:
        outputs = model.predict(images, **(inputs or {}))
    for hook in hooks:
        hook.remove()
    uses.read(outputs)
    calls = Counter(id(module) for module, _ in (*produced, *consumed))
    producers = {id(tensor): module for module, tensor in produced}
    replacements: dict[int, nn.Module] = {}
    for norm, tensor in consumed:
        producer = producers.get(id(tensor))
        if producer is None or uses.counts[id(tensor)] > 1 or calls[id(producer)] > 1 or calls[id(norm)] > 1:
            continue
        if _folds(producer, norm):
            transposed = isinstance(producer, nn.modules.conv._ConvTransposeNd)
            replacements[id(producer)] = fuse_conv_bn_eval(cast(Any, producer), cast(Any, norm), transposed)
            replacements[id(norm)] = nn.Identity()
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children would leave out second names
            if id(child) in replacements:
                setattr(parent, name, replacements[id(child)])
    return model


def _plain(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    # A subclass may compute something else (masked or standardised weights).
    return type(module) in kinds


def _folds(convolution: nn.Module, norm: nn.Module) -> bool:
    # torch's folding lays the scales of a transposed convolution along the wrong axis when it has groups. Without
    # running statistics nothing is constant.
    grouped = isinstance(convolution, nn.modules.conv._ConvTransposeNd) and convolution.groups > 1
    return not grouped and getattr(norm, "running_mean", None) is not None
