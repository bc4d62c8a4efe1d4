"""What the stages of a network give for an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Model
from saccade.models.classification.base import Classifier

__all__ = ["classifier_of", "find_module", "map_of", "watched"]


@contextmanager
def watched(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Outputs of submodules by name, filled in while the network runs inside the block.

    The tensors are the network's own, so gradients flow through them; a module that runs twice keeps its last output.
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


def map_of(model: Model, activation: Tensor, image_size: tuple[int, int]) -> Tensor | None:
    """An activation as a map (B, C, H, W); None if it has no places any more."""
    arranged = model.to_map(activation, image_size) if isinstance(model, Classifier) else activation
    return arranged if arranged.ndim == 4 and arranged.shape[2] * arranged.shape[3] > 1 else None


def find_module(model: Model, name: str) -> str:
    """The name, if the network has such a part.

    Raises:
        ConfigError: If it has none; the message offers the nearest stage.
    """
    names = [path for path, _ in model.named_modules() if path]
    if name in names:
        return name
    near = did_you_mean(name, names)
    stages = ", ".join(model.stage_names)
    raise ConfigError(f"{model.builder_name} has no part '{name}'.{near} Its stages are {stages}.")


def classifier_of(model: Model, what: str) -> Classifier:
    """The model, if it is a classifier.

    Raises:
        ConfigError: If it is not.
    """
    if not isinstance(model, Classifier):
        raise ConfigError(f"{what} explains a class, and '{model.builder_name}' solves {model.task}. Use a classifier.")
    return model
