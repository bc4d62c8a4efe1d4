"""Backbones cut behind a feature map: layers that nothing depends on any more are removed."""

from __future__ import annotations

import copy

import torch
from torch import nn

from saccade.errors import ConfigError
from saccade.models.classification.base import Classifier

__all__ = ["keep_first_maps"]

_CONTAINERS = (nn.ModuleList, nn.ModuleDict)  # are iterated over, not called


def keep_first_maps(backbone: Classifier, count: int) -> None:
    """Cut a backbone behind its first feature maps: what the others alone need becomes ``nn.Identity``.

    Which layers those are follows from the gradients of the maps that stay. ``features`` still gives as many maps as
    before; those behind the first ``count`` mean nothing.

    Args:
        backbone: A classifier without its head; changed in place.
        count: Feature maps that stay, fine to coarse.

    Raises:
        ConfigError: If the classifier does not run without those layers.

    Example:
        >>> from saccade.models.classification.base import build_backbone
        >>> backbone = build_backbone("resnet18")
        >>> keep_first_maps(backbone, 3)
        >>> backbone.stage_names, backbone.feature_strides
        (('conv1', 'bn1', 'layer1', 'layer2'), (2, 4, 8))
    """
    if count >= len(backbone.feature_strides):
        return
    trial = copy.deepcopy(backbone).to("meta").eval()
    images = torch.zeros(1, trial.input_spec.channels, *trial.input_spec.size, device="meta")
    with torch.inference_mode(False), torch.enable_grad():
        parameters = dict(trial.requires_grad_(True).named_parameters())
        kept = trial.features(images)[:count]
        found = torch.autograd.grad([one.sum() for one in kept], list(parameters.values()), allow_unused=True)
    unused = {name for name, gradient in zip(parameters, found, strict=True) if gradient is None}
    for network in (trial, backbone):
        _remove(network, unused)
    try:
        again = trial.features(images)[:count]
    except Exception as error:  # a layer may be called in ways that an identity is not
        raise ConfigError(
            f"'{backbone.builder_name}' does not run without the layers behind its feature map {count}. Leave prune "
            "out, or choose another backbone."
        ) from error
    assert [one.shape for one in again] == [one.shape for one in kept]
    left = [name for name, _ in backbone.named_parameters()]
    backbone.stage_names = tuple(
        stage for stage in backbone.stage_names if any(f"{name}.".startswith(f"{stage}.") for name in left)
    )
    backbone.feature_channels = backbone.feature_channels[:count]
    backbone.feature_strides = backbone.feature_strides[:count]


def _remove(module: nn.Module, unused: set[str], prefix: str = "") -> None:
    """Replace the largest submodules all of whose parameters are unused."""
    for name, child in list(module.named_children()):
        own = [f"{prefix}{name}.{key}" for key, _ in child.named_parameters()]
        if not own or unused.isdisjoint(own):
            continue
        if unused.issuperset(own) and not isinstance(child, _CONTAINERS):
            setattr(module, name, nn.Identity())
        else:
            _remove(child, unused, f"{prefix}{name}.")
