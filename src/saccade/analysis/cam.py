"""Grad-CAM: where a classifier looks for a class.

Paper: Ramprasaath R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017, arXiv 1610.02391, section 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.analysis.activations import classifier_of, find_module, map_of, watched
from saccade.errors import ConfigError
from saccade.models.base import Model

__all__ = ["default_layer", "grad_cam"]


def default_layer(model: Model, images: Tensor) -> str:
    """The part whose map is explained unless another is asked for.

    It is the network's ``cam_layer``, or the last of its stages that still has places.
    """
    classifier = classifier_of(model, "Grad-CAM")
    if classifier.cam_layer:
        return classifier.cam_layer
    with torch.no_grad(), watched(model, model.stage_names) as outputs:
        model(images)
    size = (images.shape[2], images.shape[3])
    maps = [name for name in model.stage_names if name in outputs and map_of(model, outputs[name], size) is not None]
    if not maps:
        raise ConfigError(
            f"no stage of '{model.builder_name}' has more than one place for images of {size[0]} x {size[1]}. "
            "Take larger images, or name a layer."
        )
    return maps[-1]


def grad_cam(model: Model, images: Tensor, labels: Tensor, layer: str | None = None) -> Tensor:
    """Places that speak for a class.

    Args:
        model: A classifier; it is put into eval mode.
        images: Normalised images, (B, C, H, W).
        labels: Class to explain in each, (B,) int64.
        layer: Part whose output is weighed; :func:`default_layer` if not given.

    Returns:
        (B, H, W) float32, 0..1, the largest value of each image 1 (all zero where nothing speaks for the class).

    Raises:
        ConfigError: If the model is no classifier, or the layer gives no map.
    """
    model.eval()
    layer = default_layer(model, images) if layer is None else find_module(model, layer)
    size = (images.shape[2], images.shape[3])
    with torch.enable_grad(), watched(model, (layer,)) as outputs:
        # A frozen network gives no gradient of itself; one of the image flows through every layer.
        logits = model(images.detach().clone().requires_grad_(True))["logits"].float()
        activation = outputs.get(layer)
        maps = None if activation is None else map_of(model, activation, size)
        if activation is None or maps is None:
            raise ConfigError(
                f"'{layer}' of '{model.builder_name}' gives no map with places for images of {size[0]} x {size[1]}."
            )
        chosen = logits.gather(1, labels.view(-1, 1)).sum()  # y^c before the softmax
        (gradient,) = torch.autograd.grad(chosen, activation)
    slopes = map_of(model, gradient, size)
    assert slopes is not None
    weights = slopes.float().mean((2, 3), keepdim=True)  # equation 1: alpha_k^c
    heat = F.relu((weights * maps.detach().float()).sum(1, keepdim=True))  # equation 2
    heat = F.interpolate(heat, size, mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
