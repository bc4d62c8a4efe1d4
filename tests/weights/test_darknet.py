"""Darknet's files: written here as its format says, read back to the same tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saccade.errors import WeightsError
from saccade.models.registry import create_model
from saccade.weights import load_weights


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
    _write(file, layers[:-1])
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
