"""U2-Net against a plain definition under the published names; its loss, sizes, start and files."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.models.segmentation.overfit import overfits_four_people
from torch import Tensor

from saccade.errors import WeightsError
from saccade.models.registry import create_model
from saccade.weights import load_weights
from saccade.weights.layouts import u2net as layout

# Table 1: stage, L of its block, channels of its input, inside, and of its result. Stages 5 and 6 are RSU-4F.
TABLE = {
    "u2net": """
        1 7 3 32 64;     2 6 64 32 128;   3 5 128 64 256;   4 4 256 128 512;   5 4 512 256 512;  6 4 512 256 512;
        5d 4 1024 256 512;  4d 4 1024 128 256;  3d 5 512 64 128;  2d 6 256 32 64;  1d 7 128 16 64""",
    "u2netp": """
        1 7 3 16 64;     2 6 64 16 64;    3 5 64 16 64;     4 4 64 16 64;      5 4 64 16 64;     6 4 64 16 64;
        5d 4 128 16 64;  4d 4 128 16 64;  3d 5 128 16 64;  2d 6 128 16 64;  1d 7 128 16 64""",
}


def rows(name: str) -> dict[str, tuple[int, ...]]:
    table = [row.split() for row in TABLE[name].split(";")]
    return {stage: tuple(map(int, numbers)) for stage, *numbers in table}


def published(name: str) -> dict[str, Tensor]:
    """A state dict under the authors' names, of random numbers."""
    state: dict[str, Tensor] = {}

    def add(layer: str, into: int, out: int) -> None:
        state[f"{layer}.conv_s1.weight"] = torch.randn(out, into, 3, 3) * (2 / (9 * into)) ** 0.5
        state[f"{layer}.conv_s1.bias"] = torch.randn(out) * 0.1
        state[f"{layer}.bn_s1.weight"] = torch.rand(out) + 0.5
        state[f"{layer}.bn_s1.bias"] = torch.randn(out) * 0.1
        state[f"{layer}.bn_s1.running_mean"] = torch.randn(out) * 0.1
        state[f"{layer}.bn_s1.running_var"] = torch.rand(out) + 0.5
        state[f"{layer}.bn_s1.num_batches_tracked"] = torch.tensor(7)

    for stage, (depth, into, inside, out) in rows(name).items():
        add(f"stage{stage}.rebnconvin", into, out)
        for level in range(1, depth + 1):
            add(f"stage{stage}.rebnconv{level}", out if level == 1 else inside, inside)
        for level in range(1, depth):
            add(f"stage{stage}.rebnconv{level}d", 2 * inside, out if level == 1 else inside)
    for side, stage in enumerate(("1d", "2d", "3d", "4d", "5d", "6"), start=1):
        out = rows(name)[stage][-1]
        state[f"side{side}.weight"], state[f"side{side}.bias"] = torch.randn(1, out, 3, 3) / 9, torch.randn(1)
    state["outconv.weight"], state["outconv.bias"] = torch.randn(1, 6, 1, 1), torch.randn(1)
    return state


class Plain:
    """The network of figures 2 and 5, one level inside of the other, straight from a state dict of the authors."""

    def __init__(self, state: dict[str, Tensor], name: str) -> None:
        self.state, self.rows = state, rows(name)

    def unit(self, name: str, x: Tensor, dilation: int) -> Tensor:
        weight, bias = self.state[f"{name}.conv_s1.weight"], self.state[f"{name}.conv_s1.bias"]
        x = F.conv2d(x, weight, bias, padding=dilation, dilation=dilation)
        norm = [self.state[f"{name}.bn_s1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *norm).relu()

    def half(self, x: Tensor) -> Tensor:
        """Maximum of every 2 x 2 pixels; at an odd end of those that are there."""
        height, width = x.shape[2:]
        x = F.pad(x, (0, width % 2, 0, height % 2), value=-torch.inf)
        return torch.stack([x[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]).amax(0)

    def resize(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)

    def level(self, stage: str, number: int, x: Tensor) -> Tensor:
        """What a block's levels from ``number`` on make of x, at the size of x."""
        depth, flat = self.rows[stage][0], stage[0] in "56"
        name, dilation = f"stage{stage}.rebnconv{number}", 2 ** (number - 1) if flat else 1
        if number == depth:
            return self.unit(name, x, dilation if flat else 2)
        here = self.unit(name, x, dilation)
        below = self.level(stage, number + 1, here if flat or number == depth - 1 else self.half(here))
        return self.unit(f"{name}d", torch.cat((self.resize(below, here), here), 1), dilation)

    def block(self, stage: str, x: Tensor) -> Tensor:
        first = self.unit(f"stage{stage}.rebnconvin", x, 1)
        return first + self.level(stage, 1, first)

    def stages(self, number: int, x: Tensor) -> list[Tensor]:
        """Outputs of the decoder from stage ``number`` on, fine to coarse; behind the last, stage 6."""
        here = self.block(str(number), x)
        if number == 6:
            return [here]
        coarser = self.stages(number + 1, self.half(here))
        return [self.block(f"{number}d", torch.cat((self.resize(coarser[0], here), here), 1)), *coarser]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Fusion, then the sides, before the sigmoid."""
        sides = []
        for side, x in enumerate(self.stages(1, images), start=1):
            score = F.conv2d(x, self.state[f"side{side}.weight"], self.state[f"side{side}.bias"], padding=1)
            sides.append(self.resize(score, images))
        return [F.conv2d(torch.cat(sides, 1), self.state["outconv.weight"], self.state["outconv.bias"]), *sides]


@torch.no_grad()
def test_a_file_of_the_authors_gives_all_seven_outputs(tmp_path):
    torch.manual_seed(0)
    state = published("u2netp")
    torch.save(state, tmp_path / "u2netp.pth")
    model = create_model("u2netp").eval()
    report = load_weights(model, tmp_path / "u2netp.pth")
    assert report.recognised == "official U2-Net"
    assert (report.missing, report.unexpected, report.head) == ((), (), ())
    for size in ((64, 96), (75, 101)):
        images = torch.randn(2, 3, *size)
        expected, found = Plain(state, "u2netp")(images), model.supervised(images)
        assert list(found) == ["logits", *(f"side{number}" for number in range(1, 7))]
        for one, other in zip(found.values(), expected, strict=True):
            assert one.shape == (2, 1, *size)
            assert (one - other).abs().max() <= 1e-4 * other.abs().max()
        assert torch.equal(model(images)["logits"], found["logits"])


@pytest.mark.parametrize("name", ["u2net", "u2netp"])
def test_layers_have_the_channels_of_the_papers_table(name):
    with torch.device("meta"):
        model, state = create_model(name), published(name)
    assert layout.matches(set(state))
    converted = layout.convert(state, model)
    assert {key: one.shape for key, one in converted.items()} == {
        key: one.shape for key, one in model.state_dict().items()
    }


def test_foreign_files_are_refused(tmp_path):
    model = create_model("u2netp", base_channels=8)
    torch.save(create_model("u2netp", base_channels=16).state_dict(), tmp_path / "wider.pth")
    with pytest.raises(WeightsError, match="It fits u2netp with base_channels=16"):
        load_weights(model, tmp_path / "wider.pth")
    torch.save(create_model("unet", base_channels=4).state_dict(), tmp_path / "unet.pth")
    with pytest.raises(WeightsError, match=r"unet\.pth"):
        load_weights(model, tmp_path / "unet.pth")


def test_the_loss_is_the_sum_of_seven_cross_entropies():
    torch.manual_seed(0)
    model = create_model("u2netp", base_channels=8).eval()
    images, labels = torch.randn(2, 3, 50, 70), torch.randint(0, 2, (2, 50, 70))
    labels[:, :10] = 255
    terms = model.loss(images, {"label_map": labels})
    known = labels != 255
    expected = [
        F.binary_cross_entropy(one.sigmoid()[:, 0][known], labels[known].float())
        for one in model.supervised(images).values()
    ]
    assert len(expected) == len(terms) == 7
    torch.testing.assert_close(sum(terms.values()), sum(expected))
    torch.testing.assert_close(terms["cross_entropy_side6"], expected[-1])


@torch.no_grad()
def test_maps_are_halved_and_rounded_up():
    model = create_model("u2netp", base_channels=8).eval()
    sizes = [tuple(one.shape[2:]) for one in model.features(torch.zeros(1, 3, 75, 101))]
    assert sizes == [(75, 101), (38, 51), (19, 26), (10, 13), (5, 7), (3, 4)]


def test_it_starts_as_the_paper_states():
    torch.manual_seed(0)
    layer = create_model("u2net", base_channels=16).encoder[5].bottom[0]  # 64 to 64, 3x3, by Xavier
    assert layer.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert not layer.bias.any()


@pytest.mark.data("human_segmentation")
def test_it_overfits_four_photographs(data_root):
    overfits_four_people(data_root, "u2netp", {"base_channels": 16}, size=64, steps=100)
