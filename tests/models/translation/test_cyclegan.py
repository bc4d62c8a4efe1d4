"""CycleGAN: counts, the authors' names, terms by hand, calls of each generator, buffers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.registry import create_model
from saccade.models.translation.cyclegan import CycleGAN, ImageHistory, PatchGAN, ResnetGenerator, patchgan70
from saccade.weights.load import load_weights

TERMS = {
    "none": ["generator_ab", "generator_ba", "identity_a", "identity_b"],
    "half": ["generator_ab", "generator_ba", "cycle_a", "identity_a", "identity_b"],
    "full": ["generator_ab", "generator_ba", "cycle_a", "cycle_b", "identity_a", "identity_b"],
}


def small(**options: object) -> CycleGAN:
    torch.manual_seed(0)
    return CycleGAN(blocks=2, base_channels=4, discriminator_channels=4, **options)


def domains(batch: int = 2, side: int = 32) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = 2 * torch.rand(batch, 3, side, side, generator=generator) - 1
    others = torch.randint(0, 256, (batch, side, side, 3), generator=generator, dtype=torch.uint8)
    return images, {"target_image": others, "paired": torch.zeros(batch, dtype=torch.bool)}


def authors_generator(blocks: int, dropout: bool = False) -> nn.Sequential:
    """The layers in the order in which the authors' files number them."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            drop = [nn.Dropout(0.5)] if dropout else []
            layers = [nn.ReflectionPad2d(1), nn.Conv2d(16, 16, 3), nn.InstanceNorm2d(16), nn.ReLU(), *drop]
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(16, 16, 3), nn.InstanceNorm2d(16)]
            self.conv_block = nn.Sequential(*layers)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.conv_block(x)

    down = [nn.Conv2d(4, 8, 3, 2, 1), nn.InstanceNorm2d(8), nn.ReLU()]
    down += [nn.Conv2d(8, 16, 3, 2, 1), nn.InstanceNorm2d(16), nn.ReLU()]
    up = [nn.ConvTranspose2d(16, 8, 3, 2, 1, 1), nn.InstanceNorm2d(8), nn.ReLU()]
    up += [nn.ConvTranspose2d(8, 4, 3, 2, 1, 1), nn.InstanceNorm2d(4), nn.ReLU()]
    stem = [nn.ReflectionPad2d(3), nn.Conv2d(3, 4, 7), nn.InstanceNorm2d(4), nn.ReLU()]
    head = [nn.ReflectionPad2d(3), nn.Conv2d(4, 3, 7), nn.Tanh()]
    return nn.Sequential(*stem, *down, *(Block() for _ in range(blocks)), *up, *head)


@pytest.mark.parametrize(("blocks", "dropout", "statistics"), [(9, False, False), (6, True, True)])
def test_the_authors_files_load_and_give_equal_images(
    blocks: int, dropout: bool, statistics: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    theirs = authors_generator(blocks, dropout).eval()
    state = {f"model.{name}": tensor for name, tensor in theirs.state_dict().items()}
    if statistics:  # of 2017
        for layer in ("model.2", "model.5", "model.10.conv_block.2"):
            state |= {f"{layer}.running_mean": torch.ones(4), f"{layer}.running_var": torch.ones(4)}
            state[f"{layer}.num_batches_tracked"] = torch.tensor(7)
    file = tmp_path / "latest_net_G_A.pth"
    torch.save(state, file)
    model = create_model(f"cyclegan_resnet{blocks}_generator", base_channels=4)
    report = load_weights(model, file)
    assert report.recognised == "CycleGAN generator"
    assert not report.missing
    assert not report.unexpected
    images, _ = domains()
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images)["translated"], theirs(images), atol=1e-5, rtol=0)


def test_patchgan_has_the_papers_parameters_and_sees_70_pixels() -> None:
    model = patchgan70()
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_764_737
    assert model(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    # Norms look at the whole map: without them, what one score depends on is its receptive field.
    plain = PatchGAN(4)
    layers = nn.Sequential(*(layer for layer in plain.model if not isinstance(layer, nn.InstanceNorm2d)))
    images = torch.zeros(1, 3, 128, 128, requires_grad=True)
    layers(images)[0, 0, 7, 7].backward()
    rows = images.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == 70


def test_weights_begin_as_in_the_paper() -> None:
    torch.manual_seed(0)
    model = CycleGAN(blocks=2, base_channels=16, discriminator_channels=16)
    weights = torch.cat([one.detach().flatten() for name, one in model.named_parameters() if name.endswith("weight")])
    assert weights.std() == pytest.approx(0.02, rel=0.01)
    assert abs(weights.mean()) < 1e-4
    assert not any(one.any() for name, one in model.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("cycle", list(TERMS))
@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_terms_are_the_papers_equations(cycle: str, direction: str) -> None:
    model = small(cycle=cycle, direction=direction).eval()
    images, targets = domains()
    others = targets["target_image"].permute(0, 3, 1, 2).float() / 127.5 - 1
    a, b = (images, others) if direction == "a_to_b" else (others, images)
    forth, back = model.generator_ab.translate, model.generator_ba.translate
    fake_b, fake_a = forth(a), back(b)
    expected = {
        "generator_ab": ((model.discriminator_b(fake_b) - 1) ** 2).mean(),
        "generator_ba": ((model.discriminator_a(fake_a) - 1) ** 2).mean(),
        "cycle_a": 10 * (back(fake_b) - a).abs().mean(),
        "cycle_b": 10 * (forth(fake_a) - b).abs().mean(),
        "identity_a": 5 * (back(a) - a).abs().mean(),
        "identity_b": 5 * (forth(b) - b).abs().mean(),
    }
    shared: dict[str, Tensor] = {}
    terms = model.loss(images, targets, "generators", shared)
    assert list(terms) == TERMS[cycle]
    for name, value in terms.items():
        torch.testing.assert_close(value, expected[name])
    found = model.loss(images, targets, "discriminators", shared)
    for name, discriminator, real, fake in (
        ("discriminator_a", model.discriminator_a, a, fake_a),
        ("discriminator_b", model.discriminator_b, b, fake_b),
    ):
        hand = (((discriminator(real) - 1) ** 2).mean() + (discriminator(fake) ** 2).mean()) / 2
        torch.testing.assert_close(found[name], hand)
    torch.testing.assert_close(model(images)["translated"], fake_b if direction == "a_to_b" else fake_a)
    assert {*terms, *found} == set(model.loss(images, targets))  # without a group: all terms


@pytest.mark.parametrize(
    ("cycle", "identity", "images_ab", "images_ba", "calls_ab", "calls_ba"),
    [
        ("full", 5.0, 3, 3, 2, 2),  # of a pair: the translation and what is to be kept in one call, then the cycle
        ("half", 5.0, 2, 3, 1, 2),
        ("none", 5.0, 2, 2, 1, 1),
        ("none", 0.0, 1, 1, 1, 1),
    ],
)
def test_each_generator_sees_an_image_as_often_as_the_algorithm_needs(
    cycle: str, identity: float, images_ab: int, images_ba: int, calls_ab: int, calls_ba: int
) -> None:
    model = small(cycle=cycle, identity_weight=identity).train()
    seen: dict[str, list[int]] = {}
    for name in ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b"):
        seen[name] = []
        getattr(model, name).model.register_forward_hook(
            lambda layer, inputs, output, name=name: seen[name].append(len(inputs[0]))
        )
    images, targets = domains(batch=2)
    shared: dict[str, Tensor] = {}
    model.loss(images, targets, "generators", shared)
    of_generators = {name: list(calls) for name, calls in seen.items()}
    model.loss(images, targets, "discriminators", shared)
    assert (sum(seen["generator_ab"]), len(seen["generator_ab"])) == (2 * images_ab, calls_ab)
    assert (sum(seen["generator_ba"]), len(seen["generator_ba"])) == (2 * images_ba, calls_ba)
    assert seen["generator_ab"] == of_generators["generator_ab"]  # the discriminators' step runs no generator
    assert seen["discriminator_a"] == [2, 4]  # what was made; then real ones and made ones in one call
    assert seen["discriminator_b"] == [2, 4]


def test_groups_hold_every_parameter_and_gradients_stay_in_their_group() -> None:
    model = small()
    generators, discriminators = (
        {id(one) for one in model.group_parameters(group)} for group in ("generators", "discriminators")
    )
    assert generators | discriminators == {id(one) for one in model.parameters()}
    assert not generators & discriminators
    images, targets = domains()
    shared: dict[str, Tensor] = {}
    model.loss(images, targets, "generators", shared)
    sum(model.loss(images, targets, "discriminators", shared).values()).backward()
    assert all(one.grad is None for one in model.group_parameters("generators"))


def test_buffers_give_earlier_images_half_of_the_time_and_keep_fifty() -> None:
    torch.manual_seed(0)
    history = ImageHistory()
    first = torch.arange(50.0).view(50, 1, 1, 1)
    torch.testing.assert_close(history.exchange(first), first)
    given = torch.cat([history.exchange(torch.full((1, 1, 1, 1), 50.0 + step)) for step in range(400)]).flatten()
    new = given == torch.arange(50.0, 450.0)
    assert 150 < new.sum() < 250
    assert (given[~new] < torch.arange(50.0, 450.0)[~new]).all()
    assert len(history.images) == 50
    assert len(given.unique()) == 400  # an image that came back is not in the buffer any more
    assert len(history.exchange(torch.zeros(2, 1, 4, 4))) == 2  # another canvas
    assert len(history.images) == 2


def test_training_state_restores_the_buffers_bit_for_bit() -> None:
    model, other = small().train(), small().train()
    images, targets = domains()
    shared: dict[str, Tensor] = {}
    model.loss(images, targets, "generators", shared)
    model.loss(images, targets, "discriminators", shared)
    assert not other.training_state()
    state = model.training_state()
    assert {name: len(value) for name, value in state.items()} == {"fakes_a": 2, "fakes_b": 2}
    assert not set(state) & set(model.state_dict())  # no checkpoint holds them
    other.load_training_state(state)
    for name, value in other.training_state().items():
        assert torch.equal(value, state[name])


def test_samples_show_both_cycles() -> None:
    model = small().eval()
    images, targets = domains()
    with torch.no_grad():
        columns = model.samples(images, targets)
        back = model.generator_ba.translate(model.generator_ab.translate(images))
    assert list(columns) == ["A", "A to B", "A to B to A", "B", "B to A", "B to A to B"]
    torch.testing.assert_close(columns["A to B to A"], (back + 1) * 127.5)
    torch.testing.assert_close(columns["B"], targets["target_image"].permute(0, 3, 1, 2).float())


def test_unknown_cycles_are_named() -> None:
    with pytest.raises(ConfigError, match=r"cycle is 'ful', none of none, half, full.*'full'"):
        create_model("cyclegan_resnet6", base_channels=4, cycle="ful")


def test_cutting_odd_canvases_shifts_nothing() -> None:
    torch.manual_seed(0)
    model = ResnetGenerator(blocks=1, base_channels=4).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 33, 46))["translated"].shape == (1, 3, 33, 46)
