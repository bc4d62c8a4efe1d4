"""Position embeddings of a transformer, interpolated to the grid of a model."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["interpolate_positions"]


def interpolate_positions(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """Interpolate each square ``pos_embed`` bicubically where the model has another grid.

    Dosovitskiy et al. 2021, section 3.2. The first row of a table, the class token's, stays as it is.

    Args:
        state: Tensors under the model's names.
        model: Has ``pos_embed`` of shape (1, 1 + rows * columns, D) somewhere, or none.

    Returns:
        The state; unchanged where the grids agree or the embeddings are of another width.

    Example:
        >>> model = saccade.create_model("vit_ti_16", image_size=64)  # 4 x 4 patches
        >>> state = interpolate_positions({"pos_embed": torch.zeros(1, 1 + 14 * 14, 192)}, model)
        >>> state["pos_embed"].shape
        torch.Size([1, 17, 192])
    """
    own = model.state_dict()
    names = [name for name in state if name.endswith("pos_embed") and name in own]
    return {**state, **{name: _interpolated(state[name], own[name]) for name in names}}


def _interpolated(theirs: Tensor, own: Tensor) -> Tensor:
    if own.shape == theirs.shape or own.shape[2:] != theirs.shape[2:]:
        return theirs
    before, after = (math.isqrt(table.shape[1] - 1) for table in (theirs, own))
    if before**2 != theirs.shape[1] - 1:
        return theirs
    token, grid = theirs[:, :1], theirs[:, 1:]
    grid = grid.transpose(1, 2).unflatten(2, (before, before)).float()
    grid = F.interpolate(grid, (after, after), mode="bicubic", align_corners=False, antialias=True)
    return torch.cat((token, grid.flatten(2).transpose(1, 2).to(token.dtype)), dim=1)
