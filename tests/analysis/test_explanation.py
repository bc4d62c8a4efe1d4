"""Explanations of a classifier: Grad-CAM, attention roll-out and feature maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saccade.analysis.activations import watch_outputs
from saccade.analysis.cam import default_layer, grad_cam
from saccade.analysis.explanation import explain_image
from saccade.analysis.rollout import attention_rollout
from saccade.cli import main
from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.checkpoint import save_model
from saccade.models.classification.base import Classifier
from saccade.models.registry import create_model
from saccade.structures.input_spec import InputSpec


class TwoSpots(Classifier):
    """Class 0 is how red an image is, class 1 how blue: the region that supports each is known."""

    input_spec = InputSpec((32, 32), mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
    stage_names = ("stage",)
    head_names = ("head",)
    feature_channels = (2,)
    feature_strides = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.num_classes, self.class_names, self.builder_name = 2, ("red", "blue"), "two_spots"
        self.stage = nn.Conv2d(3, 2, 4, 4, bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.stage.weight.zero_()
            self.stage.weight[0, 0] = self.stage.weight[1, 2] = 1 / 16
            self.head.weight.copy_(torch.eye(2))

    def features(self, images: Tensor) -> list[Tensor]:
        return [self.stage(images)]

    def forward(self, images: Tensor) -> Outputs:
        return {"logits": self.head(self.features(images)[0].mean((2, 3)))}


def _image() -> np.ndarray:
    image = np.zeros((32, 32, 3), np.uint8)
    image[4:12, 4:12, 0] = 255
    image[20:28, 16:24, 2] = 255
    return image


def _centre(heat: np.ndarray) -> tuple[float, float]:
    rows, columns = np.mgrid[: heat.shape[0], : heat.shape[1]] + 0.5
    return float((rows * heat).sum() / heat.sum()), float((columns * heat).sum() / heat.sum())


def test_heat_lies_where_the_class_is() -> None:
    explanation = explain_image(TwoSpots(), _image(), top=2)
    assert explanation.layer == "stage"
    assert explanation.heat.shape == (2, 32, 32)
    heat = dict(zip(explanation.labels, explanation.heat, strict=True))
    assert _centre(heat[0]) == pytest.approx((8, 8), abs=0.5)
    assert _centre(heat[1]) == pytest.approx((24, 20), abs=0.5)
    assert explanation.heat.max() == pytest.approx(1.0)
    assert explanation.heat.min() >= 0


def test_gradients_are_those_of_the_definition() -> None:
    """Equations 1 and 2, by finite differences of the logit."""
    torch.manual_seed(0)
    model = create_model("resnet20_cifar", num_classes=3).double().eval()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        maps = model.features(images)[-1]
        weights = torch.zeros(64, dtype=torch.float64)
        for channel in range(64):
            moved = maps.clone()
            moved[:, channel] += 1e-6
            change = model.linear(moved.mean((2, 3))) - model.linear(maps.mean((2, 3)))
            weights[channel] = change[0, 1] / 1e-6 / maps[0, 0].numel()
        expected = (weights[:, None, None] * maps[0]).sum(0).relu()
        expected = nn.functional.interpolate(expected[None, None], (32, 32), mode="bilinear")[0, 0]
    found = grad_cam(model, images, torch.tensor([1]))[0].double()
    torch.testing.assert_close(found, expected / expected.max(), rtol=1e-3, atol=1e-4)


def test_a_frozen_network_is_explained_too() -> None:
    model = create_model("resnet20_cifar").requires_grad_(False)
    assert grad_cam(model, torch.randn(2, 3, 32, 32), torch.tensor([0, 1])).shape == (2, 32, 32)


@pytest.mark.parametrize(
    ("name", "options", "layer"),
    [
        ("vgg11", {"fc_channels": 8}, "trunk.4"),
        ("vit_ti_16", {"image_size": 64}, "blocks.11.norm1"),
        ("swin_t", {}, "norm"),
        ("hrnet_w18_small", {}, "final_layer"),
        ("convnext_tiny", {}, "stages.3"),
    ],
)
def test_every_kind_of_network_has_a_layer_to_explain(name: str, options: dict[str, int], layer: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, **options).eval()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    images = torch.randn(1, 3, 64, 96)
    assert default_layer(model, images) == layer
    heat = grad_cam(model, images, torch.tensor([0]))
    assert heat.shape == (1, 64, 96)
    assert torch.isfinite(heat).all()


def test_rollout_of_vit_is_the_product_of_matrices() -> None:
    torch.manual_seed(0)
    model = create_model("vit_ti_16", image_size=64).eval()
    images = torch.randn(2, 3, 64, 64)
    names = [f"blocks.{index}.norm1" for index in range(12)]
    with torch.no_grad(), watch_outputs(model, names) as inputs:
        model(images)
    product = torch.eye(17).expand(2, 17, 17)
    for index, name in enumerate(names):
        matrix = 0.5 * model.blocks[index].attn.attention(inputs[name]).mean(1) + 0.5 * torch.eye(17)
        product = matrix @ product
    expected = product[:, 0, 1:].view(2, 1, 4, 4)
    expected = nn.functional.interpolate(expected, (64, 64), mode="bilinear")[:, 0]
    expected = expected / expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(attention_rollout(model, images), expected.detach(), rtol=1e-4, atol=1e-5)


def test_rollout_of_swin_follows_windows_and_merging() -> None:
    torch.manual_seed(0)
    model = create_model("swin_t").eval()
    heat = attention_rollout(model, torch.randn(1, 3, 112, 112))
    assert heat.shape == (1, 112, 112)
    assert heat.max() == 1.0
    # Uniform attention shares the output evenly.
    for block in model.modules():
        if hasattr(block, "relative_position_bias_table"):
            nn.init.zeros_(block.qkv.weight)
            nn.init.zeros_(block.relative_position_bias_table)
    torch.testing.assert_close(
        attention_rollout(model, torch.randn(1, 3, 224, 224)), torch.ones(1, 224, 224), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", ["resnet20_cifar", "mobilevit_xxs"])
def test_networks_without_attention_to_follow_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no attention to follow"):
        explain_image(create_model(name), _image(), method="rollout")


def test_features_show_the_strongest_maps() -> None:
    explanation = explain_image(TwoSpots(), _image(), method="features", top=5)
    assert explanation.maps.shape == (2, 8, 8)
    assert sorted(explanation.channels) == [0, 1]
    assert explanation.maps.max() == 1.0
    assert explanation.plot().ndim == 3


def test_what_the_canvas_does_not_show_is_cold() -> None:
    model = TwoSpots()
    model.input_spec = InputSpec((32, 32), resize="center_crop", mean=(0.0,) * 3, std=(255.0,) * 3, crop_fraction=1.0)
    wide = np.concatenate([np.zeros((32, 32, 3), np.uint8), _image(), np.zeros((32, 32, 3), np.uint8)], axis=1)
    explanation = explain_image(model, wide, classes=("blue",))
    assert explanation.labels == (1,)
    assert explanation.heat.shape == (1, 32, 96)
    assert not explanation.heat[0][:, :31].any()
    assert not explanation.heat[0][:, 65:].any()
    assert _centre(explanation.heat[0])[1] == pytest.approx(32 + 20, abs=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("bleu",)}, "Did you mean 'blue'"),
        ({"layer": "stag"}, "Did you mean 'stage'"),
        ({"method": "gradcam"}, "Did you mean"),
        ({"top": 0}, "at least 1"),
        ({"layer": "head"}, "outputs no feature map"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explain_image(TwoSpots(), _image(), **options)


def test_the_verb_draws_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = create_model("resnet20_cifar", num_classes=2)
    model.class_names = ("cat", "dog")
    file = save_model(model, tmp_path / "model.safetensors")
    cv2.imwrite(str(tmp_path / "image.png"), np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8))
    for method in ("cam", "features"):
        out = tmp_path / f"{method}.png"
        words = ["explain", str(file), str(tmp_path / "image.png"), "--method", method, "--save", str(out)]
        assert main(words) == 0
        assert min(cv2.imread(str(out)).shape[:2]) > 100
    printed = capsys.readouterr().out
    assert "cat" in printed
    assert "dog" in printed
    assert main(["explain", "resnet20_cifar", str(tmp_path / "image.png")]) == 2
    assert "random weights" in capsys.readouterr().err
    assert main(["explain", str(tmp_path / "gone.safetensors"), str(tmp_path / "image.png")]) == 4
    assert "Check the path" in capsys.readouterr().err
    assert main(["explain", str(tmp_path), str(tmp_path / "image.png"), "--save", str(tmp_path / "y.png")]) == 0
    (tmp_path / "empty").mkdir()
    assert main(["explain", str(tmp_path / "empty"), str(tmp_path / "image.png")]) == 4
    assert "is a folder without a checkpoint" in capsys.readouterr().err
    assert main(["explain", "resnet20_cifra", str(tmp_path / "image.png")]) == 2
    assert "Did you mean 'resnet20_cifar'" in capsys.readouterr().err
    assert main(["explain", str(file), str(tmp_path), "--save", str(tmp_path / "x.png")]) == 2
    assert "one image at a time" in capsys.readouterr().err
