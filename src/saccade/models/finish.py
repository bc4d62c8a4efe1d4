"""Functions that run after the graph (grouping points into people, a dense CRF), by name, so that files can hold it.

A model names its function in ``finish`` and its keyword arguments in ``finish_options``; both travel in checkpoints and
exported files, and every runtime runs it on what the graph gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Decoded

__all__ = ["register_finish", "run_finish"]

Finish = Callable[..., Decoded]
_FINISHES: dict[str, Finish] = {}


def register_finish(name: str) -> Callable[[Finish], Finish]:
    """Register a function that runs after the graph: ``(decoded, images, **options) -> decoded`` (a decorator).

    ``decoded`` are the tensors of the graph on the CPU, ``images`` the canvases, (B, C, H, W) uint8.

    Raises:
        ConfigError: If another function has that name.

    Example:
        >>> @register_finish("halve_scores")
        ... def halve_scores(decoded, images, factor=0.5):
        ...     return {**decoded, "scores": decoded["scores"] * factor}
        >>> run_finish("halve_scores", {"scores": torch.ones(1, 2)}, torch.zeros(1, 3, 4, 4))["scores"]
        tensor([[0.5000, 0.5000]])
    """

    def decorate(function: Finish) -> Finish:
        known = _FINISHES.setdefault(name, function)
        if (known.__module__, known.__qualname__) != (function.__module__, function.__qualname__):
            raise ConfigError(f"two functions are registered as finish '{name}'.")
        _FINISHES[name] = function
        return function

    return decorate


def run_finish(
    name: str, decoded: Mapping[str, Tensor], images: Tensor, options: Mapping[str, Any] | None = None
) -> Decoded:
    """Run a registered function after the graph; an empty name changes nothing.

    Args:
        name: As registered.
        decoded: Tensors of the graph, on the CPU.
        images: Canvases, (B, C, H, W) uint8.
        options: Keyword arguments of the function.

    Raises:
        ConfigError: If there is no such function, or it has no such option.

    Example:
        >>> run_finish("", {"scores": torch.ones(1, 2)}, torch.zeros(1, 3, 4, 4))["scores"]
        tensor([[1., 1.]])
    """
    if not name:
        return dict(decoded)
    if name not in _FINISHES:
        raise ConfigError(
            f"the model ends with '{name}', which is not registered here.{did_you_mean(name, _FINISHES)} "
            "Import the module that registers it (saccade.models.finish.register_finish)."
        )
    return _FINISHES[name](dict(decoded), images, **(options or {}))
