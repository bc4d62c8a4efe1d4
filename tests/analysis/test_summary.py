from __future__ import annotations

import resource
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.analysis import summary
from saccade.errors import ConfigError
from saccade.models.base import Model, Outputs
from saccade.models.registry import create_model
from saccade.structures.input_spec import InputSpec


@pytest.mark.parametrize("name", ["resnet18", "yolox_nano", "unet"])
def test_leaves_add_up_to_the_whole(name: str) -> None:
    report = summary(name)
    leaves = [row for row in report.rows if row.leaf]
    assert sum(row.params for row in leaves) == report.params
    assert sum(row.macs for row in leaves) == report.macs


def test_table_shows_modules_shapes_and_totals() -> None:
    report = summary("resnet18", num_classes=7)
    text = str(report)
    assert text.splitlines()[0] == "resnet18 at 3 x 224 x 224"
    assert "64 x 112 x 112" in text
    assert f"{report.params:,}" in text
    assert f"{report.macs:,}" in text
    assert "conv1" in text
    rows = {row.name: row for row in report.rows}
    assert rows["fc"].output_shape == (1, 7)
    assert rows["fc"].macs == 512 * 7
    assert rows["layer1"].params == rows["layer1.0"].params + rows["layer1.1"].params


def test_no_weights_are_allocated() -> None:
    """yolox_x has 99 M parameters, 396 MB; the peak of this process may not rise by a tenth of that."""
    summary("yolox_nano")  # imports and caches
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert summary("yolox_x").params == 99_071_455
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KiB


def test_a_network_of_the_user_stays_as_it_is() -> None:
    model = create_model("resnet18", num_classes=4).train()
    model.bn1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = summary(model, input_size=(64, 96))
    assert report.input_shape == (3, 64, 96)
    assert report.params == sum(p.numel() for p in model.parameters())
    assert model.training
    assert not model.bn1.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Parts(Model):
    """One of each thing that is counted, and some that are not, small enough to count by hand."""

    task = "classification"
    input_spec = InputSpec(size=(8, 8))
    num_classes = 2

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(3, 6, 3, padding=1, groups=3)
        self.norm = nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.shared = nn.Conv2d(4, 4, 1, bias=False)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, images: Tensor) -> Outputs:
        x = F.interpolate(self.up(self.norm(self.grouped(images)).relu()), scale_factor=0.5)
        x = self.shared(self.shared(x))
        tokens = x.flatten(2).transpose(1, 2)
        return {"logits": self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1)}


def test_macs_counted_by_hand() -> None:
    model = Parts().train()
    grouped = 8 * 8 * 6 * (1 * 9)
    up = 16 * 16 * 4 * 6  # every output of a 2x2 / 2 transposed convolution sees one input pixel
    shared = 2 * 8 * 8 * 4 * 4  # two calls
    n, d = 64, 4
    attention = n * d * 3 * d + 2 * n * n * d + n * d * d  # projections, the two products, the output
    report = summary(model)
    assert report.macs == grouped + up + shared + attention
    rows = {row.name: row for row in report.rows}
    assert (rows["grouped"].macs, rows["up"].macs, rows["shared"].macs) == (grouped, up, shared)
    assert rows["norm"].macs == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name_or_model": "resnet5"}, "unknown model 'resnet5'.*resnet50"),
        ({"name_or_model": "resnet18", "input_size": (1, 64, 64)}, "takes 3 channels"),
        ({"name_or_model": "resnet18", "input_size": (64,)}, r"input_size is \(H, W\) or \(C, H, W\)"),
        ({"name_or_model": "lenet5", "input_size": (8, 8)}, "'lenet5' cannot take images of 1 x 8 x 8"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        summary(**arguments)


def test_num_classes_of_a_network_cannot_be_changed() -> None:
    with pytest.raises(ConfigError, match=r"num_classes=5 .* has 10"):
        summary(create_model("lenet5"), num_classes=5)
