from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from saccade.errors import WeightsError
from saccade.models.base import Model
from saccade.models.checkpoint import save_model
from saccade.models.registry import create_model
from saccade.weights import load_weights, save_file
from saccade.weights.foreign import read_foreign


@pytest.fixture(scope="module")
def theirs() -> torchvision.models.ResNet:
    torch.manual_seed(0)
    model = torchvision.models.resnet18()
    for module in model.modules():  # statistics and scales that are not those of a fresh network
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def _ours(num_classes: int = 1000) -> Model:
    return create_model("resnet18", num_classes=num_classes).eval()


def _logits(model: Model, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images)["logits"]


IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("wrap", ["plain", "entry", "ddp", "ema", "safetensors"])
def test_torchvision_resnet_loads_in_every_wrapping(
    wrap: str, theirs: torchvision.models.ResNet, tmp_path: Path
) -> None:
    state = theirs.state_dict()
    path = tmp_path / "file.pth"
    if wrap == "plain":
        torch.save(state, path)
    elif wrap == "entry":
        junk = {"epoch": 3, "best": np.float64(0.5), "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}}
        torch.save({"state_dict": state, **junk}, path)
    elif wrap == "ddp":
        torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    elif wrap == "ema":
        raw = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
        torch.save({"model": raw, "ema": {"module": state, "updates": 7}}, path)
    else:
        from safetensors.torch import save_file as save_safetensors

        path = path.with_suffix(".safetensors")
        save_safetensors(state, path)
    model = _ours()
    report = load_weights(model, path)
    with torch.no_grad():
        torch.testing.assert_close(_logits(model, IMAGES), theirs(IMAGES), rtol=0, atol=1e-5)
    assert report.recognised == "torchvision ResNet"
    assert report.loaded == len(state)
    assert (report.missing, report.unexpected, report.head, report.renamed) == ((), (), (), 0)


def test_the_report_is_one_line_and_is_logged(
    theirs: torchvision.models.ResNet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "r.pth")
    with caplog.at_level("INFO", "saccade"):
        report = load_weights(_ours(), tmp_path / "r.pth")
    (record,) = caplog.records
    line = record.getMessage()
    assert line == str(report)
    assert "\n" not in line
    assert "torchvision ResNet (entry 'state_dict'), 122 tensors loaded, none renamed; missing none" in line


def test_another_head_size_loads_all_but_the_head(theirs: torchvision.models.ResNet, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "r.pth")
    model = _ours(5)
    before = model.fc.weight.clone()
    report = load_weights(model, tmp_path / "r.pth")
    assert report.head == ("fc.weight", "fc.bias")
    assert "head of another size left as it was (2: fc.weight, fc.bias)" in str(report)
    assert torch.equal(model.fc.weight, before)
    assert torch.equal(model.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    with pytest.raises(WeightsError, match=r"fc\.weight: \(1000, 512\) in the file, \(5, 512\) in the model"):
        load_weights(model, tmp_path / "r.pth", strict_head=True)


def test_a_detector_for_other_classes_keeps_everything_but_the_class_outputs(tmp_path: Path) -> None:
    torch.save({"model": create_model("yolox_nano").state_dict()}, tmp_path / "y.pth")
    report = load_weights(create_model("yolox_nano", num_classes=3), tmp_path / "y.pth")
    assert report.recognised == "official YOLOX"
    assert report.head == tuple(f"head.cls_preds.{level}.{part}" for level in range(3) for part in ("weight", "bias"))
    assert (report.missing, report.unexpected) == ((), ())


def test_mismatch_elsewhere_lists_names_and_shapes_and_changes_nothing(tmp_path: Path) -> None:
    state = torchvision.models.resnet34().state_dict()
    state["layer1.0.conv1.weight"] = torch.zeros(32, 64, 3, 3)
    torch.save(state, tmp_path / "r.pth")
    model = create_model("resnet34")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(WeightsError) as caught:
        load_weights(model, tmp_path / "r.pth")
    text = str(caught.value)
    assert "does not fit resnet34" in text
    assert "layer1.0.conv1.weight: (32, 64, 3, 3) in the file, (64, 64, 3, 3) in the model" in text
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_frozen_batch_norm_files_lack_counters(theirs: torchvision.models.ResNet, tmp_path: Path) -> None:
    state = {name: value for name, value in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "r.pth")
    model = _ours()
    report = load_weights(model, tmp_path / "r.pth")
    assert (report.missing, report.unexpected) == ((), ())
    with torch.no_grad():
        torch.testing.assert_close(_logits(model, IMAGES), theirs(IMAGES), rtol=0, atol=1e-5)


def test_a_body_with_holes_is_an_error_unless_asked_for(
    theirs: torchvision.models.ResNet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = dict(theirs.state_dict())
    del state["layer4.1.conv2.weight"]
    state["extra.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "r.pth")
    model = _ours()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(WeightsError, match=r"lacks layer4\.1\.conv2\.weight.*partial=True \(--partial-weights\)"):
        load_weights(model, tmp_path / "r.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    report = load_weights(model, tmp_path / "r.pth", partial=True)
    assert report.missing == ("layer4.1.conv2.weight",)
    assert report.unexpected == ("extra.weight",)
    assert caplog.records[-1].levelname == "WARNING"
    assert torch.equal(model.layer4[1].conv1.weight, theirs.layer4[1].conv1.weight)


@pytest.mark.parametrize(
    ("saved", "wanted", "advice"),
    [
        (("resnet20_cifar", "padding"), ("resnet20_cifar", "projection"), "It fits resnet20_cifar with shortcut='pad"),
        (("resnet20_cifar", "projection"), ("resnet20_cifar", "padding"), "with shortcut='projection' (--model-args.s"),
        (("resnet32_cifar", "padding"), ("resnet20_cifar", "padding"), "It fits resnet32_cifar with shortcut='paddin"),
        (("resnet20_cifar", "padding"), ("resnet32_cifar", "projection"), "It fits resnet20_cifar with shortcut='pad"),
    ],
    ids=["A into B", "B into A", "deeper", "shallower"],
)
def test_what_the_layout_tells_is_named(
    saved: tuple[str, Any], wanted: tuple[str, Any], advice: str, tmp_path: Path
) -> None:
    torch.save(create_model(saved[0], shortcut=saved[1], num_classes=7).state_dict(), tmp_path / "c.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(create_model(wanted[0], shortcut=wanted[1]), tmp_path / "c.pth")
    assert advice in str(caught.value)


def test_what_the_file_tells_is_used_where_the_caller_says_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = create_model("resnet20_cifar", shortcut="padding", num_classes=7).eval()
    torch.save(saved.state_dict(), tmp_path / "c.pth")
    model = create_model("resnet20_cifar", weights=str(tmp_path / "c.pth")).eval()
    assert (model.num_classes, model.builder_args["shortcut"]) == (7, "padding")
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(_logits(model, images), _logits(saved, images))
    other = create_model("resnet20_cifar", num_classes=3, weights=str(tmp_path / "c.pth"))
    assert (other.num_classes, other.builder_args["shortcut"]) == (3, "padding")
    with pytest.raises(WeightsError, match="It fits resnet20_cifar with shortcut='padding'"):
        create_model("resnet20_cifar", shortcut="projection", weights=str(tmp_path / "c.pth"))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar10_padding"])
def test_published_cifar_weights_bring_their_normalisation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files in the cache, in the layouts of their publishers: chenyaofo's (fc) and akamaster's (wrapped, linear)."""
    from saccade.weights.published import PUBLISHED

    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    row = PUBLISHED[f"resnet20_cifar/{name}"]
    (tmp_path / "weights").mkdir()
    torch.manual_seed(0)
    saved = create_model("resnet20_cifar", num_classes=row.num_classes, **row.arguments).eval()
    if name == "cifar10_padding":
        state = {f"module.{key}": value for key, value in saved.state_dict().items()}
        torch.save({"state_dict": state, "best_prec1": 91.7}, tmp_path / "weights" / row.file_name)
    else:
        state = {key.replace("linear.", "fc."): value for key, value in saved.state_dict().items()}
        torch.save(state, tmp_path / "weights" / row.file_name)
    model = create_model("resnet20_cifar", weights=name).eval()
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(_logits(model, images), _logits(saved, images))
    assert model.input_spec.mean == row.preprocessing["mean"] != create_model("resnet20_cifar").input_spec.mean
    assert len(model.class_names) == model.num_classes == row.num_classes
    assert model.class_names[0] == {"cifar10": "airplane", "cifar100": "apple"}[name.removesuffix("_padding")]


def test_another_width_is_named(tmp_path: Path) -> None:
    torch.save(create_model("mobilenet_v1_0_25").state_dict(), tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"does not fit mobilenet_v1_0_50\. It fits mobilenet_v1_0_25\."):
        load_weights(create_model("mobilenet_v1_0_50"), tmp_path / "m.pth")


def test_part_of_a_neck_is_no_backbone(tmp_path: Path) -> None:
    state = {name: value for name, value in create_model("yolox_nano").state_dict().items() if "head" not in name}
    torch.save(state, tmp_path / "y.pth")
    model = create_model("yolox_nano", num_classes=2)
    assert all(name.startswith("head.") for name in load_weights(model, tmp_path / "y.pth").missing)
    torch.save({name: value for name, value in state.items() if "C3_n4" not in name}, tmp_path / "y.pth")
    with pytest.raises(WeightsError, match=r"it lacks \d+: backbone\.C3_n4"):
        load_weights(model, tmp_path / "y.pth")
    torch.save({name: value for name, value in state.items() if "backbone.backbone" in name}, tmp_path / "y.pth")
    report = load_weights(model, tmp_path / "y.pth")
    assert any("C3_n4" in name for name in report.missing)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (torch.full((64,), torch.nan), "bn1.bias holds values that are no number"),
        (torch.full((64,), -torch.inf), "bn1.bias holds values that are no number"),
        (torch.zeros(64, dtype=torch.int8), "bn1.bias is int8"),
        (torch.zeros(64, dtype=torch.bool), "bn1.bias is bool"),
        (torch.zeros(64, dtype=torch.complex64), "bn1.bias is complex64"),
        (torch.zeros(64).to_sparse(), "bn1.bias is sparse"),
        (torch.zeros(1).expand(1 << 40), "bn1.bias claims 1,099,511,627,776 numbers"),
    ],
    ids=["nan", "inf", "int8", "bool", "complex", "sparse", "expanded"],
)
def test_values_that_are_no_weights_are_named(
    value: Tensor, problem: str, theirs: torchvision.models.ResNet, tmp_path: Path
) -> None:
    torch.save({**theirs.state_dict(), "bn1.bias": value}, tmp_path / "r.pth")
    model = _ours()
    before = model.conv1.weight.clone()
    with pytest.raises(WeightsError) as caught:
        load_weights(model, tmp_path / "r.pth")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.equal(model.conv1.weight, before)


def test_a_resnet_goes_into_a_backbone(theirs: torchvision.models.ResNet, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "r.pth")
    model = create_model("unet_backbone", num_classes=2, backbone="resnet18")
    report = load_weights(model, tmp_path / "r.pth")
    assert torch.equal(model.backbone.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    assert report.renamed == 122
    assert report.unexpected == ("backbone.fc.weight", "backbone.fc.bias")
    assert all(not name.startswith("backbone.") for name in report.missing)


@pytest.mark.parametrize("kind", ["checkpoint", "plain"])
def test_a_network_of_ours_goes_into_a_backbone(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = create_model("mobilenet_v2", num_classes=2)
    if kind == "checkpoint":
        path = save_model(classifier, tmp_path / "m.safetensors")
    else:
        path = tmp_path / "m.pth"
        torch.save(classifier.state_dict(), path)
    model = create_model("unet_backbone", num_classes=2, backbone="mobilenet_v2")
    report = load_weights(model, path)
    assert torch.equal(model.backbone.state_dict()["trunk.0.0.weight"], classifier.state_dict()["trunk.0.0.weight"])
    assert all(not name.startswith("backbone.") for name in report.missing)


def test_file_for_another_model_says_so(tmp_path: Path) -> None:
    torch.save({"block.weight": torch.zeros(2)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"has nothing for resnet18: its names are like block\.weight"):
        load_weights(_ours(), tmp_path / "x.pth")


def test_own_files_bring_their_class_names(tmp_path: Path) -> None:
    model = _ours(2)
    save_file(
        tmp_path / "m.safetensors", model.state_dict(), {"builder_name": "resnet18", "class_names": ["cat", "dog"]}
    )
    other = _ours(2)
    report = load_weights(other, tmp_path / "m.safetensors")
    assert other.class_names == ("cat", "dog")
    assert report.recognised == "Saccade checkpoint of resnet18"
    third = _ours(3)
    load_weights(third, tmp_path / "m.safetensors")
    assert third.class_names == ()


class Evil:
    """Pickles into a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/saccade-was-here"),)


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "evil": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth' holds Python objects.*torch\.save\(model\.state_dict\(\)"):
        load_weights(_ours(), tmp_path / "evil.pth")
    assert not Path("/tmp/saccade-was-here").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken zip"])
def test_damaged_files_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"bad\.pth"):
        read_foreign(tmp_path / "bad.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {}}])
def test_files_without_a_state_dict_are_named(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"none\.pth': holds"):
        read_foreign(tmp_path / "none.pth")


def test_names_that_are_neither_file_nor_published() -> None:
    with pytest.raises(
        WeightsError, match=r"no weights 'imagnet'.*Published for 'resnet18': imagenet.*Did you mean 'imagenet'"
    ):
        load_weights(_ours(), "imagnet")
    with pytest.raises(WeightsError, match=r"no weights file 'gone\.pth'"):
        load_weights(_ours(), "gone.pth")
    with pytest.raises(WeightsError, match="Nothing is published for 'lenet5'"):
        create_model("lenet5", weights="mnist")


def test_published_weights_bring_names_and_preprocessing(
    theirs: torchvision.models.ResNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the cache is used without the network."""
    from saccade.weights.download import sha256_of
    from saccade.weights.published import PUBLISHED

    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    cached = tmp_path / "weights" / PUBLISHED["resnet50/imagenet_v2"].file_name
    cached.parent.mkdir()
    torch.save(torchvision.models.resnet50().state_dict(), cached)
    cached.with_name(cached.name + ".sha256").write_text(sha256_of(cached))  # as after a verified download
    model = create_model("resnet50", weights="imagenet_v2")
    assert model.class_names[:2] == ("tench", "goldfish")
    assert model.input_spec.crop_fraction == 224 / 232
    assert model.builder_args["num_classes"] == 1000


def test_weights_bring_the_options_that_they_were_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By create_model and by a run's ``init`` alike; an option that the caller names goes before them, and is said."""
    import timm

    from saccade.engine.train.config import TrainConfig
    from saccade.engine.train.setup import build_model
    from saccade.structures.dataset import DatasetInfo
    from saccade.weights.download import sha256_of
    from saccade.weights.published import PUBLISHED

    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    cached = tmp_path / "weights" / PUBLISHED["mobilenet_v1/imagenet"].file_name
    save_file(cached, timm.create_model("mobilenetv1_100").state_dict(), {})
    cached.with_name(cached.name + ".sha256").write_text(sha256_of(cached))
    assert create_model("mobilenet_v1").builder_args["activation"] == "relu"
    model = create_model("mobilenet_v1", weights="imagenet")
    assert model.builder_args["activation"] == "relu6"
    assert model.input_spec.mean == (127.5, 127.5, 127.5)
    config = TrainConfig(model="mobilenet_v1", weights="imagenet")
    info = DatasetInfo("three", "classification", ("a", "b", "c"))
    trained = build_model(config, info)
    assert (trained.builder_args["activation"], trained.num_classes) == ("relu6", 3)
    assert build_model(config, info, pretrained=False).builder_args["activation"] == "relu6"  # as a run resumes
    other = create_model("mobilenet_v1", activation="relu")
    assert "trained with activation='relu6', unlike this network" in str(load_weights(other, "imagenet"))
    config.model_args = {"activation": "relu"}
    assert build_model(config, info).builder_args["activation"] == "relu"
