from __future__ import annotations

import re

import pytest
import segmentation_models_pytorch as smp
import torch

from saccade.models.registry import create_model
from saccade.weights.load import load_weights


def _carvana_name(name: str) -> str:
    """The published name of a tensor of `unet`, by position in the network."""
    level = int(re.search(r"\d+", name)[0]) if not name.startswith("head") else 0
    rest = name.split(".", 2)[-1]
    if name.startswith("head"):
        return "outc.conv." + name.removeprefix("head.")
    if name.startswith("encoder.0."):
        return "inc.double_conv." + rest
    if name.startswith("encoder."):
        return f"down{level}.maxpool_conv.1.double_conv.{rest}"
    if rest.startswith("up."):
        return f"up{level + 1}.{rest}"
    return f"up{level + 1}.conv.double_conv.{rest.removeprefix('convolutions.')}"


def test_a_carvana_file_loads(tmp_path):
    torch.manual_seed(0)
    trained = create_model("unet").eval()
    state = {_carvana_name(name): tensor for name, tensor in trained.state_dict().items()}
    assert {
        "inc.double_conv.0.weight",
        "down1.maxpool_conv.1.double_conv.4.running_mean",
        "up4.up.bias",
        "up1.conv.double_conv.3.weight",
        "outc.conv.bias",
    } <= set(state)
    torch.save({**state, "mask_values": [0, 1]}, tmp_path / "unet_carvana.pth")

    model = create_model("unet").eval()
    report = load_weights(model, tmp_path / "unet_carvana.pth")
    assert report.recognised == "Carvana U-Net"
    assert (report.missing, report.unexpected, report.head) == ((), (), ())
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(model(images)["logits"], trained(images)["logits"])


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_a_file_of_segmentation_models_pytorch_loads(tmp_path, backbone):
    torch.manual_seed(0)
    reference = smp.Unet(backbone, encoder_weights=None, classes=4).eval()
    torch.save(reference.state_dict(), tmp_path / "smp.pth")
    model = create_model("unet_backbone", num_classes=4, backbone=backbone).eval()
    report = load_weights(model, tmp_path / "smp.pth")
    assert report.recognised == "segmentation-models-pytorch U-Net"
    assert (report.missing, report.unexpected, report.head) == ((), (), ())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images)["logits"], reference(images), rtol=1e-4, atol=1e-4)


def test_an_imagenet_resnet_goes_into_the_way_down(tmp_path):
    torch.manual_seed(0)
    classifier = create_model("resnet18")
    torch.save(classifier.state_dict(), tmp_path / "resnet18.pth")
    model = create_model("unet_backbone")
    load_weights(model, tmp_path / "resnet18.pth")
    assert torch.equal(model.backbone.layer4[1].conv2.weight, classifier.layer4[1].conv2.weight)
