"""CycleGAN: translation between two domains of images of which no two belong together.

Paper: Jun-Yan Zhu, Taesung Park, Phillip Isola, Alexei A. Efros, "Unpaired Image-to-Image Translation using
Cycle-Consistent Adversarial Networks", ICCV 2017, arXiv 1703.10593. Generators: Johnson et al., ECCV 2016;
discriminators: Isola et al., CVPR 2017 (PatchGAN); squared adversarial loss: Mao et al., ICCV 2017 (LSGAN).

A generator makes images of domain B from those of A, another one the way back, and a discriminator of each domain tells
made images from real ones. Being taken for real leaves open *which* image of B comes out, so the way back has to lead
to the image that it began with: the cycle. An image that is of domain B already should pass the generator to B
unchanged: the identity term, which keeps colours.

    ResnetGenerator, 3 x H x W (H, W multiples of 4)         PatchGAN, 3 x 256 x 256: every output sees 70 x 70 pixels
    c7s1-64   mirrored by 3     64 x H   x W                 C64   4x4, stride 2      64 x 128 x 128  (no norm)
    d128      3x3, stride 2    128 x H/2 x W/2               C128  4x4, stride 2     128 x  64 x  64
    d256      3x3, stride 2    256 x H/4 x W/4               C256  4x4, stride 2     256 x  32 x  32
    R256 x 9  or 6, mirrored   256 x H/4 x W/4               C512  4x4, stride 1     512 x  31 x  31
    u128      3x3, transposed  128 x H/2 x W/2               4x4, stride 1             1 x  30 x  30
    u64       3x3, transposed   64 x H   x W
    c7s1-3    tanh               3 x H   x W

    generators      (D_B(G(a)) - 1)^2 + (D_A(F(b)) - 1)^2                   equation 1, squared (section 4)
                    + 10 (|F(G(a)) - a| + |G(F(b)) - b|)                    equation 2
                    + 5 (|G(b) - b| + |F(a) - a|)                           section 5.2
    discriminators  ((D_B(b) - 1)^2 + D_B(G(a'))^2) / 2, and for A          G(a'): of a buffer of 50 earlier ones

Instance normalisation looks at one image at a time, so a generator takes the image that it translates and the one that
it should keep in one call; each sees an image of the domains, one that it should keep and one made by the other
generator, three images a pair, and nothing twice. ``cycle`` leaves the cycle out (``none``), or that of B (``half``).

Differences from the paper: the identity term is on by default, as in the authors' program (the paper uses it for
paintings and photographs). A canvas that is no multiple of 4 gets an output cut to its size.

Published weights: the authors' files (``latest_net_G_A.pth`` and others) hold one generator each, which
``cyclegan_resnet9_generator`` loads: ``weights=FILE``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Outputs, Targets
from saccade.models.registry import register_model
from saccade.models.translation.base import TranslationNetwork, same_size_spec

__all__ = [
    "CycleGAN",
    "ImageHistory",
    "PatchGAN",
    "ResnetBlock",
    "ResnetGenerator",
    "cyclegan_resnet6",
    "cyclegan_resnet6_generator",
    "cyclegan_resnet9",
    "cyclegan_resnet9_generator",
    "patchgan70",
]

PAPER = "Zhu et al., ICCV 2017, arXiv 1703.10593"

Cycle = Literal["none", "half", "full"]
Direction = Literal["a_to_b", "b_to_a"]

_HISTORY = 50  # images that each buffer keeps (section 4)


class ResnetBlock(nn.Module):
    """Residual block of two 3x3 convolutions with mirrored borders and instance normalisation.

    Args:
        channels: Of input and output.

    Example:
        >>> ResnetBlock(8)(torch.zeros(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return x + self.conv_block(x)


class ResnetGenerator(TranslationNetwork):
    """Generator of CycleGAN, alone: predicts, exports, loads the authors' files, and learns from pairs by L1.

    Args:
        blocks: Residual blocks: 9, or 6 for images of 128 pixels (section 7.2).
        base_channels: Channels at full resolution, 64 in the paper.

    Example:
        >>> model = ResnetGenerator(blocks=2, base_channels=4)
        >>> model.predict(torch.zeros(1, 3, 64, 48))["image"].shape
        torch.Size([1, 3, 64, 48])
    """

    def __init__(self, blocks: int = 9, base_channels: int = 64) -> None:
        super().__init__()
        c = base_channels
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, c, 7), *_norm_relu(c)]
        for channels in (c, 2 * c):
            layers += [nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), *_norm_relu(2 * channels)]
        first_block = len(layers)
        layers += [ResnetBlock(4 * c) for _ in range(blocks)]
        behind = len(layers)
        for channels in (4 * c, 2 * c):
            up = nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)
            layers += [up, *_norm_relu(channels // 2)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(c, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        self._map_ends = (4, 7, behind)  # layers behind which features() takes a map
        convolutions = [1, 4, 7, *range(first_block, behind), behind, behind + 3]
        self.stage_names = tuple(f"model.{index}" for index in convolutions)
        self.head_names = (f"model.{len(layers) - 2}",)
        self.feature_channels, self.feature_strides = (c, 2 * c, 4 * c), (1, 2, 4)
        self.input_spec = same_size_spec((256, 256) if blocks == 9 else (128, 128))
        _initialise(self)

    def features(self, images: Tensor) -> list[Tensor]:
        """Maps of strides 1, 2 and 4, the last one behind the residual blocks."""
        maps, start = [], 0
        for end in self._map_ends:
            images = self.model[start:end](images)
            maps.append(images)
            start = end
        return maps

    def translate(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) of one domain to those of the other, -1..1."""
        height, width = images.shape[-2:]
        translated: Tensor = self.model(images)
        return translated[..., :height, :width]  # upsampling rounds odd sides up

    def forward(self, images: Tensor) -> Outputs:
        """``translated`` (B, 3, H, W), -1..1."""
        return {"translated": self.translate(images)}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``l1``: mean absolute difference from ``target_image``, of values of -1..1."""
        return {"l1": F.l1_loss(self.translate(images).float(), self.target_images(targets))}


class PatchGAN(nn.Module):
    """Discriminator of overlapping patches of 70 x 70 pixels: a score for each, near 1 where it looks real.

    Args:
        base_channels: Channels of the first convolution; the next three have 2, 4 and 8 times as many.

    Example:
        >>> PatchGAN()(torch.zeros(1, 3, 256, 256)).shape
        torch.Size([1, 1, 30, 30])
    """

    def __init__(self, base_channels: int = 64) -> None:
        super().__init__()
        c = base_channels
        layers: list[nn.Module] = [nn.Conv2d(3, c, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for channels, out_channels, stride in ((c, 2 * c, 2), (2 * c, 4 * c, 2), (4 * c, 8 * c, 1)):
            layers += [
                nn.Conv2d(channels, out_channels, 4, stride=stride, padding=1),
                nn.InstanceNorm2d(out_channels),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.model = nn.Sequential(*layers, nn.Conv2d(8 * c, 1, 4, padding=1))
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to scores (B, 1, H/8 - 2, W/8 - 2)."""
        scores: Tensor = self.model(images)
        return scores


class ImageHistory:
    """Buffer of generated images: a discriminator sees earlier ones as well as those of now.

    Shrivastava et al., CVPR 2017, section 2.3. Until it is full, an image goes in and comes back. Then, half of the
    time, an earlier one comes back and the new one takes its place; else the new one does. The draws are those of
    torch's generator, which a run seeds for each step.

    Args:
        size: Images that it keeps.

    Example:
        >>> history = ImageHistory(size=2)
        >>> history.exchange(torch.arange(2.0).view(2, 1, 1, 1)).flatten().tolist(), len(history.images)
        ([0.0, 1.0], 2)
    """

    def __init__(self, size: int = _HISTORY) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def exchange(self, images: Tensor) -> Tensor:
        """As many images (B, C, H, W) as are given, new or earlier ones."""
        if self.images and self.images[0].shape != images.shape[1:]:
            self.images = []  # another canvas from here on
        given = []
        for image in images.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone())
            elif torch.rand(()) < 0.5:
                row = int(torch.randint(self.size, ()))
                earlier, self.images[row] = self.images[row], image.clone()
                image = earlier.to(image)
            given.append(image)
        return torch.stack(given)


class CycleGAN(TranslationNetwork):
    """CycleGAN: two generators and two discriminators, trained in turns; ``forward`` is one of the generators.

    Args:
        blocks: Residual blocks of a generator.
        base_channels: Channels of the generators at full resolution.
        discriminator_channels: Channels of the discriminators' first convolution.
        cycle: ``full``, ``half`` (only A to B and back to A), or ``none``.
        cycle_weight: lambda of equation 3.
        identity_weight: Weight of the identity term; 0 leaves it out.
        direction: Which domain the images given to it are of: ``a_to_b`` translates those of A, ``b_to_a`` those of B
            (data opened with ``side: right``).

    Raises:
        ConfigError: If ``cycle`` or ``direction`` is none of these.

    Example:
        >>> model = CycleGAN(blocks=2, base_channels=4, discriminator_channels=4)
        >>> images = torch.zeros(1, 3, 64, 64)
        >>> targets = {"target_image": torch.zeros(1, 64, 64, 3, dtype=torch.uint8)}
        >>> list(model.loss(images, targets, "generators", {}))
        ['generator_ab', 'generator_ba', 'cycle_a', 'cycle_b', 'identity_a', 'identity_b']
    """

    loss_groups = ("generators", "discriminators")

    def __init__(
        self,
        blocks: int = 9,
        base_channels: int = 64,
        discriminator_channels: int = 64,
        cycle: Cycle = "full",
        cycle_weight: float = 10.0,
        identity_weight: float = 5.0,
        direction: Direction = "a_to_b",
    ) -> None:
        super().__init__()
        for name, value, kinds in (("cycle", cycle, get_args(Cycle)), ("direction", direction, get_args(Direction))):
            if value not in kinds:
                raise ConfigError(
                    f"CycleGAN: {name} is '{value}', none of {', '.join(kinds)}.{did_you_mean(str(value), kinds)}"
                )
        self.generator_ab = ResnetGenerator(blocks, base_channels)
        self.generator_ba = ResnetGenerator(blocks, base_channels)
        self.discriminator_a = PatchGAN(discriminator_channels)
        self.discriminator_b = PatchGAN(discriminator_channels)
        self.cycle, self.cycle_weight, self.identity_weight = cycle, cycle_weight, identity_weight
        self.direction = direction
        self.history_a, self.history_b = ImageHistory(), ImageHistory()
        used, unused = ("generator_ab", "generator_ba") if direction == "a_to_b" else ("generator_ba", "generator_ab")
        generator = self.generator_ab
        self.stage_names = tuple(f"{used}.{name}" for name in generator.stage_names)
        self.head_names = tuple(f"{used}.{name}" for name in generator.head_names)
        self.auxiliary_heads = (unused, "discriminator_a", "discriminator_b")
        self.feature_channels, self.feature_strides = generator.feature_channels, generator.feature_strides
        self.input_spec = generator.input_spec

    @property
    def generator(self) -> ResnetGenerator:
        """The generator of ``direction``."""
        return self.generator_ab if self.direction == "a_to_b" else self.generator_ba

    def features(self, images: Tensor) -> list[Tensor]:
        """Maps of the generator of ``direction``."""
        return self.generator.features(images)

    def forward(self, images: Tensor) -> Outputs:
        """``translated`` (B, 3, H, W), -1..1, by the generator of ``direction``."""
        return self.generator(images)

    # ---- training ----

    def group_parameters(self, group: str) -> Iterable[nn.Parameter]:
        """Both generators, or both discriminators."""
        first, second = (
            (self.generator_ab, self.generator_ba)
            if group == "generators"
            else (self.discriminator_a, self.discriminator_b)
        )
        return [*first.parameters(), *second.parameters()]

    def loss(
        self, images: Tensor, targets: Targets, group: str = "", shared: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Terms of one group; of both without a group.

        The buffers of earlier images take part in train mode alone, so that the loss repeats itself in eval mode.

        Args:
            images: (B, 3, H, W), normalised, of the domain that ``direction`` begins in.
            targets: ``target_image`` (B, H, W, 3) of the other domain.
            group: ``generators`` or ``discriminators``.
            shared: Where the generators leave what they made (``fake_a``, ``fake_b``) for the discriminators.
        """
        others, made = self.target_images(targets), {} if shared is None else shared
        a, b = (images, others) if self.direction == "a_to_b" else (others, images)
        terms: dict[str, Tensor] = {}
        if group != "discriminators":
            terms |= self._generator_terms(a, b, made)
        if group != "generators":
            if "fake_b" not in made:
                with torch.no_grad():
                    made |= {"fake_b": self.generator_ab.translate(a), "fake_a": self.generator_ba.translate(b)}
            terms["discriminator_a"] = self._discriminator_term(self.discriminator_a, a, made["fake_a"], self.history_a)
            terms["discriminator_b"] = self._discriminator_term(self.discriminator_b, b, made["fake_b"], self.history_b)
        return terms

    def _generator_terms(self, a: Tensor, b: Tensor, made: dict[str, Tensor]) -> dict[str, Tensor]:
        fake_b, same_b = _translate_and_keep(self.generator_ab, a, b if self.identity_weight else None)
        fake_a, same_a = _translate_and_keep(self.generator_ba, b, a if self.identity_weight else None)
        made["fake_a"], made["fake_b"] = fake_a.detach(), fake_b.detach()
        terms = {
            "generator_ab": (self.discriminator_b(fake_b).float() - 1).square().mean(),
            "generator_ba": (self.discriminator_a(fake_a).float() - 1).square().mean(),
        }
        if self.cycle != "none":
            terms["cycle_a"] = self.cycle_weight * _l1(self.generator_ba.translate(fake_b), a)
        if self.cycle == "full":
            terms["cycle_b"] = self.cycle_weight * _l1(self.generator_ab.translate(fake_a), b)
        if same_a is not None and same_b is not None:
            terms["identity_a"] = self.identity_weight * _l1(same_a, a)
            terms["identity_b"] = self.identity_weight * _l1(same_b, b)
        return terms

    def _discriminator_term(self, discriminator: PatchGAN, real: Tensor, fake: Tensor, history: ImageHistory) -> Tensor:
        """Mean of the squared distances of real images from 1 and of made ones from 0."""
        fake = history.exchange(fake) if self.training else fake
        scores = discriminator(torch.cat([real, fake.to(real)])).float()
        of_real, of_fake = scores[: len(real)], scores[len(real) :]
        return ((of_real - 1).square().mean() + of_fake.square().mean()) / 2

    def training_state(self) -> dict[str, Tensor]:
        """The buffers of earlier images, ``fakes_a`` and ``fakes_b``."""
        histories = {"fakes_a": self.history_a, "fakes_b": self.history_b}
        return {name: torch.stack(one.images) for name, one in histories.items() if one.images}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the buffers."""
        self.history_a.images = list(state.get("fakes_a", torch.empty(0)))
        self.history_b.images = list(state.get("fakes_b", torch.empty(0)))

    def samples(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Both domains: image, translation, and what the way back makes of that."""
        others = self.target_images(targets)
        a, b = (images, others) if self.direction == "a_to_b" else (others, images)
        columns = {}
        for name, other, real, there, back in (
            ("A", "B", a, self.generator_ab, self.generator_ba),
            ("B", "A", b, self.generator_ba, self.generator_ab),
        ):
            made = there.translate(real)
            columns[name], columns[f"{name} to {other}"] = self.pixels(real), self.pixels(made)
            columns[f"{name} to {other} to {name}"] = self.pixels(back.translate(made))
        return columns


def _translate_and_keep(generator: ResnetGenerator, image: Tensor, same: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Translation of ``image``, and what becomes of ``same``, which is of the generator's own domain, in one call."""
    if same is None:
        return generator.translate(image), None
    both = generator.translate(torch.cat([image, same]))
    return both[: len(image)], both[len(image) :]


def _l1(first: Tensor, second: Tensor) -> Tensor:
    return (first.float() - second.float()).abs().mean()


def _norm_relu(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)


def _initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02), biases 0 (section 7.1)."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=0.02)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


# ---- builders ----


@register_model(task="translation", paper=PAPER)
def cyclegan_resnet9_generator(base_channels: int = 64, weights: str | None = None) -> ResnetGenerator:
    """One generator with nine residual blocks, for images of 256 pixels and more."""
    return ResnetGenerator(9, base_channels)


@register_model(task="translation", paper=PAPER)
def cyclegan_resnet6_generator(base_channels: int = 64, weights: str | None = None) -> ResnetGenerator:
    """One generator with six residual blocks, for images of 128 pixels."""
    return ResnetGenerator(6, base_channels)


@register_model(task="translation", paper=PAPER)
def cyclegan_resnet9(
    base_channels: int = 64,
    discriminator_channels: int = 64,
    cycle: Cycle = "full",
    cycle_weight: float = 10.0,
    identity_weight: float = 5.0,
    direction: Direction = "a_to_b",
    weights: str | None = None,
) -> CycleGAN:
    """CycleGAN whose generators have nine residual blocks.

    Example:
        >>> saccade.create_model("cyclegan_resnet9", base_channels=4, discriminator_channels=4, cycle="half").cycle
        'half'
    """
    return CycleGAN(9, base_channels, discriminator_channels, cycle, cycle_weight, identity_weight, direction)


@register_model(task="translation", paper=PAPER)
def cyclegan_resnet6(
    base_channels: int = 64,
    discriminator_channels: int = 64,
    cycle: Cycle = "full",
    cycle_weight: float = 10.0,
    identity_weight: float = 5.0,
    direction: Direction = "a_to_b",
    weights: str | None = None,
) -> CycleGAN:
    """CycleGAN whose generators have six residual blocks."""
    return CycleGAN(6, base_channels, discriminator_channels, cycle, cycle_weight, identity_weight, direction)


def patchgan70() -> PatchGAN:
    """Discriminator of 70 x 70 patches as in the paper.

    Example:
        >>> sum(parameter.numel() for parameter in patchgan70().parameters())
        2764737
    """
    return PatchGAN()
