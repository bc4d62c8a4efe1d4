"""Intermediate outputs of a network: hooks on submodules, and their outputs as feature maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Model
from saccade.models.classification.base import Classifier

__all__ = ["as_feature_map", "find_module", "require_classifier", "watch_outputs"]


@contextmanager
def watch_outputs(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect outputs of submodules by name while the network runs inside the block.

    The tensors are the network's own, so gradients flow through them; a module that runs twice keeps its last output.

    Args:
        model: The network.
        names: Paths of submodules (``layer1.0``).

    Example:
        >>> model = saccade.create_model("resnet18").eval()
        >>> with torch.no_grad(), watch_outputs(model, ["layer1", "layer4"]) as outputs:
        ...     logits = model(torch.zeros(1, 3, 64, 64))["logits"]
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'layer1': (1, 64, 16, 16), 'layer4': (1, 512, 2, 2)}
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs[name] = output

        return hook

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def as_feature_map(model: Model, activation: Tensor, image_size: tuple[int, int]) -> Tensor | None:
    """Arrange an activation as a feature map (B, C, H, W); None if it has no more than one location.

    Args:
        model: The network that produced it.
        activation: Output of one of its submodules: a feature map, or tokens.
        image_size: (height, width) of the images.

    Example:
        >>> model = saccade.create_model("vit_ti_16", image_size=64)
        >>> as_feature_map(model, torch.zeros(1, 17, 192), (64, 64)).shape  # a class token and 4 x 4 patches
        torch.Size([1, 192, 4, 4])
        >>> as_feature_map(model, torch.zeros(1, 192, 1, 1), (64, 64)) is None
        True
    """
    arranged = model.to_map(activation, image_size) if isinstance(model, Classifier) else activation
    return arranged if arranged.ndim == 4 and arranged.shape[2] * arranged.shape[3] > 1 else None


def find_module(model: Model, name: str) -> str:
    """Check that a network has a submodule of that name, and return the name.

    Raises:
        ConfigError: If it has none; the message offers the nearest name and lists the stages.

    Example:
        >>> find_module(saccade.create_model("lenet5"), "c2")
        Traceback (most recent call last):
        saccade.errors.ConfigError: lenet5 has no submodule 'c2'. ...
    """
    names = [path for path, _ in model.named_modules() if path]
    if name in names:
        return name
    near = did_you_mean(name, names)
    stages = ", ".join(model.stage_names)
    raise ConfigError(f"{model.builder_name} has no submodule '{name}'.{near} Its stages are {stages}.")


def require_classifier(model: Model, method: str) -> Classifier:
    """Return the model if it is a classifier, and refuse it otherwise.

    Args:
        model: The network.
        method: Name of the method that needs a classifier, for the message.

    Raises:
        ConfigError: If it is not.

    Example:
        >>> require_classifier(saccade.create_model("unet", num_classes=2), "Grad-CAM")
        Traceback (most recent call last):
        saccade.errors.ConfigError: Grad-CAM explains a class, and 'unet' solves segmentation. Use a classifier.
    """
    if not isinstance(model, Classifier):
        raise ConfigError(
            f"{method} explains a class, and '{model.builder_name}' solves {model.task}. Use a classifier."
        )
    return model
