"""HRNetV2: its head against timm's branches, any size, any backbone, its start, the authors' files."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from saccade.errors import WeightsError
from saccade.models.registry import create_model
from saccade.weights import load_weights

CLASSIFICATION_HEAD = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")


class Published(nn.Module):
    """timm's branches, upsampled bilinearly, under the head of the authors' segmentation code."""

    def __init__(self, name: str, classes: int, align_corners: bool) -> None:
        super().__init__()
        self.body = timm.create_model(name)
        for module in self.body.modules():
            if isinstance(module, nn.Upsample):
                module.mode, module.align_corners = "bilinear", align_corners
        widths = [branch[-1].conv2.out_channels for branch in self.body.stage4[-1].branches]
        channels = sum(widths)
        self.last_layer = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, classes, 1)
        )
        self.align_corners = align_corners

    def forward(self, images):
        body = self.body
        x = body.act1(body.bn1(body.conv1(images)))
        fine, *coarse = body.stages(body.act2(body.bn2(body.conv2(x))))
        size = fine.shape[2:]
        up = [F.interpolate(one, size, mode="bilinear", align_corners=self.align_corners) for one in coarse]
        logits = self.last_layer(torch.cat([fine, *up], 1))
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=self.align_corners)

    def file(self, prefix: str) -> dict[str, torch.Tensor]:
        """As the authors' training script saves it."""
        body = {k: v for k, v in self.body.state_dict().items() if not k.startswith(CLASSIFICATION_HEAD)}
        last = {f"last_layer.{k}": v for k, v in self.last_layer.state_dict().items()}
        state = {f"{prefix}{k}": v for k, v in {**body, **last}.items()}
        return {**state, "loss.criterion.weight": torch.ones(19)} if prefix else state


@pytest.mark.parametrize(
    ("name", "align_corners", "prefix"),
    [("hrnet_w18", False, "model."), ("hrnet_w18_small", True, "module.model."), ("hrnet_w18_small", False, "")],
)
@torch.no_grad()
def test_a_file_of_the_authors_gives_its_logits(tmp_path, scramble, name, align_corners, prefix):
    torch.manual_seed(0)
    reference = Published(name, 5, align_corners).eval()
    scramble(reference)
    state = reference.file(prefix)
    if prefix.startswith("module."):
        state["module.loss.criterion.weight"] = state.pop("loss.criterion.weight")
    torch.save({"state_dict": state}, tmp_path / "hrnet_cityscapes.pth")
    model = create_model(f"{name}_seg", num_classes=5, align_corners=align_corners).eval()
    report = load_weights(model, tmp_path / "hrnet_cityscapes.pth")
    assert report.recognised == "official HRNet segmentation"
    assert (report.missing, report.unexpected, report.head) == ((), (), ())
    for size in ((64, 96), (32, 160)):
        images = torch.randn(2, 3, *size)
        expected, found = reference(images), model(images)["logits"]
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    if align_corners:  # that counts: without it the same weights give something else
        other = create_model(f"{name}_seg", num_classes=5).eval()
        other.load_state_dict(model.state_dict())
        assert (other(images)["logits"] - expected).abs().max() > 1e-2 * expected.abs().max()


def test_a_file_builds_the_network_with_its_classes(tmp_path):
    torch.save(Published("hrnet_w18_small", 7, False).file("model."), tmp_path / "lip.pth")
    assert create_model("hrnet_w18_small_seg", weights=str(tmp_path / "lip.pth")).num_classes == 7


def test_foreign_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("saccade.weights.advice._advisers", [])  # it would build all HRNets there are
    torch.manual_seed(0)
    state = Published("hrnet_w18_small", 5, False).file("model.")
    torch.save(state, tmp_path / "small.pth")
    with pytest.raises(WeightsError, match=r"official HRNet segmentation.* does not fit hrnet_w18_seg"):
        load_weights(create_model("hrnet_w18_seg", num_classes=5), tmp_path / "small.pth")
    body = {name: one for name, one in state.items() if "last_layer" not in name}
    torch.save({**body, "model.ocr_distri_head.object_context_block.f_up.0.weight": torch.zeros(1)}, tmp_path / "o.pth")
    with pytest.raises(WeightsError, match="object-contextual"):
        load_weights(create_model("hrnet_w18_small_seg"), tmp_path / "o.pth")


@torch.no_grad()
def test_a_classifier_of_timm_fills_the_backbone(tmp_path):
    torch.manual_seed(0)
    reference = timm.create_model("hrnet_w18_small")
    torch.save(reference.state_dict(), tmp_path / "imagenet.pth")
    model = create_model("hrnet_w18_small_seg")
    before = model.neck[0].weight.clone()
    load_weights(model, tmp_path / "imagenet.pth")
    assert torch.equal(
        model.backbone.stage4[0].fuse_layers[0][3][0].weight, reference.stage4[0].fuse_layers[0][3][0].weight
    )
    assert torch.equal(model.neck[0].weight, before)


@torch.no_grad()
def test_any_size_gives_the_logits_of_the_padded_image(scramble):
    torch.manual_seed(0)
    model = create_model("hrnet_w18_small_seg", num_classes=3).eval()
    scramble(model)
    for height, width in ((33, 70), (64, 65), (20, 17)):
        images = torch.randn(1, 3, height, width)
        logits = model(images)["logits"]
        assert logits.shape == (1, 3, height, width)
        whole = F.pad(images, (0, -width % 32, 0, -height % 32), mode="replicate")
        torch.testing.assert_close(logits, model(whole)["logits"][..., :height, :width])


@pytest.mark.parametrize(
    ("backbone", "channels"), [("resnet18", 64 + 128 + 256 + 512), ("vit_ti_16", 192), ("lenet5", 16)]
)
@torch.no_grad()
def test_the_head_stands_on_any_classifier(backbone, channels):
    """It takes the maps from stride 4 on."""
    model = create_model("hrnet_seg", num_classes=3, backbone=backbone).eval()
    assert model.neck[0].in_channels == channels
    side = model.input_spec.pad_multiple * 2 if backbone != "vit_ti_16" else 224
    images = torch.randn(1, model.input_spec.channels, side, side)
    assert model.predict(images)["probabilities"].shape == (1, 3, side, side)


def test_it_starts_as_the_authors_code():
    torch.manual_seed(0)
    model = create_model("hrnet_w18_seg")
    assert model.neck[0].weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert model.head.weight.std().item() == pytest.approx(0.001, rel=0.05)
