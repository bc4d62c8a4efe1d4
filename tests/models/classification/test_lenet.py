from __future__ import annotations

import gzip
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from saccade.errors import ConfigError
from saccade.models.classification.lenet import ScaledTanh, SparseConvolution, Subsampling, digit_codes
from saccade.models.registry import create_model

# Table I of the paper, as its columns are printed: rows are the maps of S2, columns those of C3.
TABLE = (
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
)


def test_parameters_by_layer_add_up_to_the_papers_sum():
    modern, original = create_model("lenet5"), create_model("lenet5_1998")
    layers = {
        name: sum(parameter.numel() for parameter in modern.get_submodule(name).parameters())
        for name in ("c1", "c3", "c5", "f6", "output")
    }
    assert layers == {"c1": 156, "c3": 2416, "c5": 48120, "f6": 10164, "output": 850}
    assert sum(layers.values()) == sum(p.numel() for p in modern.parameters()) == 61706
    layers = {
        name: sum(parameter.numel() for parameter in original.get_submodule(name).parameters())
        for name in ("c1", "s2", "c3", "s4", "c5", "f6", "output")
    }
    assert layers == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164, "output": 0}
    assert sum(layers.values()) == sum(p.numel() for p in original.parameters()) == 60000


def test_macs(macs):
    assert macs(create_model("lenet5"), (1, 32, 32)) == 416520


def test_c3_sees_the_maps_of_table_one():
    torch.manual_seed(0)
    c3 = create_model("lenet5_1998").c3
    x = torch.randn(2, 6, 14, 14)
    out = c3(x)
    assert out.shape == (2, 16, 10, 10)
    kernels = iter(c3.weight)
    for column in range(16):
        expected = c3.bias[column].expand(2, 10, 10)
        for row in range(6):
            if TABLE[row][column] == "X":
                expected = expected + F.conv2d(x[:, row : row + 1], next(kernels)[None, None])[:, 0]
        torch.testing.assert_close(out[:, column], expected, rtol=1e-4, atol=1e-5)
    assert next(kernels, None) is None


def test_a_sparse_convolution_with_a_full_table_is_a_convolution():
    sparse = SparseConvolution(((0, 1), (0, 1), (0, 1)))
    x = torch.randn(1, 2, 9, 9)
    torch.testing.assert_close(sparse(x), F.conv2d(x, sparse.weight.view(3, 2, 5, 5), sparse.bias))


def test_subsampling_adds_four_pixels_and_squashing_keeps_one():
    layer = Subsampling(2)
    x = torch.randn(1, 2, 6, 4)
    for channel in range(2):
        block = x[0, channel, 2:4, 0:2].sum() * layer.weight[channel, 0, 0] + layer.bias[channel, 0, 0]
        torch.testing.assert_close(layer(x)[0, channel, 1, 0], block)
    ones = torch.tensor([1.0, -1.0])
    torch.testing.assert_close(ScaledTanh()(ones), ones, atol=1e-3, rtol=0)


def test_output_is_the_negative_squared_distance_to_images_of_the_digits():
    model = create_model("lenet5_1998").eval()
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    distances = torch.cdist(codes, codes)
    assert distances[~torch.eye(10, dtype=torch.bool)].min() > 4  # at least five of 84 dots differ
    x = torch.randn(3, 84)
    torch.testing.assert_close(model.output(x), torch.cdist(x, codes).square(), rtol=1e-4, atol=1e-3)
    # an F6 that shows a digit exactly is that digit
    probabilities = model.decode({"logits": -model.output(codes)})["probabilities"]
    assert probabilities.argmax(1).tolist() == list(range(10))


def test_criterion_is_equation_nine():
    torch.manual_seed(0)
    model = create_model("lenet5_1998").eval()
    images, labels = torch.randn(4, 1, 32, 32), [3, 1, 4, 1]
    penalties = -model(images)["logits"].double()
    expected = sum(
        y[label] + math.log(math.exp(-0.1) + sum(math.exp(-value) for value in y.tolist()))
        for y, label in zip(penalties, labels, strict=True)
    ) / len(labels)
    loss = model.loss(images, {"labels": torch.tensor(labels)})["classification"]
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    mixed = model.loss(images, {"labels": torch.eye(10)[labels]})["classification"]
    torch.testing.assert_close(mixed, loss)


def test_initial_weights_keep_the_papers_bound():
    model = create_model("lenet5_1998")
    assert model.f6.weight.abs().max() <= 2.4 / 120
    assert model.c5.weight.abs().max() <= 2.4 / 400
    assert model.c3.weight[-6:].abs().max() <= 2.4 / 150  # the last map sees all six
    assert model.c3.weight[0].abs().max() <= 2.4 / 75


def test_the_original_has_ten_classes_only():
    with pytest.raises(ConfigError, match="lenet5"):
        create_model("lenet5_1998", num_classes=26)
    assert create_model("lenet5", num_classes=26)(torch.zeros(1, 1, 32, 32))["logits"].shape == (1, 26)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998"])
def test_maps_lie_where_the_pixels_are(name):
    torch.manual_seed(0)
    model = create_model(name).eval()
    images = torch.zeros(1, 1, 64, 96)
    flat = model.features(images)
    assert [tuple(value.shape) for value in flat] == [(1, 6, 32, 48), (1, 16, 16, 24)]
    images[:, :, 40:44, 60:64] = 5.0
    for value, reference, stride in zip(model.features(images), flat, model.feature_strides, strict=True):
        change = (value - reference).abs().sum(1)[0]
        rows = (change.sum(1) * (torch.arange(len(change)) + 0.5)).sum() / change.sum() * stride
        columns = (change.sum(0) * (torch.arange(change.shape[1]) + 0.5)).sum() / change.sum() * stride
        assert abs(rows - 42) < 3
        assert abs(columns - 62) < 3


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998"])
def test_larger_images_are_averaged_over_locations(name):
    model = create_model(name).eval()
    image = torch.randn(1, 1, 32, 32)
    assert model(F.pad(image, (0, 8, 0, 20)))["logits"].shape == (1, 10)


def test_a_digit_of_28_pixels_becomes_32_without_interpolation():
    spec = create_model("lenet5").input_spec
    assert (spec.resize, spec.size, spec.pad_multiple, spec.align, spec.pad_value) == (
        "none",
        (32, 32),
        32,
        "center",
        0,
    )
    background, ink = ((value - spec.mean[0]) / spec.std[0] for value in (0, 255))
    assert (background, ink) == pytest.approx((-0.1, 1.175))


@pytest.mark.data("mnist")
@pytest.mark.parametrize(("name", "rate", "steps"), [("lenet5", 0.02, 40), ("lenet5_1998", 0.003, 100)])
def test_learns_a_few_real_digits(name, rate, steps, data_root):
    with gzip.open(data_root / "mnist" / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 784 * 32)[16:], np.uint8)
    with gzip.open(data_root / "mnist" / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + 32)[8:], np.uint8)
    torch.manual_seed(0)
    model = create_model(name)
    spec = model.input_spec
    images = F.pad(torch.from_numpy(pixels.reshape(-1, 1, 28, 28).copy()), (2, 2, 2, 2)).float()
    images = (images - spec.mean[0]) / spec.std[0]
    targets = {"labels": torch.from_numpy(labels.astype(np.int64))}
    optimiser = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    for _ in range(steps):
        loss = model.loss(images, targets)["classification"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    assert torch.isfinite(model.loss(images, targets)["classification"])
    assert (model.decode(model(images))["probabilities"].argmax(1) == targets["labels"]).all()
