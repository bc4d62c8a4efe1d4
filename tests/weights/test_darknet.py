"""Darknet's files: written here as its format says, read back to the same tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saccade.errors import WeightsError
from saccade.models.foreign_checkpoint import model_of_weights
from saccade.models.registry import create_model
from saccade.weights import load_weights
from saccade.weights.darknet import read_darknet, write_darknet


def _write(path: Path, layers: list[list[np.ndarray]], version: tuple[int, int] = (0, 2)) -> None:
    header = np.array([*version, 0], "<i4").tobytes()
    seen = np.array([64], "<i8" if version[0] * 10 + version[1] >= 2 else "<i4").tobytes()
    path.write_bytes(header + seen + b"".join(part.astype("<f4").tobytes() for layer in layers for part in layer))


def _darknet19(rng: np.random.Generator, classes: int) -> list[list[np.ndarray]]:
    """The layers of darknet19.cfg: filters and kernel sides, each with BatchNorm but the last."""
    layers, channels = [], 3
    for filters, side in (
        (32, 3), (64, 3), (128, 3), (64, 1), (128, 3), (256, 3), (128, 1), (256, 3), (512, 3), (256, 1), (512, 3),
        (256, 1), (512, 3), (1024, 3), (512, 1), (1024, 3), (512, 1), (1024, 3),
    ):  # fmt: skip
        norm = [
            rng.normal(size=filters),
            rng.uniform(0.5, 1, filters),
            rng.normal(size=filters),
            rng.uniform(1, 2, filters),
        ]
        layers.append([*norm, rng.normal(size=(filters, channels, side, side)) * 0.05])
        channels = filters
    return [*layers, [rng.normal(size=classes), rng.normal(size=(classes, channels, 1, 1))]]


@pytest.mark.parametrize("version", [(0, 1), (0, 2)], ids=str)
def test_layers_come_in_the_order_of_the_configuration(version: tuple[int, int], tmp_path: Path) -> None:
    layers = _darknet19(np.random.default_rng(0), 5)
    file = tmp_path / "darknet19.weights"
    _write(file, layers, version)
    model = create_model("darknet19", num_classes=5)
    report = load_weights(model, file)
    assert report.missing == report.unexpected == ()
    assert "Darknet" in str(report)
    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for layer, convolution, norm in zip(layers, convolutions, norms, strict=False):
        bias, scale, mean, variance, kernel = (torch.from_numpy(part).float() for part in layer)
        torch.testing.assert_close(convolution.weight.detach(), kernel)
        torch.testing.assert_close(norm.bias.detach(), bias)
        torch.testing.assert_close(norm.weight.detach(), scale)
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)
    torch.testing.assert_close(model.head.bias.detach(), torch.from_numpy(layers[-1][0]).float())


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    layers = _darknet19(np.random.default_rng(0), 5)
    file = tmp_path / "other.weights"
    _write(file, [*layers[:-1], layers[-1][:1]])  # of the last layer the biases alone
    with pytest.raises(WeightsError, match=r"other.weights' \(Darknet\) holds .* floats, and darknet19 has"):
        load_weights(create_model("darknet19", num_classes=5), file)
    file.write_bytes(b"short")
    with pytest.raises(WeightsError, match="less than the header"):
        load_weights(create_model("darknet19"), file)
    _write(file, layers)
    with pytest.raises(WeightsError, match="it ends in layer"):
        load_weights(create_model("cspdarknet53"), file)
    with pytest.raises(WeightsError, match="Check the path"):
        load_weights(create_model("darknet19"), tmp_path / "gone.weights")


def _backbone(path: Path, model: torch.nn.Module, layers: int) -> Path:
    """File of the first layers of a network, each with BatchNorm: what ``darknet partial`` writes."""
    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)][:layers]
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)][:layers]
    parts = [
        [part.detach().numpy() for part in (norm.bias, norm.weight, norm.running_mean, norm.running_var, conv.weight)]
        for conv, norm in zip(convolutions, norms, strict=True)
    ]
    _write(path, parts)
    return path


@pytest.mark.parametrize(
    ("file", "layers", "of", "whole"),
    [("yolov3-tiny.conv.15", 9, 13, True), ("some.weights", 2, 13, False)],  # of the backbone, seven
)
def test_backbones_are_read_as_the_first_layers_and_reported(
    file: str, layers: int, of: int, whole: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    theirs, model = create_model("yolov3_tiny", num_classes=3), create_model("yolov3_tiny", num_classes=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    # Anchors, which such files do not have, are counted too.
    report = load_weights(model, str(_backbone(tmp_path / file, theirs, layers)))
    assert f"Darknet, the first {layers} of {of} layers with weights, {5 * layers + 1} tensors loaded" in str(report)
    assert any(name.startswith("backbone.") for name in report.missing) is not whole
    assert "pyramid.predict5.weight" in report.missing
    for name, tensor in model.state_dict().items():
        if "num_batches" not in name and name != "anchor_sizes":
            assert torch.equal(tensor, before[name] if name in report.missing else theirs.state_dict()[name]), name
    # Enough to train from, not to predict.
    with pytest.raises(WeightsError, match="does not have all of yolov3_tiny, and its answers would be chance"):
        model_of_weights("yolov3_tiny", tmp_path / file)


def test_backbones_that_end_inside_a_layer_are_refused(tmp_path: Path) -> None:
    model = create_model("yolov3_tiny", num_classes=2)
    path = _backbone(tmp_path / "tiny.conv.15", model, 3)
    content = path.read_bytes()
    for length in (len(content) - 4, len(content) + 4 * 10, len(content) + 2, 20):
        path.write_bytes(content[:length] + bytes(max(length - len(content), 0)))
        with pytest.raises(WeightsError, match="it ends in layer"):
            read_darknet(path, model)
    with pytest.raises(WeightsError, match=r"no weights file 'darknet53\.conv\.74'"):
        load_weights(model, "darknet53.conv.74")


def test_a_file_may_end_between_the_halves_of_a_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs, model = create_model("cspdarknet53", num_classes=2), create_model("cspdarknet53", num_classes=2)
    whole = write_darknet(tmp_path / "whole.weights", theirs).read_bytes()
    # The stem, the first strided convolution, and the half of the next that the file has as a layer of its own.
    floats = (4 * 32 + 27 * 32) + (4 * 64 + 32 * 9 * 64) + (4 * 64 + 64 * 64)
    (tmp_path / "csp.conv.3").write_bytes(whole[: 20 + 4 * floats])
    report = load_weights(model, tmp_path / "csp.conv.3")
    assert report.recognised.startswith("Darknet, the first 3 of ")
    assert report.loaded == 10  # of two layers
    assert "stages.0.conv_exp.conv.weight" in report.missing
