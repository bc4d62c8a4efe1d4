"""First layers of networks that were trained in Caffe, for pixels as the networks here see them."""

from __future__ import annotations

from torch import Tensor

__all__ = ["for_rgb"]

_IMAGENET_STD = (58.395, 57.12, 57.375)


def for_rgb(weight: Tensor) -> Tensor:
    """Kernels over BGR pixels, made for RGB pixels that are divided by ImageNet's standard deviations.

    Args:
        weight: (N, 3, k, k) of the first convolution.

    Returns:
        (N, 3, k, k) that gives the same for the same image, less the same mean; a tensor of another shape comes back.

    Example:
        >>> for_rgb(torch.ones(1, 3, 1, 1)).flatten()
        tensor([58.3950, 57.1200, 57.3750])
    """
    if weight.ndim != 4 or weight.shape[1] != 3:
        return weight  # of another network, which its shape tells
    return weight.flip(1) * weight.new_tensor(_IMAGENET_STD).view(1, 3, 1, 1)
