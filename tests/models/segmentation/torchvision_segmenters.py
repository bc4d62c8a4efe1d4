"""Segmenters as torchvision has them, with random weights, for the tests of ours."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from saccade.models.registry import create_model
from saccade.models.segmentation.base import Segmenter
from saccade.weights.layouts import torchvision_segmentation

SIZES = ((65, 97), (110, 75))
NAMES = (
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
)


def their_segmenter(name: str, classes: int) -> Any:
    """Their network with the auxiliary head, without the usual start of all tensors, which would take most of the time.

    Args:
        name: Builder, there as here.
        classes: Output channels.
    """
    options = {} if name.startswith("lraspp") else {"aux_loss": True}
    builder = getattr(torchvision.models.segmentation, name)
    torch.manual_seed(0)
    with torch.device("meta"):
        model = builder(weights=None, weights_backbone=None, num_classes=classes, **options)
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            module.num_batches_tracked.zero_()
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def ours_of(theirs: Any, name: str, classes: int) -> Segmenter:
    """Our network with the very same tensors, its names those of the published file."""
    with torch.device("meta"):
        model = create_model(name, num_classes=classes)
    state = theirs.state_dict()
    assert torchvision_segmentation.matches(set(state))
    model.load_state_dict(torchvision_segmentation.convert(state, model), assign=True)
    assert isinstance(model, Segmenter)
    return model.eval()


def assert_equal_outputs(theirs: Any, model: Segmenter) -> None:
    """Equal logits at two odd sizes, auxiliary ones included; the forward of a prediction gives ``logits`` alone."""
    for size in SIZES:
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected, found, predicted = theirs(images), model.supervised(images), model(images)
        assert list(predicted) == ["logits"]
        torch.testing.assert_close(predicted["logits"], found["logits"])
        assert len(found) == len(expected)
        for ours, name in (("logits", "out"), ("auxiliary", "aux")):
            if name in expected:
                _assert_close(found[ours], expected[name])


def _assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def assert_equal_losses(theirs: Any, model: Segmenter, auxiliary_weight: float) -> None:
    """Equal loss in training: their reference criterion, ``cross_entropy(ignore_index=255)`` with a weight for ``aux``.

    Args:
        theirs: Their network.
        model: Ours, with the same tensors.
        auxiliary_weight: Of the auxiliary head.
    """
    images, labels = torch.randn(2, 3, 65, 97), torch.randint(0, model.num_classes, (2, 65, 97))
    labels[0, :20] = 255
    for network in (theirs, model):
        network.train()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    with torch.no_grad():
        outputs = theirs(images)
        parts = {
            name: nn.functional.cross_entropy(logits, labels, ignore_index=255) for name, logits in outputs.items()
        }
        terms = model.loss(images, {"label_map": labels.to(torch.uint8)})
    expected = {"cross_entropy": parts["out"]}
    if "aux" in parts:
        expected["cross_entropy_auxiliary"] = auxiliary_weight * parts["aux"]
    assert list(terms) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-5)
