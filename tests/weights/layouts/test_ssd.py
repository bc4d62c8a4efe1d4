"""Files of SSD: torchvision's, amdegroot's, lufficc's, and VGG-16 below SSD."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from saccade.models.registry import create_model
from saccade.weights.download import sha256_of
from saccade.weights.layouts import layouts, ssd_pytorch, ssd_torchvision, torchvision_features
from saccade.weights.load import load_weights
from saccade.weights.published import PUBLISHED

NAMES = torchvision.models.detection.SSD300_VGG16_Weights.COCO_V1.meta["categories"]
REAL = [index for index, name in enumerate(NAMES) if name not in ("__background__", "N/A")]


def cache(name: str, state: dict[str, Tensor], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a state dict where the published file of that network would be after its download."""
    monkeypatch.setenv("SACCADE_CACHE", str(folder))
    cached = folder / "weights" / PUBLISHED[f"{name}/coco"].file_name
    cached.parent.mkdir()
    torch.save(state, cached)
    cached.with_name(cached.name + ".sha256").write_text(sha256_of(cached))


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "ssd300_vgg16"])
def test_published_files_load_with_80_classes_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of 91 columns, as torchvision saves it."""
    torch.manual_seed(0)
    theirs = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None).eval()
    cache(name, theirs.state_dict(), tmp_path, monkeypatch)
    ours = create_model(name, weights="coco").eval()
    assert ours.num_classes == ours.builder_args["num_classes"] == 80
    assert ours.class_names == tuple(NAMES[index] for index in REAL)
    spec, rules = ours.input_spec, theirs.transform
    assert spec.mean == pytest.approx([255 * value for value in rules.image_mean], abs=0.01)
    assert spec.std == pytest.approx([255 * value for value in rules.image_std])  # 1 for SSD300: pixels stay 0..255
    assert spec.size == tuple(rules.fixed_size)
    assert (spec.resize, spec.channel_order) == ("stretch", "rgb")
    image = torch.rand(1, 3, 270, 270) * 2 - 1
    with torch.no_grad():
        expected = theirs.head(list(theirs.backbone(image).values()))
        found = ours(image)
    torch.testing.assert_close(found["codes"], expected["bbox_regression"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["logits"], expected["cls_logits"][..., [0, *REAL]], rtol=1e-4, atol=1e-4)


def test_classes_of_ones_own_take_their_rows_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ssdlite320_mobilenet_v3_large"
    theirs = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None)
    head = theirs.head.classification_head.module_list[0][1]
    torch.nn.init.normal_(head.bias)
    cache(name, theirs.state_dict(), tmp_path, monkeypatch)
    own = create_model(name, num_classes=2)
    own.class_names = ("zebra", "platypus")
    assert "1 of 2 classes taken by name, as initialised platypus" in str(load_weights(own, "coco"))
    bias = own.head.classes[0][1].bias.detach().view(-1, 3)  # background, zebra, platypus of each default box
    assert torch.equal(bias[:, :2], head.bias.detach().view(-1, 91)[:, [0, NAMES.index("zebra")]])
    assert not bias[:, 2].any()


def amdegroot(size: int, classes: int) -> dict[str, Tensor]:
    """Random tensors under the names of amdegroot's files (size 300), and as lufficc adds to them (512)."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {"L2Norm.weight": torch.rand(512, generator=generator) * 20}

    def layer(name: str, into: int, out: int, kernel: int) -> None:
        scale = (2 / (into * kernel**2)) ** 0.5
        state[f"{name}.weight"] = torch.randn(out, into, kernel, kernel, generator=generator) * scale
        state[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.1

    before = 3
    for number, width in zip(
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 6, strict=True
    ):
        layer(f"vgg.{number}", before, width, 3)
        before = width
    layer("vgg.31", 512, 1024, 3)
    layer("vgg.33", 1024, 1024, 1)
    before, extras = 1024, [(256, 1), (512, 3)] + [(128, 1), (256, 3)] * 3
    for number, (width, kernel) in enumerate(extras if size == 300 else [*extras, (128, 1), (256, 4)]):
        layer(f"extras.{number}", before, width, kernel)
        before = width
    boxes = (4, 6, 6, 6, 4, 4) if size == 300 else (4, 6, 6, 6, 6, 4, 4)
    for level, (width, count) in enumerate(zip((512, 1024, 512, *[256] * 4), boxes, strict=False)):
        layer(f"loc.{level}", width, count * 4, 3)
        layer(f"conf.{level}", width, count * (classes + 1), 3)
    return state


def plain_ssd300(state: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """SSD300 from names and numbers alone."""

    def conv(name: str, x: Tensor, **options: int) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    x = images
    maps = []
    for number in (0, 2, "M", 5, 7, "M", 10, 12, 14, "C", 17, 19, 21, "N", "M", 24, 26, 28):
        if number == "N":
            norm = x.square().sum(1, keepdim=True).sqrt() + 1e-10
            maps.append(state["L2Norm.weight"].view(1, -1, 1, 1) * x / norm)
        elif isinstance(number, str):
            x = F.max_pool2d(x, 2, 2, ceil_mode=number == "C")
        else:
            x = conv(f"vgg.{number}", x, padding=1).relu()
    x = conv("vgg.31", F.max_pool2d(x, 3, 1, 1), padding=6, dilation=6).relu()
    x = conv("vgg.33", x).relu()
    maps.append(x)
    for number in range(8):
        strided = {"stride": 2, "padding": 1} if number in (1, 3) else {}
        x = conv(f"extras.{number}", x, **strided).relu()
        if number % 2:
            maps.append(x)
    rows = []
    for name, columns in (("loc", 4), ("conf", 4)):  # three classes and background
        outputs = [conv(f"{name}.{level}", one, padding=1).permute(0, 2, 3, 1) for level, one in enumerate(maps)]
        rows.append(torch.cat([one.reshape(1, -1, columns) for one in outputs], dim=1))
    return rows[0], rows[1]


def test_files_of_amdegroot_and_lufficc_predict_what_they_did(tmp_path: Path) -> None:
    state = amdegroot(300, 3)
    torch.save(state, tmp_path / "ssd300.pth")
    model = create_model("ssd300_vgg16", boxes="voc", weights=str(tmp_path / "ssd300.pth")).eval()
    assert model.num_classes == 3
    images = torch.rand(1, 3, 270, 270, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs = model(images)
        expected = plain_ssd300(state, images)
    for found, wanted in zip((outputs["codes"], outputs["logits"]), expected, strict=True):
        assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()

    def lufficc(name: str) -> str:
        kind, _, rest = name.partition(".")
        heads = {"loc": "box_head.predictor.reg_headers", "conf": "box_head.predictor.cls_headers"}
        return f"backbone.{name.replace('L2Norm', 'l2_norm')}" if kind not in heads else f"{heads[kind]}.{rest}"

    renamed = {lufficc(name): tensor for name, tensor in state.items()}
    assert ssd_pytorch.matches(set(renamed))
    converted = ssd_pytorch.convert(renamed, model)
    assert set(converted) == set(model.state_dict())
    assert all(torch.equal(converted[name], tensor) for name, tensor in model.state_dict().items())


def test_names_of_ssd512_and_of_no_other_network() -> None:
    state = amdegroot(512, 2)
    with torch.device("meta"):
        model = create_model("ssd512_vgg16", num_classes=2)
        vgg = create_model("vgg16", fc_channels=8)
    converted = ssd_pytorch.convert(state, model)
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }
    for keys in (set(state), {f"backbone.{name}" for name in state if not name.startswith(("loc", "conf"))}):
        keys = {name.replace("backbone.L2Norm", "backbone.l2_norm") for name in keys}
        assert [layout.NAME for layout in layouts() if layout.matches(keys)] == [ssd_pytorch.NAME]
    for other in (vgg, model):
        assert not ssd_pytorch.matches(set(other.state_dict()))
        assert not ssd_torchvision.matches(set(other.state_dict()))


def test_vgg16_below_ssd_starts_as_the_paper_has_it() -> None:
    """Its first layer meets pixels that are not scaled, and fc6 and fc7 are thinned out."""
    with torch.device("meta"):
        model = create_model("ssd300_vgg16", num_classes=2)
    generator = torch.Generator().manual_seed(0)
    state = {
        f"features.{number}.{part}": torch.randn(shape, generator=generator)
        for number, width in zip(
            (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
            (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512),
            strict=True,
        )
        for part, shape in (("weight", (8, width, 3, 3)), ("bias", (8,)))
    }
    state["classifier.0.weight"] = torch.arange(8 * 512 * 49.0).view(8, -1)  # eight of 4096 filters
    state["classifier.3.weight"] = torch.arange(8 * 8.0).view(8, 8)
    state["classifier.0.bias"] = state["classifier.3.bias"] = torch.arange(8.0)
    found = torchvision_features.convert(state, model)
    assert "backbone.trunk.4.4.weight" in found
    assert set(found) <= set(model.state_dict())
    fc6 = state["classifier.0.weight"].view(8, 512, 7, 7)
    assert found["backbone.fc6.weight"].shape == (2, 512, 3, 3)
    assert found["backbone.fc6.weight"][1, 5, 2, 1] == fc6[4, 5, 6, 3]
    assert found["backbone.fc7.weight"].flatten(1).tolist() == [[0.0, 4.0], [32.0, 36.0]]
    assert found["backbone.fc6.bias"].tolist() == found["backbone.fc7.bias"].tolist() == [0.0, 4.0]
    pixels = torch.rand(1, 3, 8, 8, generator=generator) * 255
    mean, std = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1), torch.tensor([58.395, 57.12, 57.375])
    expected = F.conv2d((pixels - mean) / std.view(1, 3, 1, 1), state["features.0.weight"])
    as_here = pixels - torch.tensor(model.input_spec.mean).view(1, 3, 1, 1)
    given = F.conv2d(as_here, found["backbone.trunk.0.0.weight"])
    assert (given - expected).abs().max() < 0.2 < expected.abs().max()  # means differ by less than a grey level
    # The classifier of files for SSD alone holds no numbers; it is left out.
    state["classifier.0.weight"] = torch.full((8, 512 * 49), torch.nan)
    assert "backbone.fc6.weight" not in torchvision_features.convert(state, model)
