"""Every layer of Darknet against a plain definition in NumPy loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from saccade.models.darknet.activations import ACTIVATIONS, make_activation
from saccade.models.darknet.cfg import parse_cfg
from saccade.models.darknet.graph import DarknetBody, build_body

Array = NDArray[np.float64]


def body_of(layers: str, shape: tuple[int, int, int] = (4, 6, 8)) -> DarknetBody:
    net = f"[net]\nchannels={shape[0]}\nheight={shape[1]}\nwidth={shape[2]}\n"
    body, known = build_body(parse_cfg(net + layers))
    generator = torch.Generator().manual_seed(1)
    for name, value in body.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) - (0 if "var" in name else 0.5))
    body.eval().double()
    out = body(torch.zeros(1, *shape).double(), [len(known) - 1])[0]
    assert tuple(out.shape[1:]) == tuple(known[-1].output)  # shapes are known before a layer is made
    return body


def run(body: DarknetBody, x: Tensor, number: int | None = None) -> Array:
    number = len(body.layers) - 1 if number is None else number
    with torch.no_grad():
        return body(x, [number])[0].numpy()


def image(shape: tuple[int, int, int] = (4, 6, 8), batch: int = 2) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def values(body: DarknetBody, name: str) -> Array:
    return body.state_dict()[name].numpy()


SCALAR: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "leaky": lambda x: x if x > 0 else 0.1 * x,
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "logistic": lambda x: 1 / (1 + math.exp(-x)),
    "loggy": lambda x: 2 / (1 + math.exp(-x)) - 1,
    "tanh": math.tanh,
    "elu": lambda x: x if x >= 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507 * (x if x >= 0 else 1.6732 * (math.exp(x) - 1)),
    "gelu": lambda x: 0.5 * x * (1 + math.tanh(0.797885 * x + 0.035677 * x**3)),
    "ramp": lambda x: x * (x > 0) + 0.1 * x,
    "plse": lambda x: 0.01 * (x + 4) if x < -4 else 0.01 * (x - 4) + 1 if x > 4 else 0.125 * x + 0.5,
    "stair": lambda x: (
        math.floor(x / 2) if math.floor(x) % 2 == 0 else x - math.floor(x) + math.floor(math.floor(x) / 2)
    ),
    "hardtan": lambda x: min(max(x, -1), 1),
    "lhtan": lambda x: 0.001 * x if x < 0 else 0.001 * (x - 1) + 1 if x > 1 else x,
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "swish": lambda x: x / (1 + math.exp(-x)),
    "hard_mish": lambda x: x if x > 0 else x * x / 2 + x if x > -2 else 0,
    "relie": lambda x: x if x > 0 else 0.01 * x,
}


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations(name: str) -> None:
    points = [-6.5, -4.2, -2.5, -1.7, -0.3, 0.2, 0.9, 1.4, 2.6, 3.3, 4.5, 7.1]
    found = make_activation(name)(torch.tensor(points, dtype=torch.float64)).tolist()
    # Constants of selu and gelu have four to six digits in Darknet.
    assert found == pytest.approx([SCALAR[name](x) for x in points], abs=2e-4)


def convolve(x: Array, weight: Array, stride: tuple[int, int], pad: int, dilation: int, groups: int) -> Array:
    B, C, H, W = x.shape
    n, c, k, _ = weight.shape
    reach = dilation * (k - 1) + 1
    height, width = (H + 2 * pad - reach) // stride[0] + 1, (W + 2 * pad - reach) // stride[1] + 1
    padded = np.zeros((B, C, H + 2 * pad, W + 2 * pad))
    padded[:, :, pad : pad + H, pad : pad + W] = x
    out = np.zeros((B, n, height, width))
    for f in range(n):
        first = f // (n // groups) * c
        for i in range(height):
            for j in range(width):
                top, left = i * stride[0], j * stride[1]
                window = padded[:, first : first + c, top : top + reach : dilation, left : left + reach : dilation]
                out[:, f, i, j] = (window * weight[f]).sum(axis=(1, 2, 3))
    return out


@pytest.mark.parametrize(
    ("keys", "stride", "pad", "dilation", "groups"),
    [
        ("size=3\nstride=2\npad=1", (2, 2), 1, 1, 1),
        ("size=3\npad=1\ngroups=2", (1, 1), 1, 1, 2),
        ("size=3\npad=1\ndilation=2", (1, 1), 2, 2, 1),
        ("size=2\npadding=1\nstride_x=2\nstride_y=1", (1, 2), 1, 1, 1),
        ("size=1\npad=1\ngroups=4", (1, 1), 0, 1, 4),
    ],
)
@pytest.mark.parametrize("normalized", [False, True])
def test_convolutional(
    keys: str, stride: tuple[int, int], pad: int, dilation: int, groups: int, normalized: bool
) -> None:
    body = body_of(f"[convolutional]\nfilters=8\n{keys}\nactivation=leaky\nbatch_normalize={int(normalized)}")
    x = image()
    out = convolve(x.numpy(), values(body, "layers.0.conv.weight"), stride, pad, dilation, groups)
    if normalized:
        mean, variance, scale, bias = (
            values(body, f"layers.0.bn.{part}")[:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        out = (out - mean) / np.sqrt(variance + 1e-5) * scale + bias
    else:
        out = out + values(body, "layers.0.conv.bias")[:, None, None]
    np.testing.assert_allclose(run(body, x), np.where(out > 0, out, 0.1 * out), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("keys", "size", "stride", "padding"),
    [
        ("size=2\nstride=2", 2, (2, 2), 1),
        ("size=2\nstride=1", 2, (1, 1), 1),
        ("size=5\nstride=1", 5, (1, 1), 4),
        ("size=3\nstride=2\npadding=0", 3, (2, 2), 0),
        ("size=3\nstride=2\npadding=1", 3, (2, 2), 1),
        ("size=2\nstride_x=1\nstride_y=2", 2, (2, 1), 1),
        ("stride=2", 2, (2, 2), 1),
    ],
)
@pytest.mark.parametrize("shape", [(4, 6, 8), (4, 7, 9)])
def test_maxpool(keys: str, size: int, stride: tuple[int, int], padding: int, shape: tuple[int, int, int]) -> None:
    x = image(shape)
    height, width = ((side + padding - size) // step + 1 for side, step in zip(shape[1:], stride, strict=True))
    out = np.full((2, shape[0], height, width), -np.inf)
    for i in range(height):
        for j in range(width):
            for dy in range(size):
                for dx in range(size):
                    row, column = i * stride[0] + dy - padding // 2, j * stride[1] + dx - padding // 2
                    if 0 <= row < shape[1] and 0 <= column < shape[2]:
                        out[:, :, i, j] = np.maximum(out[:, :, i, j], x.numpy()[:, :, row, column])
    np.testing.assert_array_equal(run(body_of(f"[maxpool]\n{keys}", shape), x), out)


def reorg(x: Array, s: int, forward: bool) -> Array:
    """The loop of Darknet's ``reorg_cpu`` over the numbers of an image, in its own indices."""
    B, C, H, W = x.shape
    inner = C // (s * s)
    flat, out = x.reshape(B, -1), np.zeros((B, x[0].size))
    for k in range(C):
        for j in range(H):
            for i in range(W):
                here = i + W * (j + H * k)
                offset = k // inner
                there = i * s + offset % s + W * s * (j * s + offset // s + H * s * (k % inner))
                if forward:
                    out[:, there] = flat[:, here]
                else:
                    out[:, here] = flat[:, there]
    return out


def test_reorg_has_the_odd_order_of_the_original() -> None:
    shape = (8, 4, 6)
    x = image(shape)
    found = run(body_of("[reorg]\nstride=2", shape), x)
    np.testing.assert_array_equal(found, reorg(x.numpy(), 2, forward=False).reshape(2, 32, 2, 3))
    back = run(body_of("[reorg]\nstride=2\nreverse=1", shape), x)
    np.testing.assert_array_equal(back, reorg(x.numpy(), 2, forward=True).reshape(2, 2, 8, 12))


def test_reorg3d_is_space_to_depth() -> None:
    x = image()
    found = run(body_of("[reorg3d]\nstride=2"), x)
    for block in range(4):
        expected = x.numpy()[:, :, block // 2 :: 2, block % 2 :: 2]
        np.testing.assert_array_equal(found[:, 4 * block : 4 * block + 4], expected)


def test_upsample_avgpool_dropout_and_crop() -> None:
    x = image()
    upsampled = run(body_of("[upsample]\nstride=2\nscale=0.5"), x)
    np.testing.assert_allclose(upsampled, 0.5 * x.numpy().repeat(2, axis=2).repeat(2, axis=3))
    np.testing.assert_allclose(run(body_of("[avgpool]"), x)[:, :, 0, 0], x.numpy().mean(axis=(2, 3)))
    np.testing.assert_array_equal(run(body_of("[dropout]\nprobability=0.5"), x), x.numpy())
    crop = "[crop]\ncrop_height=4\ncrop_width=5\n"
    np.testing.assert_allclose(run(body_of(crop), x), 2 * x.numpy()[:, :, 1:5, 1:6] - 1)
    np.testing.assert_array_equal(run(body_of(f"{crop}noadjust=1"), x), x.numpy()[:, :, 1:5, 1:6])


@pytest.mark.parametrize("normalized", [False, True])
def test_connected(normalized: bool) -> None:
    body = body_of(f"[connected]\noutput=5\nactivation=relu\nbatch_normalize={int(normalized)}")
    x = image()
    out = x.numpy().reshape(2, -1) @ values(body, "layers.0.fc.weight").T
    if normalized:
        mean, variance, scale, bias = (
            values(body, f"layers.0.bn.{part}") for part in ("running_mean", "running_var", "weight", "bias")
        )
        out = (out - mean) / np.sqrt(variance + 1e-5) * scale + bias
    else:
        out = out + values(body, "layers.0.fc.bias")
    np.testing.assert_allclose(run(body, x)[:, :, 0, 0], np.maximum(out, 0), atol=1e-9)


@pytest.mark.parametrize(("stride", "pad"), [(1, 1), (2, 1), (1, 0)])
def test_local(stride: int, pad: int) -> None:
    body = body_of(f"[local]\nfilters=3\nsize=3\nstride={stride}\npad={pad}\nactivation=linear")
    x = image()
    weight, bias = values(body, "layers.0.weight"), values(body, "layers.0.bias")
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((2, *bias.shape))
    for i in range(bias.shape[1]):
        for j in range(bias.shape[2]):
            window = padded[:, :, i * stride : i * stride + 3, j * stride : j * stride + 3].reshape(2, -1)
            out[:, :, i, j] = window @ weight[i * bias.shape[2] + j].T + bias[:, i, j]
    np.testing.assert_allclose(run(body, x), out, atol=1e-9)


def test_route_joins_layers_and_takes_groups_of_each() -> None:
    layers = "[maxpool]\nsize=1\n[upsample]\nstride=1\nscale=2\n"
    x = image().numpy()
    joined = run(body_of(f"{layers}[route]\nlayers=-1, 0"), image())
    np.testing.assert_allclose(joined, np.concatenate((2 * x, x), axis=1))
    halves = run(body_of(f"{layers}[route]\nlayers=-1,-2\ngroups=2\ngroup_id=1"), image())
    np.testing.assert_allclose(halves, np.concatenate((2 * x[:, 2:], x[:, 2:]), axis=1))


@pytest.mark.parametrize("weighting", ["none", "per_feature", "per_channel"])
@pytest.mark.parametrize("normalization", ["none", "relu", "softmax"])
def test_shortcut_of_several_layers_with_weights(weighting: str, normalization: str) -> None:
    layers = "[maxpool]\nsize=1\n[upsample]\nstride=1\nscale=2\n[upsample]\nstride=1\nscale=3\n"
    text = f"[shortcut]\nfrom=-2,0\nweights_type={weighting}\nweights_normalization={normalization}\nactivation=leaky"
    body = body_of(layers + text)
    x = image().numpy()
    parts = [6 * x, 2 * x, x]
    shares = np.ones((3, 1))
    if weighting != "none":
        weight = values(body, "layers.3.weight")
        shares = weight
        if normalization == "relu":
            positive = np.maximum(weight, 1e-3)
            shares = positive / (positive.sum(axis=0) + 1e-4)
        if normalization == "softmax":
            powers = np.exp(weight - weight.max(axis=0))
            shares = powers / (powers.sum(axis=0) + 1e-4)
    out = sum(share[:, None, None] * part for share, part in zip(shares, parts, strict=True))
    np.testing.assert_allclose(run(body, image()), np.where(out > 0, out, 0.1 * out), atol=1e-9)


def test_shortcut_between_maps_of_unequal_size_adds_what_they_share() -> None:
    x = image()
    body = body_of("[convolutional]\nfilters=6\nsize=1\nstride=2\nactivation=linear\n[shortcut]\nfrom=-1")
    assert run(body, x).shape == (2, 6, 3, 4)
    text = "[maxpool]\nsize=1\n[convolutional]\nfilters=6\nstride=2\nactivation=linear\n[shortcut]\nfrom=0"
    body = body_of(text)
    small = run(body, x, 1)
    small[:, :4] += x.numpy()[:, :, ::2, ::2]
    np.testing.assert_allclose(run(body, x), small)
    text = "[convolutional]\nfilters=2\nstride=2\nactivation=linear\n[upsample]\nstride=2\n[shortcut]\nfrom=0"
    body = body_of(text)
    large = run(body, x, 1)
    large[:, :, ::2, ::2] += run(body, x, 0)
    np.testing.assert_allclose(run(body, x), large)


def test_scale_channels_and_sam() -> None:
    x = image()
    text = "[maxpool]\nsize=1\n[avgpool]\n[scale_channels]\nfrom=0\nactivation=logistic"
    product = x.numpy() * x.numpy().mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(run(body_of(text), x), 1 / (1 + np.exp(-product)))
    text = "[maxpool]\nsize=1\n[convolutional]\nfilters=1\nactivation=linear\n[scale_channels]\nfrom=0\nscale_wh=1"
    body = body_of(text)
    np.testing.assert_allclose(run(body, x), x.numpy() * run(body, x, 1))
    np.testing.assert_allclose(
        run(body_of("[maxpool]\nsize=1\n[upsample]\nstride=1\n[sam]\nfrom=0"), x), x.numpy() ** 2
    )
