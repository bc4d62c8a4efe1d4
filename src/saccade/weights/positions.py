"""Position embeddings of a transformer, brought to the grid of a model."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["fit_positions"]


def fit_positions(state: dict[str, Tensor], model: Loadable, prefix: str = "") -> dict[str, Tensor]:
    """Interpolate ``pos_embed`` of a square grid bicubically where the model has another.

    Dosovitskiy et al. 2021, section 3.2.

    Args:
        state: Tensors under the model's names.
        model: Has ``pos_embed`` of shape (1, 1 + rows * columns, D), or none.
        prefix: What stands before the names.

    Returns:
        The state; unchanged where the grids agree or the embeddings are of another width.
    """
    name = f"{prefix}pos_embed"
    own, theirs = model.state_dict().get(name), state.get(name)
    if own is None or theirs is None or own.shape == theirs.shape or own.shape[2:] != theirs.shape[2:]:
        return state
    before, after = (math.isqrt(table.shape[1] - 1) for table in (theirs, own))
    if before**2 != theirs.shape[1] - 1:
        return state
    token, grid = theirs[:, :1], theirs[:, 1:]
    grid = grid.transpose(1, 2).unflatten(2, (before, before)).float()
    grid = F.interpolate(grid, (after, after), mode="bicubic", align_corners=False, antialias=True)
    return {**state, name: torch.cat((token, grid.flatten(2).transpose(1, 2).to(token.dtype)), dim=1)}
