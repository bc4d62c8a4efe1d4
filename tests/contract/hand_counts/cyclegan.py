"""CycleGAN, on 256 x 256 pixels: two generators and two discriminators, of which ``forward`` runs one generator."""

from __future__ import annotations


def _generator(blocks: int) -> tuple[int, int]:
    """Parameters, all convolutions with a bias and no norm with a scale, and multiply-adds."""
    ends = 2 * 49 * 3 * 64
    stride = 9 * (64 * 128 + 128 * 256)  # either way
    block = 2 * 9 * 256 * 256
    biases = 64 + 128 + 256 + blocks * 2 * 256 + 128 + 64 + 3
    params = ends + 2 * stride + blocks * block + biases
    # A transposed convolution multiplies each value of its input by its kernel: on a quarter of the locations.
    strides = 2 * 9 * (64 * 128 * 128**2 + 128 * 256 * 64**2)
    return params, ends * 256**2 + strides + blocks * block * 64**2


_DISCRIMINATOR = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 128 + 256 + 512 + 1


def _counts(blocks: int, whole: bool) -> dict[str, object]:
    params, macs = _generator(blocks)
    return {
        "num_classes": 0,
        "params": 2 * (params + _DISCRIMINATOR) if whole else params,
        "macs": macs,
        "input": [3, 256, 256],
    }


COUNTS = {
    "cyclegan_resnet9_generator": _counts(9, whole=False),
    "cyclegan_resnet6_generator": _counts(6, whole=False),
    "cyclegan_resnet9": _counts(9, whole=True),
    "cyclegan_resnet6": _counts(6, whole=True),
}
