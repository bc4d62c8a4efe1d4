"""DeepLab V1 and V2: sizes, where scores lie, holes, branches, image sizes, and the loss at an eighth."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.engine.train.config import FreezeConfig
from saccade.engine.train.optim import apply_freeze
from saccade.errors import ConfigError
from saccade.models.registry import create_model

V1 = {"num_classes": 3, "fc_channels": 8, "base_channels": 4}
V2 = {"num_classes": 3, "depths": (1, 1, 2, 2)}


def randomise(model: nn.Module) -> nn.Module:
    """Scores of about one, so that no comparison is of zeros."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def v1() -> nn.Module:
    return randomise(create_model("deeplabv1_largefov", multi_scale=True, **V1))


@pytest.fixture(scope="module")
def v2() -> nn.Module:
    return randomise(create_model("deeplabv2_resnet101", **V2))


@pytest.mark.parametrize("name", ["v1", "v2"])
@pytest.mark.parametrize(("side", "locations"), [(1, 1), (8, 2), (9, 2), (10, 3), (65, 9), (321, 41)])
def test_scores_are_an_eighth_corner_on_corner(name: str, side: int, locations: int, request) -> None:
    model, images = request.getfixturevalue(name), torch.randn(1, 3, side, 17)
    with torch.no_grad():
        scores = model.supervised(images)["logits"]
        logits = model(images)["logits"]
    assert scores.shape == (1, 3, locations, 3)
    assert logits.shape == (1, 3, side, 17)
    below = (side - 1) // 8 + 1
    torch.testing.assert_close(logits[:, :, ::8, ::8], scores[:, :, :below])  # location i lies on pixel 8 i


def test_largefov_is_the_layers_of_the_paper(v1) -> None:
    """Without the modules: plain calls with the paper's strides, dilations and paddings."""
    images = torch.randn(1, 3, 49, 65)
    state, x, pools = v1.state_dict(), images, []
    for stage, depth in enumerate((2, 2, 3, 3, 3)):
        dilation = 2 if stage == 4 else 1
        for layer in range(depth):
            name = f"backbone.trunk.{stage}.{2 * layer}"
            x = F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], 1, dilation, dilation))
        x = F.max_pool2d(x, 3, 2 if stage < 3 else 1, 1, ceil_mode=True)  # as Caffe rounds
        pools.append(x)
    x = F.relu(F.conv2d(x, state["fc6.weight"], state["fc6.bias"], padding=12, dilation=12))
    x = F.relu(F.conv2d(x, state["fc7.weight"], state["fc7.bias"]))
    # Section 4.3 concatenates what the branches give with fc7, below one classifier.
    joined, kernel = [x], [state["fc8.weight"]]
    for index, (source, stride) in enumerate(zip((images, *pools[:4]), (8, 4, 2, 1, 1), strict=True)):
        name = f"branches.{index}"
        y = F.relu(F.conv2d(source, state[f"{name}.0.weight"], state[f"{name}.0.bias"], stride, 1))
        joined.append(F.relu(F.conv2d(y, state[f"{name}.2.weight"], state[f"{name}.2.bias"])))
        kernel.append(state[f"{name}.5.weight"])
    assert [part.shape[1] for part in joined] == [8, *[128] * 5]
    expected = F.conv2d(torch.cat(joined, 1), torch.cat(kernel, 1), state["fc8.bias"])
    with torch.no_grad():
        torch.testing.assert_close(v1.supervised(images)["logits"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sides", [(33, 49), (32, 45)])
def test_loss_is_that_of_every_eighth_pixel(v1, sides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(2, 3, *sides), torch.randint(0, 3, (2, *sides))
    labels[0, ::16] = 255
    weights = torch.rand(2, *sides)
    with torch.no_grad():
        scores = v1.supervised(images)["logits"].log_softmax(1)
        terms = v1.loss(images, [{"label_map": one.to(torch.uint8)} for one in labels])
        weighted = v1.loss(images, {"label_map": labels, "weight_map": weights})
    each, weight = [], []
    for image in range(2):
        for row in range(0, sides[0], 8):
            for column in range(0, sides[1], 8):
                label = int(labels[image, row, column])
                if label != 255:
                    each.append(-scores[image, label, row // 8, column // 8])
                    weight.append(weights[image, row, column])
    assert list(terms) == ["cross_entropy"]
    torch.testing.assert_close(terms["cross_entropy"], torch.stack(each).mean())
    torch.testing.assert_close(weighted["cross_entropy"], (torch.stack(each) * torch.stack(weight)).mean())


def test_two_stages_of_the_branches() -> None:
    model = create_model("deeplabv1_largefov", multi_scale=True, **V1).eval()
    plain = create_model("deeplabv1_largefov", **V1).eval()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "branches" not in name})
    images = torch.randn(1, 3, 33, 33)
    model.begin("largefov", None)
    assert torch.equal(model(images)["logits"], plain(images)["logits"])
    assert model.head_names == ("fc8", "branches")
    model.begin("multi_scale", None)
    assert not torch.equal(model(images)["logits"], plain(images)["logits"])
    apply_freeze(model, FreezeConfig(trainable="head"))
    assert all(one.requires_grad == name.startswith("branches.") for name, one in model.named_parameters())
    model.begin("", None)
    assert (model.multi_scale, model.neck_names, model.head_names) == (True, ("fc6", "fc7"), ("fc8", "branches"))
    with pytest.raises(ConfigError, match="Build it with multi_scale=True"):
        plain.begin("multi_scale", None)


def test_aspp_is_the_sum_of_four_dilations(v2) -> None:
    images = torch.randn(1, 3, 33, 33)
    with torch.no_grad():
        x = v2.features(images)[-1]
        expected = torch.zeros(1, 3, 5, 5)
        for layer, rate in zip(v2.aspp, (6, 12, 18, 24), strict=True):
            assert layer.kernel_size == (3, 3)
            expected += layer.bias.view(1, 3, 1, 1)
            padded = F.pad(x, (rate,) * 4)
            for row in range(3):  # each weight of the kernel sees the map shifted by a multiple of the rate
                for column in range(3):
                    shifted = padded[..., row * rate : row * rate + 5, column * rate : column * rate + 5]
                    expected += torch.einsum("bihw,oi->bohw", shifted, layer.weight[:, :, row, column])
        scale = expected.abs().max()
        assert (v2.supervised(images)["logits"] - expected).abs().max() < 1e-4 * scale


def test_body_of_v2_is_dilated_as_in_the_paper() -> None:
    model = create_model("deeplabv2_resnet101")
    body = model.backbone
    assert [len(stage) for stage in (body.layer1, body.layer2, body.layer3, body.layer4)] == [3, 4, 23, 3]
    for stage, dilation in ((body.layer1, 1), (body.layer2, 1), (body.layer3, 2), (body.layer4, 4)):
        assert {block.conv2.dilation + block.conv2.padding for block in stage} == {(dilation,) * 4}
        assert {block.conv2.stride for block in stage} == {(1, 1)}
    assert body.layer2[0].conv1.stride == (2, 2)  # the stride is in the 1x1
    assert model.feature_strides == (2, 4, 8, 8, 8)


def test_scores_are_the_largest_over_image_sizes(v2) -> None:
    images = torch.randn(1, 3, 65, 97)
    model = create_model("deeplabv2_resnet101", scales=(0.75, 0.5), **V2).eval()
    model.load_state_dict(v2.state_dict())

    def sized(x: Tensor, height: int, width: int) -> Tensor:
        return F.interpolate(x, (height, width), mode="bilinear", align_corners=True)

    with torch.no_grad():
        each = [v2.supervised(image)["logits"] for image in (images, sized(images, 49, 73), sized(images, 33, 49))]
        assert [tuple(one.shape[2:]) for one in each] == [(9, 13), (7, 10), (5, 7)]
        fused = torch.stack([sized(one, 9, 13) for one in each]).amax(0)
        found = model.supervised(images)
        torch.testing.assert_close(list(found.values()), [fused, *each])
        assert all((fused == sized(one, 9, 13)).any() for one in each)  # each is the largest somewhere
        torch.testing.assert_close(model(images)["logits"], sized(fused, 65, 97))
        # In training a loss for each size, against the labels of its own locations, and one for the largest.
        labels = torch.randint(0, 3, (1, 65, 97))
        terms = model.loss(images, {"label_map": labels})
    assert list(terms) == ["cross_entropy", "cross_entropy_at_100", "cross_entropy_at_75", "cross_entropy_at_50"]
    eighths, sixteenths = labels[:, ::8, ::8], labels[:, ::16, ::16]
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(fused, eighths))
    torch.testing.assert_close(terms["cross_entropy_at_100"], F.cross_entropy(each[0], eighths))
    torch.testing.assert_close(terms["cross_entropy_at_50"], F.cross_entropy(each[2], sixteenths))


@pytest.mark.parametrize("name", ["deeplabv1", "deeplabv2"])
@pytest.mark.parametrize(("backbone", "stride"), [("mobilenet_v3_small", 8), ("lenet5", 4)])
def test_any_backbone_and_any_size(name: str, backbone: str, stride: int) -> None:
    model = create_model(name, 3, backbone=backbone, **({"fc_channels": 8} if name == "deeplabv1" else {})).eval()
    assert model.stride == stride
    with torch.no_grad():
        assert model(torch.zeros(1, model.input_spec.channels, 33, 50))["logits"].shape == (1, 3, 33, 50)


def test_scales_are_shares() -> None:
    with pytest.raises(ConfigError, match=r"between 0 and 1; got \(1\.5,\)"):
        create_model("deeplabv2", scales=(1.5,))
