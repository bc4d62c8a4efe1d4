"""Fully connected conditional random field: labels that follow the colour edges of the image.

Kraehenbuehl and Koltun 2011, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", arXiv
1210.5644. Every pixel i is connected with every other j; the energy of a labelling x is

    E(x) = sum_i psi_u(x_i) + sum_{i<j} mu(x_i, x_j) k(f_i, f_j)                                      (equation 1)
    k    = w_bi exp(-|p_i - p_j|^2 / 2 s_xy^2 - |I_i - I_j|^2 / 2 s_rgb^2) + w_pos exp(-|p_i - p_j|^2 / 2 s_pos^2)   (3)

with positions p, colours I and the compatibility mu of two labels. Mean field (algorithm 1) goes round

    Q_i(l) ~ exp(-psi_u(l) - sum_l' mu(l, l') sum_j k(f_i, f_j) Q_j(l'))

whose sums over all j are filters: the appearance kernel (bilateral) by the permutohedral lattice, the smoothness kernel
(Gaussian) by two convolutions, exact but for what lies beyond four standard deviations.

Differences from the paper, as in the authors' later code (Kraehenbuehl and Koltun 2013, "Parameter Learning and
Convergent Inference for Dense Random Fields"): each kernel K is normalised symmetrically, D^-1/2 K D^-1/2 with the row
sums D of K, so that pixels at the border and of rare colours hear as much as others; and j = i is not left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.errors import ConfigError
from saccade.ops.permutohedral import build_lattice, lattice_filter

__all__ = ["CrfSettings", "dense_crf", "learn_compatibility"]

# Standard deviations at which the smoothness kernel ends: it is exp(-8) = 3e-4 of its height there.
_REACH = 4.0
_MAX_ITERATIONS = 1000

Kernel = Callable[[Tensor], Tensor]  # (N, C) to (N, C)


@dataclass(frozen=True)
class CrfSettings:
    """Settings of :func:`dense_crf`. Defaults are the published ones of DeepLab on VOC 2012.

    They are those of its ``run_densecrf.sh``. The paper (Chen et al. 2015, arXiv 1412.7062) fixes ``pos_weight`` and
    ``pos_xy_std`` and searches the others on 100 validation images: ``bi_weight`` 5 to 10, ``bi_xy_std`` 50 to 100,
    ``bi_rgb_std`` 3 to 10.

    Args:
        iterations: Rounds of mean field, 1 to 1000. The CRF's authors stop after 10.
        pos_weight: Weight of the smoothness kernel; 0 leaves it out.
        pos_xy_std: Its standard deviation in pixels.
        bi_weight: Weight of the appearance kernel; 0 leaves it out.
        bi_xy_std: Its standard deviation in pixels.
        bi_rgb_std: Its standard deviation in colour, in units of 0..255.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> CrfSettings(iterations=5).bi_xy_std
        49.0
    """

    iterations: int = 10
    pos_weight: float = 3.0
    pos_xy_std: float = 3.0
    bi_weight: float = 4.0
    bi_xy_std: float = 49.0
    bi_rgb_std: float = 5.0

    def __post_init__(self) -> None:
        if type(self.iterations) is not int or not 1 <= self.iterations <= _MAX_ITERATIONS:
            raise ConfigError(
                f"dense_crf: iterations is {self.iterations!r}; it must be a whole number of 1 to {_MAX_ITERATIONS}."
            )
        for name in ("pos_weight", "bi_weight"):
            if not 0 <= _number(getattr(self, name)) < math.inf:
                raise ConfigError(f"dense_crf: {name} is {getattr(self, name)!r}; it must be 0 or more.")
        for name in ("pos_xy_std", "bi_xy_std", "bi_rgb_std"):
            if not 0 < _number(getattr(self, name)) < math.inf:
                raise ConfigError(f"dense_crf: {name} is {getattr(self, name)!r}; it must be above 0.")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def dense_crf(
    logits: Tensor, images: Tensor, settings: CrfSettings = CrfSettings(), compatibility: Tensor | None = None
) -> Tensor:
    """Marginals of a fully connected CRF by mean field, differentiable with respect to logits and compatibility.

    Args:
        logits: (B, C, H, W), negative unary energies: logits of a network, or logarithms of its probabilities.
        images: (B, K, H, W) in 0..255, any dtype. Colour differences count as those of three channels: a grey image
            gives the same as its three-channel copy.
        settings: Iterations, weights and standard deviations.
        compatibility: (C, C), penalty mu(l, l') of label l beside label l'; Potts (0 on the diagonal, else 1) if not
            given.

    Returns:
        (B, C, H, W) float32 marginals, which sum to one over C.

    Raises:
        ConfigError: If shapes do not go together.

    Example:
        >>> images = torch.full((1, 3, 8, 8), 30.0)
        >>> images[..., 4:] = 200.0  # an edge in the middle
        >>> logits = torch.zeros(1, 2, 8, 8)
        >>> logits[:, 0, :, :3] = logits[:, 1, :, 6:] = 1.0  # the network is unsure around it
        >>> dense_crf(logits, images).argmax(1)[0, 0].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """
    _check_shapes(logits, images, compatibility)
    found = []
    for one, image in zip(logits, images, strict=True):
        unary = one.float().flatten(1).T.contiguous()  # (N, C): the values of a pixel lie together
        marginals = _mean_field(unary, _kernels(image, settings), settings.iterations, compatibility)
        found.append(marginals.T.reshape(one.shape))
    return torch.stack(found) if found else logits.float()


def learn_compatibility(
    logits: Tensor, images: Tensor, labels: Tensor, settings: CrfSettings = CrfSettings(), steps: int = 20
) -> Tensor:
    """Symmetric compatibility of labels under which the marginals fit ground truth best, learnt from Potts on.

    Adam on the cross entropy of the marginals, through all iterations of mean field (Zheng et al. 2015, "Conditional
    Random Fields as Recurrent Neural Networks", learn it so; the CRF's authors maximise an expected likelihood).

    Args:
        logits: (B, C, H, W).
        images: (B, K, H, W) in 0..255.
        labels: (B, H, W), 0..C-1; 255 is ignored.
        settings: As :func:`dense_crf` will be called with.
        steps: Updates, at a rate of 0.05.

    Returns:
        (C, C) float32.

    Raises:
        ConfigError: If shapes do not go together.

    Example:
        >>> logits, images = torch.randn(1, 2, 8, 8), torch.zeros(1, 3, 8, 8)
        >>> learn_compatibility(logits, images, torch.zeros(1, 8, 8).long(), steps=3).shape
        torch.Size([2, 2])
    """
    _check_shapes(logits, images, None)
    kernels = [_kernels(image, settings) for image in images]
    unaries = logits.detach().float().flatten(2).transpose(1, 2).contiguous()
    classes = logits.shape[1]
    free = (1.0 - torch.eye(classes, device=logits.device)).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        for unary, own, wanted in zip(unaries, kernels, labels, strict=True):
            marginals = _mean_field(unary, own, settings.iterations, (free + free.T) / 2)
            logarithms = marginals.clamp(min=1e-8).log()
            loss = F.nll_loss(logarithms, wanted.flatten().long(), ignore_index=255, reduction="sum")
            (loss / labels.numel()).backward()
        optimizer.step()
    return (free + free.T).detach() / 2


def _check_shapes(logits: Tensor, images: Tensor, compatibility: Tensor | None) -> None:
    batch, classes, height, width = logits.shape
    if images.ndim != 4 or (len(images), *images.shape[2:]) != (batch, height, width):
        raise ConfigError(
            f"dense_crf: images of shape {tuple(images.shape)} do not go with logits of shape {tuple(logits.shape)}: "
            "number, height and width must be equal."
        )
    if compatibility is not None and tuple(compatibility.shape) != (classes, classes):
        raise ConfigError(
            f"dense_crf: the compatibility has the shape {tuple(compatibility.shape)}; {classes} classes need "
            f"({classes}, {classes})."
        )


def _mean_field(unary: Tensor, kernels: Sequence[Kernel], iterations: int, compatibility: Tensor | None) -> Tensor:
    """Algorithm 1: marginals (N, C) of negative unary energies (N, C)."""
    marginals = unary.softmax(1)
    for _ in range(iterations if kernels else 0):
        message = reduce(torch.add, (kernel(marginals) for kernel in kernels))
        # Potts: the sum over all labels is the same for every label, and only what it leaves out for its own matters.
        agreement = message if compatibility is None else -message @ compatibility.float().T
        marginals = (unary + agreement).softmax(1)
    return marginals


def _kernels(image: Tensor, settings: CrfSettings) -> list[Kernel]:
    """Kernels of an image, normalised and weighted."""
    kernels = []
    if settings.pos_weight:
        height, width = image.shape[-2:]
        kernels.append(_normalised(_Smoothness(height, width, settings.pos_xy_std), settings.pos_weight, image))
    if settings.bi_weight:
        lattice = build_lattice(_features(image, settings))
        kernels.append(_normalised(partial(lattice_filter, lattice), settings.bi_weight, image))
    return kernels


def _features(image: Tensor, settings: CrfSettings) -> Tensor:
    """(N, 2 + K): position and colour of each pixel in standard deviations."""
    channels, height, width = image.shape
    y, x = torch.meshgrid(
        torch.arange(height, device=image.device), torch.arange(width, device=image.device), indexing="ij"
    )
    colour = image.float() * (math.sqrt(3 / channels) / settings.bi_rgb_std)
    return torch.cat((torch.stack((x, y)) / settings.bi_xy_std, colour)).flatten(1).T


def _normalised(kernel: Kernel, weight: float, image: Tensor) -> Kernel:
    """``weight D^-1/2 K D^-1/2``."""
    sums = kernel(torch.ones(image[0].numel(), 1, device=image.device))
    scale = sums.clamp(min=1e-20).rsqrt()
    return lambda values: (weight * scale) * kernel(scale * values)


class _Smoothness:
    """Gaussian of the distance of pixels as two convolutions, down and across; beyond the image is nothing."""

    def __init__(self, height: int, width: int, std: float) -> None:
        self.height, self.width = height, width
        self.down, self.across = _taps(height, std), _taps(width, std)

    def __call__(self, values: Tensor) -> Tensor:
        channels = values.shape[1]
        # (N, C) are maps whose channels come last, which convolutions of single channels are fastest with.
        maps = values.view(1, self.height, self.width, channels).permute(0, 3, 1, 2)
        down = self.down.to(values.device).view(1, 1, -1, 1).expand(channels, 1, -1, 1)
        across = self.across.to(values.device).view(1, 1, 1, -1).expand(channels, 1, 1, -1)
        maps = F.conv2d(maps, down, padding=(len(self.down) // 2, 0), groups=channels)
        maps = F.conv2d(maps, across, padding=(0, len(self.across) // 2), groups=channels)
        return maps.permute(0, 2, 3, 1).reshape(-1, channels)


def _taps(length: int, std: float) -> Tensor:
    reach = min(math.ceil(_REACH * std), length - 1)
    return torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / std) ** 2)
