"""Grad-CAM: heat maps of the image regions that support a class.

Paper: Ramprasaath R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017, arXiv 1610.02391, section 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.analysis.activations import as_feature_map, find_module, require_classifier, watch_outputs
from saccade.errors import ConfigError
from saccade.models.base import Model

__all__ = ["default_layer", "grad_cam"]


def default_layer(model: Model, images: Tensor) -> str:
    """Name of the submodule that Grad-CAM uses by default.

    It is the network's ``cam_layer``, or the last of its stages that outputs a feature map of more than one location.

    Args:
        model: A classifier in eval mode.
        images: Normalised images, (B, C, H, W).

    Raises:
        ConfigError: If the model is no classifier, or no stage outputs such a feature map.

    Example:
        >>> default_layer(saccade.create_model("resnet18").eval(), torch.zeros(1, 3, 64, 64))
        'layer4'
    """
    classifier = require_classifier(model, "Grad-CAM")
    if classifier.cam_layer:
        return classifier.cam_layer
    modules = dict(model.named_modules())  # a stage may be a parameter, such as a class token
    stages = [name for name in model.stage_names if name in modules]
    with torch.no_grad(), watch_outputs(model, stages) as outputs:
        model(images)
    size = (images.shape[2], images.shape[3])
    maps = [name for name in stages if name in outputs and as_feature_map(model, outputs[name], size) is not None]
    if not maps:
        raise ConfigError(
            f"no stage of '{model.builder_name}' has more than one location for images of {size[0]} x {size[1]}. "
            "Take larger images, or name a layer."
        )
    return maps[-1]


def grad_cam(model: Model, images: Tensor, labels: Tensor, layer: str | None = None) -> Tensor:
    """Grad-CAM: class activation maps weighted by gradients (Selvaraju et al. 2017, section 3).

    Args:
        model: A classifier; it is put into eval mode.
        images: Normalised images, (B, C, H, W).
        labels: Class to explain in each, (B,) int64.
        layer: Submodule whose feature map is weighted; :func:`default_layer` if not given.

    Returns:
        Heat, shape (B, H, W), float32, 0..1, the largest value of each image 1; all zero where no location supports
        the class.

    Raises:
        ConfigError: If the model is no classifier, or the layer outputs no feature map.

    Example:
        >>> model = saccade.create_model("resnet18", num_classes=10)
        >>> heat = grad_cam(model, torch.randn(2, 3, 64, 96), labels=torch.tensor([3, 7]))
        >>> heat.shape
        torch.Size([2, 64, 96])
    """
    model.eval()
    layer = default_layer(model, images) if layer is None else find_module(model, layer)
    size = (images.shape[2], images.shape[3])
    with torch.enable_grad(), watch_outputs(model, (layer,)) as outputs:
        # A frozen network has no gradient of its own; that of the image flows through every layer.
        logits = model(images.detach().clone().requires_grad_(True))["logits"].float()
        activation = outputs.get(layer)
        maps = None if activation is None else as_feature_map(model, activation, size)
        if activation is None or maps is None:
            raise ConfigError(
                f"'{layer}' of '{model.builder_name}' outputs no feature map for images of {size[0]} x {size[1]}."
            )
        chosen = logits.gather(1, labels.view(-1, 1)).sum()  # y^c before the softmax
        (gradient,) = torch.autograd.grad(chosen, activation)
    slopes = as_feature_map(model, gradient, size)
    assert slopes is not None
    weights = slopes.float().mean((2, 3), keepdim=True)  # equation 1: alpha_k^c
    heat = F.relu((weights * maps.detach().float()).sum(1, keepdim=True))  # equation 2
    heat = F.interpolate(heat, size, mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
