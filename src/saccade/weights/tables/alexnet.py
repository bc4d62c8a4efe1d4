"""AlexNet published by torchvision. Figures and file names: the metadata of its weights."""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import torchvision_imagenet

__all__ = ["ROWS"]


_row = partial(torchvision_imagenet, layout="torchvision")


ROWS = (_row("alexnet", "alexnet-owt-7be5be79.pth", 56.522, 79.066),)
