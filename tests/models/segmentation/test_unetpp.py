"""UNet++: the nodes of figure 1, deep supervision, the accurate mode, pruning without dead weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import nn

import saccade
from saccade.deploy.runtime import EagerRuntime
from saccade.engine.predict.predict import predict
from saccade.errors import ConfigError, WeightsError
from saccade.losses.dice import dice_loss
from saccade.models.checkpoint import load_model, save_model
from saccade.models.registry import create_model
from saccade.models.segmentation.unetpp import mean_of_outputs
from saccade.weights import load_weights

REFERENCE = json.loads((Path(__file__).parents[2] / "reference_counts.json").read_text())["counts"]["unetpp"]


class Published(nn.Module):
    """The published layout, written down from its names: nodes ``convI_J`` of two convolutions, heads ``finalJ``."""

    def __init__(self, width=4, heads=("1", "2", "3", "4")):
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        for column in range(5):
            for level in range(5 - column):
                below = widths[level + 1] if column else 0
                joined = column * widths[level] + below if column else (3, *widths)[level]
                node = nn.Module()
                node.conv1, node.bn1 = nn.Conv2d(joined, widths[level], 3, padding=1), nn.BatchNorm2d(widths[level])
                node.conv2 = nn.Conv2d(widths[level], widths[level], 3, padding=1)
                node.bn2 = nn.BatchNorm2d(widths[level])
                setattr(self, f"conv{level}_{column}", node)
        for head in heads:
            setattr(self, f"final{head}", nn.Conv2d(width, 1, 1))

    def node(self, level, column, *inputs):
        node = getattr(self, f"conv{level}_{column}")
        x = torch.cat(inputs, 1)
        return node.bn2(node.conv2(node.bn1(node.conv1(x)).relu())).relu()

    def forward(self, images):
        def up(x):
            return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

        x00 = self.node(0, 0, images)
        x10 = self.node(1, 0, F.max_pool2d(x00, 2))
        x01 = self.node(0, 1, x00, up(x10))
        x20 = self.node(2, 0, F.max_pool2d(x10, 2))
        x11 = self.node(1, 1, x10, up(x20))
        x02 = self.node(0, 2, x00, x01, up(x11))
        x30 = self.node(3, 0, F.max_pool2d(x20, 2))
        x21 = self.node(2, 1, x20, up(x30))
        x12 = self.node(1, 2, x10, x11, up(x21))
        x03 = self.node(0, 3, x00, x01, x02, up(x12))
        x40 = self.node(4, 0, F.max_pool2d(x30, 2))
        x31 = self.node(3, 1, x30, up(x40))
        x22 = self.node(2, 2, x20, x21, up(x31))
        x13 = self.node(1, 3, x10, x11, x12, up(x22))
        x04 = self.node(0, 4, x00, x01, x02, x03, up(x13))
        if hasattr(self, "final"):
            return [self.final(x04)]
        return [getattr(self, f"final{number}")(x) for number, x in enumerate((x01, x02, x03, x04), start=1)]


@pytest.fixture
def published(scramble):
    torch.manual_seed(0)
    network = Published()
    scramble(network)
    return network.eval()


def test_parameters_and_macs(macs):
    with torch.device("meta"):
        model = create_model("unetpp")
    assert sum(one.numel() for one in model.parameters()) == REFERENCE["params"] == 9_163_428
    assert macs(model, (3, 96, 96)) == REFERENCE["macs"] == 4_850_417_664


def test_a_published_file_gives_its_outputs(published, tmp_path):
    torch.save(published.state_dict(), tmp_path / "model.pth")
    model = create_model("unetpp", base_channels=4).eval()
    assert "4uiiurz1 UNet++" in str(load_weights(model, tmp_path / "model.pth"))
    images = torch.randn(2, 3, 48, 32)
    with torch.no_grad():
        expected = published(images)
        found = model.outputs(images)
        assert len(found) == 4
        for one, other in zip(found, expected, strict=True):
            assert (one - other).abs().max() <= 1e-4 * other.abs().max()
        mean = torch.stack(expected).sigmoid().mean(0)
        torch.testing.assert_close(model.predict(images)["probabilities"], mean)


def test_a_published_file_with_one_head_is_the_fast_mode(tmp_path, scramble):
    torch.manual_seed(0)
    network = Published(heads=("",)).eval()
    scramble(network)
    torch.save(network.state_dict(), tmp_path / "model.pth")
    model = create_model("unetpp", base_channels=4, prune=4, weights=str(tmp_path / "model.pth")).eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images)["logits"], network(images)[0], rtol=1e-4, atol=1e-4)


def test_a_file_of_another_network_is_refused(tmp_path, published):
    state = {name: one for name, one in published.state_dict().items() if "conv0_1" not in name}
    torch.save(state, tmp_path / "unet.pth")  # the plain U-Net of the same code has no such node
    with pytest.raises(WeightsError, match=r"unet\.pth"):
        load_weights(create_model("unetpp", base_channels=4), tmp_path / "unet.pth")


def test_nodes_over_a_backbone_are_those_of_segmentation_models_pytorch(scramble):
    """With the widths of the encoder; their full-size block behind the last node is not in UNet++."""
    torch.manual_seed(0)
    reference = smp.UnetPlusPlus("resnet18", encoder_weights=None, decoder_channels=(256, 128, 64, 64, 16))
    scramble(reference)
    reference.eval()
    model = create_model("unetpp", backbone="resnet18", decoder_channels=(256, 128, 64, 64)).eval()
    theirs = dict(reference.state_dict())
    state = {
        f"backbone.{name.removeprefix('encoder.')}": one for name, one in theirs.items() if name.startswith("encoder.")
    }
    widths = model.feature_channels
    for name in model.decoder:
        level, column = map(int, name[1:].split("_"))
        # Counted from the coarse end there: x_{first level of the chain}_{level}.
        block = f"decoder.blocks.x_{4 - level - column}_{3 - level}"
        for ours, one in ((0, "conv1.0"), (1, "conv1.1"), (3, "conv2.0"), (4, "conv2.1")):
            for key, value in ((key, value) for key, value in theirs.items() if key.startswith(f"{block}.{one}.")):
                if one == "conv1.0":  # there the upsampled map comes first, then the nodes from the last to the first
                    parts = value.split([widths[level + 1], *[widths[level]] * column], dim=1)
                    value = torch.cat(parts[::-1], dim=1)
                state[f"decoder.{name}.{ours}.{key.rpartition('.')[2]}"] = value
    own = model.state_dict()
    assert set(state) == {name for name in own if not name.startswith("heads.")}
    model.load_state_dict({**own, **state})
    nodes = []
    last = f"x_0_{reference.decoder.depth - 1}"
    reference.decoder.blocks[last].register_forward_hook(lambda _, __, output: nodes.append(output))
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        reference(images)
        found = model.decoder(model.features(images))[-1]
    assert (found - nodes[0]).abs().max() <= 1e-4 * nodes[0].abs().max()


def test_upsampling_is_bilinear_with_aligned_corners():
    model = create_model("unetpp", base_channels=4)
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    expected = torch.linspace(0, 4, 10).expand(1, 1, 10, 10)
    torch.testing.assert_close(model.decoder._upsampled(ramp, torch.zeros(1, 1, 10, 10)), expected)


@pytest.mark.parametrize("classes", [1, 3])
def test_the_accurate_mode_is_the_mean_of_probabilities(classes):
    torch.manual_seed(0)
    outputs = [4 * torch.randn(2, classes, 5, 6) for _ in range(4)]
    probabilities = torch.stack(outputs).sigmoid() if classes == 1 else torch.stack(outputs).softmax(2)
    mean = mean_of_outputs(outputs)
    torch.testing.assert_close(mean.sigmoid() if classes == 1 else mean.softmax(1), probabilities.mean(0))
    extreme = mean_of_outputs([torch.full((1, classes, 1, 1), 200.0), torch.full((1, classes, 1, 1), -200.0)])
    assert torch.isfinite(extreme).all()
    assert mean_of_outputs(outputs[:1]) is outputs[0]


@pytest.mark.parametrize("classes", [1, 3])
def test_every_head_has_half_the_cross_entropy_and_the_dice_loss(classes):
    torch.manual_seed(0)
    model = create_model("unetpp", num_classes=classes, base_channels=4).eval()
    images, labels = torch.randn(2, 3, 32, 48), torch.randint(0, max(classes, 2), (2, 32, 48))
    terms = model.loss(images, {"label_map": labels})
    assert len(terms) == 8
    for suffix, logits in zip(("_level1", "_level2", "_level3", ""), model.outputs(images), strict=True):
        if classes == 1:
            entropy = F.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
            probabilities = logits.sigmoid()
        else:
            entropy, probabilities = F.cross_entropy(logits, labels), logits.softmax(1)
        torch.testing.assert_close(terms[f"cross_entropy{suffix}"], 0.5 * entropy)
        torch.testing.assert_close(terms[f"dice{suffix}"], dice_loss(probabilities, labels))


FORMS = [
    {"base_channels": 4},
    {"backbone": "mobilenet_v3_small", "decoder_channels": (16, 8, 8, 4), "num_classes": 3},
]


@pytest.mark.parametrize("options", FORMS, ids=lambda options: options.get("backbone", "own"))
def test_a_pruned_network_gives_that_head_and_holds_nothing_else(options, tmp_path, scramble):
    torch.manual_seed(0)
    model = create_model("unetpp", **options)
    scramble(model)
    model.eval().class_names = tuple(f"class {number}" for number in range(model.num_classes))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        outputs = model.outputs(images)
    sizes = []
    for level in model.prune_levels:
        pruned = model.pruned(level)
        with torch.no_grad():
            torch.testing.assert_close(pruned(images)["logits"], outputs[level - 1])
        pruned(images)["logits"].sum().backward()
        assert [name for name, one in pruned.named_parameters() if one.grad is None] == []  # no dead weight
        assert set(pruned.state_dict()) < set(model.state_dict())
        file = save_model(pruned, tmp_path / f"L{level}.safetensors")
        sizes.append(file.stat().st_size)
        again = load_model(file)
        assert (again.builder_args["prune"], again.class_names) == (level, model.class_names)
        with torch.no_grad():
            torch.testing.assert_close(again(images)["logits"], outputs[level - 1])
        parts = (*again.stage_names, *again.neck_names, *again.head_names)
        held = [name for part in parts for name, _ in again.named_parameters() if name.startswith(f"{part}.")]
        assert sorted(held) == sorted(name for name, _ in again.named_parameters())
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 2


def test_l1_is_six_nodes_smaller_by_hand():
    """X0,0 X1,0 X0,1 and a head: convolutions with bias (9 in + 1) out, two figures a channel of each BN."""
    pruned = create_model("unetpp").pruned(1)

    def node(before, after):
        return (9 * before + 1) * after + (9 * after + 1) * after + 4 * after

    assert sum(one.numel() for one in pruned.parameters()) == node(3, 32) + node(32, 64) + node(96, 32) + 33


def test_what_cannot_be_pruned_is_named():
    model = create_model("unetpp", base_channels=4)
    with pytest.raises(ConfigError, match=r"prune is 5; this network has outputs at depth 1, 2, 3, 4"):
        model.pruned(5)
    pruned = model.pruned(2)
    assert pruned.pruned(2) is pruned
    with pytest.raises(ConfigError, match="prune is 1; this network has outputs at depth 2"):
        pruned.pruned(1)
    with pytest.raises(ConfigError, match="pruned to a depth of 1 to 4"):
        create_model("unetpp", prune=5)
    with pytest.raises(ConfigError, match="has one feature map; UNet"):
        create_model("unetpp", backbone="vit_ti_16")
    with pytest.raises(ConfigError, match="this backbone needs 4"):
        create_model("unetpp", backbone="resnet18", decoder_channels=(8, 8))
    with (  # its maps depend on each other
        torch.device("meta"),
        pytest.raises(ConfigError, match="'hrnet_w18_small' does not run without the layers behind its feature map 2"),
    ):
        create_model("unetpp", backbone="hrnet_w18_small", prune=1)
    with pytest.raises(ConfigError, match="Leave them out with a backbone"):
        create_model("unetpp", backbone="resnet18", in_channels=1)


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "convnext_tiny", "efficientnet_b0", "swin_t"])
def test_any_backbone_is_built_and_pruned_to_what_its_first_maps_need(backbone):
    with torch.device("meta"):
        whole = create_model("unetpp", backbone=backbone, decoder_channels=(8, 8, 8, 8))
        pruned = create_model("unetpp", backbone=backbone, decoder_channels=(8, 8, 8, 8), prune=1)
        images = torch.zeros(1, 3, 70, 100)
        assert whole(images)["logits"].shape == pruned(images)["logits"].shape == (1, 1, 70, 100)
    pruned(images)["logits"].sum().backward()
    assert [name for name, one in pruned.named_parameters() if one.grad is None] == []
    assert len(list(pruned.parameters())) < len(list(whole.parameters()))


@pytest.mark.parametrize("options", FORMS[:2], ids=["own", "mobilenet_v3_small"])
def test_any_size(options):
    model = create_model("unetpp", **options).eval()
    with torch.no_grad():
        for size in ((33, 70), (20, 17)):
            assert model(torch.randn(1, 3, *size))["logits"].shape[2:] == size


def test_prune_is_one_option_of_predict_evaluate_and_export(tmp_path, scramble, monkeypatch):
    monkeypatch.setattr("saccade.deploy.precision.has_bf16", lambda: False)  # networks in memory predict in float32
    torch.manual_seed(0)
    model = create_model("unetpp", base_channels=4)
    scramble(model)
    model.eval().class_names = ("cell",)
    file = save_model(model, tmp_path / "cells.safetensors")
    images = [(torch.rand(40, 50, 3) * 255).byte().numpy()]
    for level in (1, 3):
        (direct,) = predict(EagerRuntime(model.pruned(level)), images)
        expected = direct.probabilities
        (found,) = saccade.predict(file if level == 1 else model, images, device="cpu", prune=level)
        np.testing.assert_allclose(found.probabilities, expected, rtol=1e-4, atol=1e-5)
    (whole,) = saccade.predict(file, images, device="cpu")
    assert abs(whole.probabilities - expected).max() > 1e-3
    written = saccade.export(file, "torch", tmp_path / "fast.pt2", size=(64, 64), prune=1)
    program = torch.export.load(str(written.path))
    held = {name.removeprefix("model.") for name in program.state_dict}
    assert {name for name in held if "heads" in name} == {"heads.1.weight", "heads.1.bias"}
    assert not {name for name in held if "x0_2" in name or "encoder.2" in name}
    with pytest.raises(ConfigError, match=r"fast\.pt2' was exported at its depth.*Leave prune out"):
        saccade.predict(written.path, images, prune=1, trust=True)
    with pytest.raises(ConfigError, match="prune is for networks with outputs at several depths; unet has one"):
        saccade.predict(create_model("unet", base_channels=4), images, prune=1)
