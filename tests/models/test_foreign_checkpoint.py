"""Files of weights of others become checkpoints: in their layouts, with their classes and input, for every verb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import saccade
from saccade.cli import main
from saccade.errors import ConfigError, DataError, WeightsError
from saccade.models.foreign_checkpoint import convert_weights, model_of_weights, read_class_names
from saccade.models.registry import create_model


def _randomise(module: torch.nn.Module) -> torch.nn.Module:
    """Statistics and scales that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(0)
    for one in module.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.running_mean.uniform_(-0.1, 0.1, generator=generator)
            one.running_var.uniform_(0.8, 1.2, generator=generator)
    return module.eval()


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A file in the layout of akamaster's replication, of three classes, and its network."""
    torch.manual_seed(0)
    network = _randomise(create_model("resnet20_cifar", num_classes=3, shortcut="padding"))
    path = tmp_path_factory.mktemp("weights") / "model.th"
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 90.0}, path)
    return path, network


def _pictures(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number, name in enumerate(("red", "green", "blue")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(2):
                pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
                pixels[..., number] += 150
                Image.fromarray(pixels).save(folder / f"{name}{index}.png")
    return root


def test_the_verbs_take_what_convert_wrote(
    cifar: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, network = cifar
    monkeypatch.chdir(tmp_path)
    data = _pictures(tmp_path / "pictures")
    Path("names.txt").write_text("blue\ngreen\nred\n")
    words = ["convert", str(file), "--model", "resnet20_cifar", "--out", "mine.safetensors", "--class-names"]
    assert main([*words, "names.txt"]) == 0
    said = capsys.readouterr().out
    assert "resnet20_cifar, shortcut='padding', 3 classes named blue, green, red" in said
    Path("mine.safetensors").unlink()
    assert main([*words, "names.txt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layout"] == "ResNet for CIFAR"

    model = saccade.load("mine.safetensors")
    assert model.class_names == ("blue", "green", "red")
    # the normalisation of akamaster's trainer, which is the published row's of this layout and option
    assert model.input_spec.mean == (123.675, 116.28, 103.53)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images)["logits"], network(images)["logits"])

    one = str(data / "val" / "red" / "red0.png")
    (result,) = saccade.predict("mine.safetensors", one)
    by_name = saccade.evaluate("resnet20_cifar", data, "val", weights=str(file)).values
    assert saccade.evaluate("mine.safetensors", data, "val").values == by_name
    assert sum(result.probabilities) == pytest.approx(1, abs=1e-5)
    written = saccade.export("mine.safetensors", "onnx", "mine.onnx").path
    (from_file,) = saccade.predict(written, one)
    assert np.allclose(from_file.probabilities, result.probabilities, atol=1e-4)
    config = ["--epochs", "1", "--data.batch-size", "3", "--data.workers", "0", "--name", "more"]
    start = ["train", "--model", "resnet20_cifar", "--model-args.shortcut", "padding", "--data", str(data)]
    assert main([*start, "--weights", "mine.safetensors", *config]) == 0


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v1_0_25", "yolox_nano"])
def test_layouts_of_other_projects(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "theirs.pth"
    if name == "resnet18":
        state = _randomise(torchvision.models.resnet18(num_classes=4)).state_dict()
    elif name == "mobilenet_v1_0_25":
        from timm.models.efficientnet import _gen_mobilenet_v1

        state = _gen_mobilenet_v1("mobilenetv1_025", 0.25, num_classes=4).state_dict()
    else:
        state = {"model": create_model(name, num_classes=4).state_dict(), "start_epoch": 3}
    torch.save(state, file)
    converted = convert_weights(file, tmp_path / "mine.safetensors", name, ("a", "b", "c", "d"))
    model = saccade.load(converted.path)
    assert (model.num_classes, model.class_names, converted.loaded.missing) == (4, ("a", "b", "c", "d"), ())
    own = model_of_weights(name, file)
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = model(image), own(image)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_darknets_file_tells_its_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with torch.device("meta"):
        body = create_model("darknet19", num_classes=5)
    count = sum(value.numel() for name, value in body.state_dict().items() if not name.endswith("tracked"))
    header = np.array([0, 2, 0, 0, 0], "<i4").tobytes()
    (tmp_path / "d.weights").write_bytes(header + rng.uniform(0.5, 1, count).astype("<f4").tobytes())
    whole = create_model("darknet19", weights=str(tmp_path / "d.weights"))
    assert whole.num_classes == 5
    other = create_model("darknet19", num_classes=7, weights=str(tmp_path / "d.weights"))
    assert other.num_classes == 7
    body, own = whole.state_dict(), other.state_dict()
    same = {name for name in own if torch.equal(own[name], body[name])}
    assert {name for name in own if name not in same} <= set(other.class_rows)  # a head of its own, nothing else
    (tmp_path / "d.weights").write_bytes((tmp_path / "d.weights").read_bytes()[:-4])
    with pytest.raises(WeightsError, match=r"d.weights"):
        create_model("darknet19", weights=str(tmp_path / "d.weights"))


def test_published_files_are_known_by_their_names(cifar: tuple[Path, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = create_model("resnet20_cifar").state_dict()
    named = {name.replace("linear.", "fc."): value for name, value in state.items()}
    torch.save(named, tmp_path / "cifar10_resnet20-4118986f.pt")
    model = model_of_weights("resnet20_cifar", tmp_path / "cifar10_resnet20-4118986f.pt")
    assert model.class_names[:2] == ("airplane", "automobile")
    assert model.input_spec.std == (51.5865, 50.847, 51.255)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"class_names": ("a", "b")}, ConfigError, "has 3 classes, and 2 class names were given"),
        ({"model": "resnet32_cifar"}, WeightsError, "It fits resnet20_cifar with shortcut='padding'"),
        ({"model": "resnet19"}, ConfigError, "unknown model 'resnet19'"),
        ({"out": "mine.pth"}, ConfigError, "End it with .safetensors"),
        ({"arguments": {"shortcut": "projection"}}, WeightsError, "with shortcut='padding'"),
        ({"arguments": {"shortcuts": "x"}}, ConfigError, "has no option 'shortcuts'"),
        ({"arguments": {"num_classes": 5}}, WeightsError, "its answers would be chance: 2: linear.weight"),
        ({"weights": "gone.pth"}, WeightsError, "no weights file 'gone.pth'"),
    ],
)
def test_what_cannot_be_converted_is_said(
    options: dict[str, Any], error: type[Exception], message: str, cifar: tuple[Path, Any], tmp_path: Path
) -> None:
    given = {"weights": cifar[0], "out": tmp_path / "mine.safetensors", "model": "resnet20_cifar", **options}
    with pytest.raises(error, match=message):
        convert_weights(**given)
    assert not (tmp_path / "mine.safetensors").exists()


def test_a_file_without_a_head_predicts_nothing(tmp_path: Path) -> None:
    state = create_model("resnet20_cifar").state_dict()
    torch.save({name: value for name, value in state.items() if "linear" not in name}, tmp_path / "body.pth")
    with pytest.raises(WeightsError, match=r"does not have all of resnet20_cifar.*linear.*Train it first"):
        saccade.predict("resnet20_cifar", np.zeros((32, 32, 3), np.uint8), weights=str(tmp_path / "body.pth"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no class"),
        ("cat\n\ndog\n", "line 2: it is empty"),
        ("cat\ndog\ncat\n", "line 3: 'cat' occurs twice"),
    ],
)
def test_lists_of_class_names(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_names(tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"to": "coco", "model": "resnet18"}, "give one of them"),
        ({}, "nothing says what to write"),
        ({"to": "coco", "class_names": "n.txt"}, "belong to a model"),
    ],
)
def test_a_format_or_a_model(words: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        saccade.convert(tmp_path, tmp_path / "out", **words)
