"""VGG of torchvision below Fast and Faster R-CNN: fc6 and fc7 become the layers over each region."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from saccade.models.registry import create_model
from saccade.weights import load_weights
from saccade.weights.layouts import torchvision_features

# Places of the convolutions in torchvision's flat rows.
VGG11 = (0, 3, 6, 8, 11, 13, 16, 18)
VGG16 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def flattened(state: dict[str, Tensor], places: tuple[int, ...]) -> dict[str, Tensor]:
    """A VGG classifier under torchvision's names."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in state if name.startswith("trunk.")))
    names = {layer: f"features.{place}" for layer, place in zip(layers, places, strict=True)}
    return {
        f"{names.get(name.rpartition('.')[0], name.rpartition('.')[0])}.{name.rpartition('.')[2]}": tensor
        for name, tensor in state.items()
    }


@pytest.mark.parametrize("name", ["fast_rcnn_vgg16", "fasterrcnn_vgg16"])
def test_names_of_the_published_network(name: str) -> None:
    with torch.device("meta"):
        model, classifier = create_model(name, num_classes=2), create_model("vgg16")
    theirs = flattened(classifier.state_dict(), VGG16)
    found = torchvision_features.convert(theirs, model)
    own = model.state_dict()
    assert {key for key in own if not key.startswith(("rpn", "box_branch.predictor"))} <= set(found)
    assert found["box_branch.head.fc6.weight"] is theirs["classifier.0.weight"]
    assert found["box_branch.head.fc7.bias"] is theirs["classifier.3.bias"]


@pytest.mark.parametrize("width", [16, 8])
def test_layers_over_regions_are_taken_where_they_fit(width: int, tmp_path: Path) -> None:
    model = create_model("fast_rcnn", num_classes=2, backbone="vgg11", hidden=16)
    classifier = create_model("vgg11", num_classes=3, fc_channels=width)
    state = flattened(classifier.state_dict(), VGG11)
    save_file(state, tmp_path / "vgg11.safetensors")
    report = load_weights(model, tmp_path / "vgg11.safetensors")
    own = model.state_dict()
    assert torch.equal(own["backbone.trunk.4.2.weight"], state["features.18.weight"])
    taken = width == 16
    assert ("box_branch.head.fc7.weight" in report.missing) != taken
    assert not taken or torch.equal(own["box_branch.head.fc6.weight"], state["classifier.0.weight"])
