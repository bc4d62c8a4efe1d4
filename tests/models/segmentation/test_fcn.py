"""FCN: exact sizes, crops, kernels, stages of training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.engine.train.callbacks import OnEpoch
from saccade.engine.train.config import DataConfig, OptimizerConfig, Step, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets
from saccade.errors import ConfigError
from saccade.models.checkpoint import save_model
from saccade.models.registry import create_model
from saccade.models.segmentation.fcn import FCNVGG, Upsampling
from saccade.weights.load import load_weights

SMALL = {"num_classes": 3, "fc_channels": 8, "base_channels": 4}
BUILDERS = ("fcn32s_vgg16", "fcn16s_vgg16", "fcn8s_vgg16")


def randomise(model: nn.Module) -> nn.Module:
    """Score layers away from zero, kernels away from bilinear ones."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if not name.startswith("backbone"):
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


# Height or width; pool3, pool4, pool5, fc7; then of FCN-8s the outputs of x2, x2, x8, of FCN-16s x16, of FCN-32s x32.
# Worked out by hand: 67 + 198 = 265 -> 133 -> 67 -> 34 -> 17 -> 9, 9 - 6 = 3, 2 * 3 + 2 = 8, 2 * 8 + 2 = 18, ...
SIZES = {
    1: (25, 13, 7, 1, 4, 10, 88, 80, 64),
    67: (34, 17, 9, 3, 8, 18, 152, 144, 128),
    155: (45, 23, 12, 6, 14, 30, 248, 240, 224),
}


@pytest.mark.parametrize("sides", [(1, 67), (67, 155), (155, 1)])
def test_every_map_has_the_size_of_the_paper(sides: tuple[int, int]) -> None:
    images = torch.zeros(1, 3, *sides)
    rows = [SIZES[side] for side in sides]
    for skips, name in enumerate(BUILDERS):
        model = create_model(name, **SMALL).eval()
        sizes: dict[str, tuple[int, ...]] = {}
        for part in ("backbone.trunk.2", "backbone.trunk.3", "backbone.trunk.4", "fc7", *_upsamplings(model)):
            model.get_submodule(part).register_forward_hook(
                lambda module, inputs, output, part=part, sizes=sizes: sizes.update({part: tuple(output.shape[2:])})
            )
        with torch.no_grad():
            assert model(images)["logits"].shape == (1, 3, *sides)
        columns = [0, 1, 2, 3, *range(4, 4 + skips), 8 - skips]
        assert list(sizes.values()) == [(rows[0][column], rows[1][column]) for column in columns]


def _upsamplings(model: FCNVGG) -> list[str]:
    return [*(f"upsamplings.{level}" for level in range(len(model.upsamplings))), "last_upsampling"]


def test_what_is_added_or_cut_out_lies_on_the_same_pixels() -> None:
    """Positions go through the layers: windows take their mean, and bilinear kernels interpolate them."""
    model, side = create_model("fcn8s_vgg16", **SMALL), 155
    x = torch.arange(-99.0, side + 99 + 64)[None, None]  # of the pixels, from the first of the padded image on
    maps = []
    for depth in (2, 2, 3, 3, 3):
        for _ in range(depth):  # a window of three that keeps the size keeps the positions
            grown = torch.cat((2 * x[..., :1] - x[..., 1:2], x, 2 * x[..., -1:] - x[..., -2:-1]), dim=2)
            x = F.avg_pool1d(grown, 3, 1)
        x = F.avg_pool1d(x, 2, 2)
        maps.append(x)
    pool3, pool4, pool5 = maps[2:]
    assert (pool3[0, 0, 0], pool4[0, 0, 0]) == (-95.5, -91.5)
    x = F.avg_pool1d(pool5, 7, 1)[..., :6]  # fc6
    assert x[0, 0, 0] == 12.5

    def upsample(x: torch.Tensor, upsampling: Upsampling) -> torch.Tensor:
        factor = upsampling.stride[0]
        apart = np.zeros((x.shape[2] - 1) * factor + 1)
        apart[::factor] = x[0, 0].numpy()
        line = upsampling.weight.detach()[0, 0].sum(0).numpy() / factor  # the kernel in one dimension
        return torch.from_numpy(np.convolve(apart, line)).float()[None, None]

    def reaches_pixels(x: torch.Tensor, factor: int, crop: int) -> bool:
        found = upsample(x, Upsampling(1, factor))[0, 0, crop : crop + side]
        inside = slice(factor, -factor)  # borders mix with zeros beyond them
        return torch.allclose(found[inside], torch.arange(float(side))[inside], atol=1e-3)

    assert reaches_pixels(x, 32, model.last_crops[0])
    for level, skip in enumerate((pool4, pool3)):
        x, crop = upsample(x, model.upsamplings[level]), model.skip_crops[level]
        added = skip[..., crop : crop + x.shape[2]]
        torch.testing.assert_close(x[..., 2:-2], added[..., 2:-2])
        x = added  # whole at its borders too
        assert reaches_pixels(x, 16 // (level + 1), model.last_crops[level + 1])
        assert not reaches_pixels(x, 16 // (level + 1), model.last_crops[level + 1] + 1)


@pytest.mark.parametrize("factor", [2, 3, 8, 16, 32])
def test_kernels_interpolate_as_torch_does(factor: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    upsampling = Upsampling(3, factor)
    margin = (upsampling.kernel_size[0] - factor) // 2
    # Beyond the border a transposed convolution sees zeros, torch's interpolation the border once more.
    found = upsampling(F.pad(x, (1, 1, 1, 1), mode="replicate"))
    start = factor + margin
    found = found[..., start : start + 4 * factor, start : start + 5 * factor]
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_scores_begin_at_zero_and_new_skips_change_nothing() -> None:
    model = create_model("fcn8s_vgg16", **SMALL).eval()
    images = torch.randn(1, 3, 40, 56)
    assert not model(images)["logits"].any()
    nn.init.normal_(model.scores[0].weight)
    with torch.no_grad():
        x = model.scores[0](model._scored_maps(images)[0])
        for factor in (2, 2, 8):
            x = Upsampling(3, factor)(x)
        torch.testing.assert_close(model(images)["logits"], x[..., 31 : 31 + 40, 31 : 31 + 56])


@pytest.mark.parametrize("backbone", [None, "resnet18"])
def test_steps_use_more_and_more_skips(backbone: str | None) -> None:
    if backbone is None:
        models = [create_model(name, **SMALL) for name in BUILDERS]
    else:
        models = [create_model("fcn8s", 3, backbone=backbone, maps=maps) for maps in (1, 2, 3)]
    last = randomise(models[-1])
    images = torch.randn(1, 3, 45, 70)
    for skips, name in enumerate(("fcn32s", "fcn16s", "fcn8s")):
        last.begin(name, None)
        smaller = models[skips].eval()
        if skips < 2:
            own = {key: value for key, value in last.state_dict().items() if key in smaller.state_dict()}
            own.pop("last_upsampling.weight")  # bilinear in the smaller one, as it is built
            smaller.load_state_dict(own, strict=False)
        torch.testing.assert_close(last(images)["logits"], smaller(images)["logits"])
        last.zero_grad()
        sum(last.loss(images, {"label_map": torch.zeros(1, 45, 70).long()}).values()).backward()
        assert [score.weight.grad is not None for score in last.scores] == [level <= skips for level in range(3)]
    last.begin("heads", None)
    assert last.skips == 2
    with pytest.raises(ConfigError, match=r"step 'fcn16' of .*: its steps are fcn32s, fcn16s, fcn8s"):
        last.begin("fcn16", None)
    with pytest.raises(ConfigError, match="its steps are fcn32s, fcn16s"):
        models[1].begin("fcn8s", None)


def test_a_run_goes_through_the_steps_on_the_same_weights(tmp_path) -> None:
    data = DigitScenes("segmentation", "train", count=4, size=(32, 32))
    model = create_model("fcn8s", len(data.info.class_names), backbone="lenet5", maps=2)
    config = TrainConfig(
        out=str(tmp_path),
        data=DataConfig(batch_size=2, workers=0, val=None),
        optimizer=OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, lr_scale={"last_upsampling": 0.0}),
        epochs=1,
        steps=(Step("fcn32s", {"optimizer.lr": 0.2}), Step("fcn16s")),
        precision="32",
    )
    kernel, seen = model.last_upsampling.weight.clone(), []

    def watch(row) -> None:
        seen.append((model.skips, bool(model.scores[0].weight.any()), bool(model.scores[1].weight.any())))

    fit(config, model=model, data=Datasets(data, None), callbacks=[OnEpoch(watch)])
    assert seen == [(0, True, False), (1, True, True)]
    assert torch.equal(model.last_upsampling.weight, kernel)
    assert not torch.equal(model.upsamplings[0].weight, Upsampling(len(data.info.class_names), 2, 1).weight)


def test_at_once_scales_the_skips_down() -> None:
    model, scaled = create_model("fcn8s_vgg16", **SMALL), create_model("fcn8s_vgg16", at_once=True, **SMALL)
    scaled.load_state_dict(randomise(model).state_dict())
    images = torch.randn(1, 3, 33, 40)
    with torch.no_grad():
        model.scores[1].weight *= 0.01  # of pool4
        model.scores[2].weight *= 0.0001  # of pool3
        torch.testing.assert_close(scaled.eval()(images), model(images))


@pytest.mark.parametrize(("backbone", "maps"), [("mobilenet_v3_small", 3), ("lenet5", 2), ("vit_ti_16", 1)])
def test_any_backbone_and_any_size(backbone: str, maps: int) -> None:
    model = create_model("fcn8s", 3, backbone=backbone, maps=maps).eval()
    strides = sorted(set(model.feature_strides), reverse=True)[:maps]
    factors = [kernel.stride[0] for kernel in (*model.upsamplings, model.last_upsampling)]
    assert factors == [a // b for a, b in zip(strides, [*strides[1:], 1], strict=True)]
    assert math.prod(factors) == model.multiple == strides[0]
    with torch.no_grad():
        assert model(torch.zeros(1, model.input_spec.channels, 35, 50))["logits"].shape == (1, 3, 35, 50)


def test_heads_are_joined_by_class_name(tmp_path) -> None:
    trained = randomise(create_model("fcn8s", 2, backbone="lenet5", maps=2))
    trained.class_names = ("road", "sky")
    save_model(trained, tmp_path / "trained.safetensors")
    model = create_model("fcn8s", 3, backbone="lenet5", maps=2)
    model.class_names = ("sky", "tree", "road")
    load_weights(model, tmp_path / "trained.safetensors")
    images = torch.randn(1, 1, 20, 24)
    with torch.no_grad():
        found, expected = model.eval()(images)["logits"], trained(images)["logits"]
    torch.testing.assert_close(found[:, [2, 0]], expected)
    assert not found[:, 1].any()  # a new class begins as in a new network: scores of zero, a bilinear kernel
    assert torch.equal(model.last_upsampling.weight[1, 1], Upsampling(1, 2, 1).weight[0, 0])


def test_a_backbone_with_too_few_maps_is_named() -> None:
    with pytest.raises(ConfigError, match="3 are asked for of a backbone with the strides 2, 4"):
        create_model("fcn8s", backbone="lenet5")
