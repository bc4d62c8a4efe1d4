"""Receptive fields against published figures, and against the pixels that have a gradient."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor, nn

from saccade.analysis.receptive_field import FieldTracer
from saccade.analysis.summary import summary
from saccade.models.registry import create_model


# Araujo, Norris, Sim, Distill 2019 (table of networks): C5 of ResNets, pool5 of VGG. AlexNet's last stage ends before
# its pool5, whose window of 3 at stride 16 makes the 195 of the table.
@pytest.mark.parametrize(
    ("name", "field", "stride"),
    [("vgg16", 212, 32), ("alexnet", 195 - 2 * 16, 16), ("resnet50_v1", 483, 32), ("mobilenet_v1", 315, 32)],
)
def test_fields_are_the_published_ones(name: str, field: int, stride: int) -> None:
    stages = [stage for stage in summary(name).stages if stage.stride is not None]
    assert stages[-1].receptive_field == field
    assert stages[-1].stride == stride


def test_strides_are_those_of_the_features() -> None:
    with torch.device("meta"):
        model = create_model("resnet18", output_stride=8)
    assert [row.stride for row in summary(model).stages] == [2, 2, 4, 8, 8, 8]


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3, 2, padding=1)
        self.second = nn.Conv2d(1, 1, 3, padding=2, dilation=2)
        self.pool = nn.AvgPool2d(3, 2, padding=1)
        self.third = nn.Conv2d(1, 1, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.second(x)
        return self.third(self.pool(x)) * torch.sigmoid(x.mean((2, 3), keepdim=True))


def test_field_is_what_gradients_reach() -> None:
    """Positive weights, no gate: the pixels with a gradient are the field."""
    net = _Net()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)
    images = torch.ones(1, 1, 96, 96, requires_grad=True)
    x = net.first(images)
    x = net.third(net.pool(x + net.second(x)))
    (gradient,) = torch.autograd.grad(x[0, 0, 12, 12], images)
    rows = gradient[0, 0].sum(1).nonzero().flatten()
    side = int(rows[-1] - rows[0]) + 1
    meta = net.to("meta")
    pixels = torch.empty(1, 1, 96, 96, device="meta")
    with torch.no_grad(), FieldTracer(pixels) as tracer:
        field = tracer.of(meta(pixels))  # the gate of the forward pass is left out
    assert field is not None
    assert field[:2] == (side, 4)
    assert field.centre(12) == (int(rows[0]) + int(rows[-1]) + 1) / 2


def _random_layers(rng: random.Random) -> nn.Sequential:
    """Layers of positive weights, over maps that stay large enough for the field of a middle location.

    The maximum of equal values has a gradient at one of them only; a mean has the same geometry.
    """
    layers: list[nn.Module] = []
    for _ in range(rng.randint(2, 4)):
        kernel, stride, dilation = rng.randint(1, 4), rng.randint(1, 2), rng.randint(1, 2)
        padding = rng.randint(0, kernel // 2)
        kind = rng.choice(("conv", "average", "pad"))
        if kind == "conv":
            layers.append(nn.Conv2d(1, 1, kernel, stride, padding, dilation, bias=False))
            nn.init.constant_(layers[-1].weight, 1.0)
        elif kind == "average":
            layers.append(nn.AvgPool2d(kernel, stride, padding, ceil_mode=True))
        else:
            layers.append(nn.ZeroPad2d((rng.randint(-2, 3), 1, rng.randint(0, 3), 2)))
    return nn.Sequential(*layers)


def _reached_and_traced(layers: nn.Module, size: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """First and last column that the middle location has a gradient at, and those of its field."""
    images = torch.ones(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    maps = layers.double()(images)
    place = maps.shape[3] // 2
    (gradient,) = torch.autograd.grad(maps[0, 0, maps.shape[2] // 2, place], images)
    columns = gradient[0, 0].sum(0).nonzero().flatten()
    pixels = torch.empty(1, 1, size, size, device="meta")
    with torch.no_grad(), FieldTracer(pixels) as tracer:
        field = tracer.of(layers.to("meta")(pixels))
    assert field is not None
    middle, half = field.centre(place), field.side / 2
    return (int(columns[0]), int(columns[-1]) + 1), (middle - half, middle + half)


@pytest.mark.parametrize("seed", range(40))
def test_fields_of_random_layers_are_where_gradients_reach(seed: int) -> None:
    reached, traced = _reached_and_traced(_random_layers(random.Random(seed)), 75)
    assert reached == traced


@pytest.mark.parametrize(("mode", "neighbours"), [("nearest", 0), ("bilinear", 1), ("bicubic", 3)])
@pytest.mark.parametrize("corners", [False, True])
def test_fields_of_resized_maps_hold_what_gradients_reach(mode: str, neighbours: int, corners: bool) -> None:
    """A location between two of the smaller map sees both; the field may lie up to half a stride beside it."""
    upsample = nn.Upsample(scale_factor=3, mode=mode, align_corners=None if mode == "nearest" else corners)
    layers = nn.Sequential(nn.AvgPool2d(4), upsample, nn.AvgPool2d(3, 1))
    reached, traced = _reached_and_traced(layers, 84)
    assert traced[1] - traced[0] == pytest.approx(
        4 + 4 * neighbours + 2 * 4 * 20 / 62 if corners and neighbours else 4 + 4 * neighbours + 2 * 4 / 3
    )
    assert traced[0] - 4 / 2 - 4 / 3 <= reached[0] <= traced[0] + 4 * (neighbours + 1)
    assert traced[1] - 4 * (neighbours + 1) <= reached[1] <= traced[1] + 4 / 2 + 4 / 3


def test_the_field_of_a_transposed_convolution_is_around_its_centre() -> None:
    """Kernel 4, stride 2, padding 1: an output pixel sees two locations, and lies a quarter beside their middle."""
    layer = nn.ConvTranspose2d(1, 1, 4, 2, 1, bias=False)
    pixels = torch.empty(1, 1, 16, 16, device="meta")
    with torch.no_grad(), FieldTracer(pixels) as tracer:
        field = tracer.of(layer.to("meta")(pixels))
    assert field == (2.0, 0.5, 0.25)


def test_crops_move_the_field_and_leave_its_size() -> None:
    pixels = torch.empty(1, 1, 64, 64, device="meta")
    with torch.no_grad(), FieldTracer(pixels) as tracer:
        whole = torch.nn.functional.max_pool2d(pixels, 2)
        cut, rest = tracer.of(whole[:, :, 5:15, 3:]), tracer.of(whole[:, :1, 5:])
    assert cut == (2.0, 2.0, 1.0 + 3 * 2)
    assert rest == (2.0, 2.0, 1.0)


@pytest.mark.parametrize("name", ["vit_ti_16", "mobilevit_xxs"])
def test_attention_sees_the_whole_image(name: str) -> None:
    assert math.isinf(summary(name).stages[-1].receptive_field)


def test_windows_grow_the_field_step_by_step() -> None:
    stages = summary("swin_t").stages
    # Patches of 4, two blocks of windows of 7 at stride 4.
    assert stages[1].receptive_field == 4 + 2 * 6 * 4
    # Merging sees one token more, two blocks at stride 8 add six tokens each, and so on.
    assert stages[2].receptive_field == 52 + 4 + 2 * 6 * 8
    assert stages[3].receptive_field == 152 + 8 + 6 * 6 * 16
    assert [stage.stride for stage in stages[:5]] == [4, 4, 8, 16, 32]


def test_squeeze_and_excitation_is_left_out() -> None:
    assert all(math.isfinite(stage.receptive_field) for stage in summary("efficientnet_b0").stages)


def test_the_papers_figures_are_printed_beside_the_counted_ones() -> None:
    text = str(summary("mobilenet_v2"))
    assert "paper, table 4" in text
    assert "3,400,000" in text
    assert "receptive field" in text
    assert summary("mobilenet_v2", num_classes=7).reported is None  # another network than the paper's
