"""Receptive fields against published figures, and against the pixels that have a gradient."""

from __future__ import annotations

import math

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
    assert field == (side, 4)


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
