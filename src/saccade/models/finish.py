"""Functions that run after the graph (grouping points into people, a dense CRF), by name, so that files can hold it.

A model names its function in ``finish`` and its keyword arguments in ``finish_options``; both travel in checkpoints and
exported files, and every runtime runs it on what the graph gave.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Decoded
from saccade.ops.dense_crf import CrfSettings, dense_crf

__all__ = ["check_finish", "register_finish", "run_finish"]

Finish = Callable[..., Decoded]
_FINISHES: dict[str, Finish] = {}
_PIXEL_TASKS = ("segmentation", "saliency")


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
    check_finish(name, options or {})
    return _FINISHES[name](dict(decoded), images, **(options or {}))


def check_finish(name: str, options: Mapping[str, Any], task: str | None = None) -> None:
    """Refuse the name of a function that is not registered, and options that it does not have.

    Args:
        name: As registered.
        options: Keyword arguments of the function.
        task: Of the network; the dense CRF is refused before anything runs where a network labels no pixels, and its
            settings are looked at.

    Raises:
        ConfigError: With the nearest name.

    Example:
        >>> check_finish("dense_crf", {"iteration": 5})
        Traceback (most recent call last):
        saccade.errors.ConfigError: finish 'dense_crf' has no option 'iteration'. Did you mean 'iterations'?
    """
    if name not in _FINISHES:
        raise ConfigError(
            f"the model ends with '{name}', which is not registered here.{did_you_mean(name, _FINISHES)} "
            "Import the module that registers it (saccade.models.finish.register_finish)."
        )
    parameters = list(inspect.signature(_FINISHES[name]).parameters.values())[2:]
    known = [one.name for one in parameters]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    for option in options:
        if option not in known and not takes_any:
            raise ConfigError(f"finish '{name}' has no option '{option}'.{did_you_mean(option, known)}")
    if name == "dense_crf" and task is not None:
        if task not in _PIXEL_TASKS:
            raise ConfigError(
                f"finish '{name}' is for networks that label pixels; this one solves {task}. Leave it out."
            )
        CrfSettings(**{option: value for option, value in options.items() if option != "compatibility"})


@register_finish("dense_crf")
def finish_with_dense_crf(
    decoded: Decoded,
    images: Tensor,
    iterations: int = CrfSettings.iterations,
    pos_weight: float = CrfSettings.pos_weight,
    pos_xy_std: float = CrfSettings.pos_xy_std,
    bi_weight: float = CrfSettings.bi_weight,
    bi_xy_std: float = CrfSettings.bi_xy_std,
    bi_rgb_std: float = CrfSettings.bi_rgb_std,
    compatibility: Sequence[Sequence[float]] | None = None,
) -> Decoded:
    """Marginals of a dense CRF in place of the ``probabilities`` of every pixel (:mod:`saccade.ops.dense_crf`).

    One class is set against background, as a field of two labels. What lies beyond an image on its canvas has no part
    in it and keeps its probabilities: rows and columns at the border that have one grey value throughout.

    Args:
        decoded: Holds ``probabilities``, (B, C, H, W).
        images: (B, K, H, W) uint8.
        iterations: As the other settings in :class:`~saccade.ops.dense_crf.CrfSettings`.
        pos_weight: See there.
        pos_xy_std: See there.
        bi_weight: See there.
        bi_xy_std: See there.
        bi_rgb_std: See there.
        compatibility: (C, C) penalties of labels, (2, 2) for one class, background last; Potts if not given.

    Raises:
        ConfigError: If the model does not give a probability of every pixel, or a setting is out of its range.
    """
    settings = CrfSettings(iterations, pos_weight, pos_xy_std, bi_weight, bi_xy_std, bi_rgb_std)
    probabilities = decoded.get("probabilities")
    if probabilities is None or probabilities.ndim != 4 or probabilities.shape[2:] != images.shape[2:]:
        raise ConfigError(
            "finish 'dense_crf' needs probabilities of every pixel, as segmenters give them; this model gives "
            f"{', '.join(f'{name} {tuple(value.shape)}' for name, value in decoded.items())}. Leave it out (finish '')."
        )
    matrix = None if compatibility is None else _matrix(compatibility)
    one_class = probabilities.shape[1] == 1
    refined = probabilities.clone()
    for image, own in zip(images, refined, strict=True):
        rows, columns = _inside(image)
        inside, pixels = own[:, rows, columns], image[:, rows, columns]
        labels = torch.cat((inside, 1 - inside)) if one_class else inside
        marginals = dense_crf(labels.clamp(min=_SMALLEST).log()[None], pixels[None], settings, matrix)[0]
        inside.copy_(marginals[:1] if one_class else marginals)
    return {**decoded, "probabilities": refined}


def _matrix(values: Sequence[Sequence[float]]) -> Tensor:
    try:
        return torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"dense_crf: compatibility is no list of equally long lists of numbers ({error}).") from error


# Smaller probabilities are taken for this; a pixel whose class has none could never change.
_SMALLEST = 1e-6


def _inside(image: Tensor) -> tuple[slice, slice]:
    """Rows and columns of a canvas (K, H, W) without its padding: what is grey of one value from the border on.

    Example:
        >>> canvas = torch.full((3, 8, 6), 114, dtype=torch.uint8)
        >>> canvas[:, 2:6] = torch.randint(0, 255, (3, 4, 6), dtype=torch.uint8)
        >>> _inside(canvas)
        (slice(2, 6, None), slice(0, 6, None))
    """
    rows = _content(image)
    columns = _content(image[:, rows].transpose(1, 2))
    return rows, columns


def _content(image: Tensor) -> slice:
    """From the first row that is not padding to the last; all of them where none is left."""
    lines = image.transpose(0, 1).flatten(1)
    content = (lines != lines[:, :1]).any(1).nonzero()
    return slice(int(content[0]), int(content[-1]) + 1) if len(content) else slice(0, len(lines))
