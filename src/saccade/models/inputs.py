"""Further inputs of networks: normalised where they are images, and generated where a graph has to be traced."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.normalize import Normalize
from saccade.structures.kinds import kind_of

__all__ = ["example_inputs", "normalize_inputs"]

_ROWS = 24  # proposals of an example


def normalize_inputs(normalize: Normalize, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Normalise the images among further inputs as those of the network; other tensors stay as they are.

    Example:
        >>> from saccade.structures.input_spec import InputSpec
        >>> inputs = {"proposals": torch.tensor([[[0.0, 0, 8, 8]]]), "target_image": torch.full((1, 3, 8, 8), 255)}
        >>> {name: float(value.max()) for name, value in normalize_inputs(Normalize(InputSpec((8, 8))), inputs).items()}
        {'proposals': 8.0, 'target_image': 1.0}
    """
    return {name: normalize(value) if kind_of(name).motion == "image" else value for name, value in inputs.items()}


def example_inputs(model: Model, size: tuple[int, int], batch: int, rows: int = _ROWS) -> dict[str, Tensor]:
    """Generate inputs of the right kind with any content, to trace a graph with.

    Args:
        model: Declares them.
        size: Canvas (height, width).
        batch: B.
        rows: Proposals an image.

    Raises:
        ConfigError: If an input is of a kind whose shape is not known.

    Example:
        >>> model = saccade.create_model("lenet5")
        >>> model.input_names = ("proposals",)
        >>> example_inputs(model, (32, 32), batch=2)["proposals"].shape
        torch.Size([2, 24, 4])
    """
    generator = torch.Generator().manual_seed(0)
    made: dict[str, Tensor] = {}
    for name in model.input_names:
        kind = kind_of(name)
        if kind.motion == "boxes":
            corners = torch.rand(batch, rows, 2, 2, generator=generator).sort(dim=2).values
            scale = torch.tensor([size[1], size[0]], dtype=torch.float32)
            made[name] = (corners * scale + torch.tensor([[0.0, 0.0], [1.0, 1.0]])).flatten(2)
        elif kind.motion == "image":
            made[name] = torch.zeros(batch, model.input_spec.channels, *size, dtype=torch.uint8)
        elif kind.rows:
            made[name] = torch.rand(batch, rows, generator=generator)
        else:
            raise ConfigError(f"the shape of an example of the input '{name}' is not known.")
    return made
