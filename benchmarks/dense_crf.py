"""A dense CRF over 640 x 480 pixels, 21 classes, 5 iterations: the whole, and where the time goes.

The image is noise of eight octaves with as many vertices of the lattice as a detailed photograph (450,000; one of
VOC in that size has 440,000, a street of CamVid fewer). Parts follow from runs of 1 and 5 iterations, with one kernel
alone.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import Figure, alternate, use_threads
from saccade.ops.dense_crf import CrfSettings, dense_crf
from saccade.ops.permutohedral import build_lattice

SIZE, CLASSES = (480, 640), 21
OCTAVES = 8
KERNELS = {"both": {}, "appearance": {"pos_weight": 0.0}, "smoothness": {"bi_weight": 0.0}}


def _image() -> Tensor:
    """Colours (1, 3, H, W) of eight octaves, each of less contrast."""
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 3, *SIZE)
    for octave in range(OCTAVES):
        shape = (3 * 2**octave, 4 * 2**octave)
        grey, colour = (torch.randn(1, channels, *shape, generator=generator) for channels in (1, 3))
        image += 0.78**octave * F.interpolate(grey + 0.3 * colour, SIZE, mode="bilinear")
    return (127 + 45 * image).clamp(0, 255).byte()


def _vertices(image: Tensor) -> int:
    y, x = torch.meshgrid(*map(torch.arange, SIZE), indexing="ij")
    features = torch.cat((torch.stack((x, y)) / CrfSettings.bi_xy_std, image[0] / CrfSettings.bi_rgb_std))
    return build_lattice(features.flatten(1).T).num_vertices


def run(rounds: int = 5) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    image = _image()
    coarse = torch.randn(1, CLASSES, 15, 20, generator=torch.Generator().manual_seed(1))
    logits = F.interpolate(4 * coarse, SIZE, mode="bilinear")
    settings = {
        f"{kernel} {count}": CrfSettings(iterations=count, **own) for kernel, own in KERNELS.items() for count in (1, 5)
    }
    with torch.no_grad():
        marginals = dense_crf(logits, image, settings["both 5"])
        assert torch.allclose(marginals.sum(1), torch.ones(1, *SIZE), atol=1e-4), "these are no marginals"
        seconds = alternate(
            {name: partial(dense_crf, logits, image, one) for name, one in settings.items()}, rounds, warmup=1
        )
    whole = seconds["both 5"]
    each = {kernel: (seconds[f"{kernel} 5"] - seconds[f"{kernel} 1"]) / 4 for kernel in KERNELS}
    title = "dense CRF of 640 x 480"
    return [
        Figure(f"{title}, 21 classes, 5 iterations", whole, "s", 3.0, note=f"{_vertices(image):,} vertices"),
        Figure(f"{title}: lattice, norms, what is not iterated", whole - 5 * each["both"], "s"),
        Figure(f"{title}: an iteration", each["both"], "s"),
        Figure(f"{title}: an iteration of the appearance kernel alone", each["appearance"], "s"),
        Figure(f"{title}: an iteration of the smoothness kernel alone", each["smoothness"], "s"),
    ]
