"""The receptive field of a layer: the network opened or built, its inputs read."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from torch import nn

from saccade.api._open import ModelLike, build_alone, name_alone, open_network

if TYPE_CHECKING:
    from saccade.analysis.effective_field import ReceptiveField

__all__ = ["explain_receptive_field"]

_MOST_IMAGES = 16


def explain_receptive_field(
    model: ModelLike, image: Any, weights: str | None, layer: str | None, trust: bool
) -> ReceptiveField:
    """Theoretical and effective receptive field of a layer.

    Args:
        model: A network, its checkpoint, or its name; a name alone has random weights.
        image: Images to average over, the first 16 of them; random numbers if None.
        weights: Of a network given by name.
        layer: Path of the layer; the last stage with a feature map if None.
        trust: Open the checkpoint of a network from outside the package.

    Raises:
        SaccadeError: If there is no such network or layer, or the layer has no feature map.
    """
    from saccade.analysis.effective_field import measure_receptive_field
    from saccade.engine.predict.sources import iter_source

    alone = name_alone(model, weights)
    network = build_alone(alone) if alone else open_network(model, weights, trust)
    if alone:
        _open_branches(network)
    sources = [] if image is None else islice(iter_source(image, network.input_spec.channels), _MOST_IMAGES)
    return measure_receptive_field(network, layer, [pixels for _, pixels in sources])


def _open_branches(network: nn.Module) -> None:
    """Factors of channels that start at or near 0 become 1: untrained residual branches would hide behind shortcuts."""
    for name, parameter in network.named_parameters():
        factors = parameter.numel() == max(parameter.shape, default=1) and not name.endswith("bias")
        if factors and float(parameter.detach().abs().max()) < 1e-3:
            nn.init.ones_(parameter)
