"""A dense CRF after a network that labels pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.models.base import Decoded
from saccade.models.finish_registry import register_finish
from saccade.ops.dense_crf import CrfSettings, dense_crf

__all__ = ["finish_with_dense_crf"]


def _check_settings(options: Mapping[str, Any]) -> None:
    """Refuse settings out of their range before anything runs."""
    CrfSettings(**{option: value for option, value in options.items() if option != "compatibility"})


@register_finish(
    "dense_crf", tasks=("segmentation", "saliency"), serves="networks that label pixels", check=_check_settings
)
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
