"""Base of networks for salient object detection: one foreground, supervised at every output."""

from __future__ import annotations

from saccade.errors import ConfigError
from saccade.models.segmentation.base import Segmenter

__all__ = ["SaliencyNetwork"]


class SaliencyNetwork(Segmenter):
    """Base of networks whose ``forward`` gives ``{"logits": (B, 1, H, W)}``: how much each pixel is foreground.

    The loss is the sum of the binary cross entropies of all outputs of :meth:`supervised`, each at the size that it has
    there (side outputs are upsampled by the network, as in HED, BASNet and U2-Net). Label 1 is the foreground, 255 is
    ignored, whatever else is background.

    A network of this kind has one class and no rows of classes: what it learnt about foreground carries over to a
    foreground of another name.

    Args:
        num_classes: 1.

    Raises:
        ConfigError: If ``num_classes`` is another number.

    Example:
        >>> class Contrast(SaliencyNetwork):  # one convolution, supervised twice
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.output = torch.nn.Conv2d(3, 1, 3, padding=1)
        ...     def forward(self, images):
        ...         return {"logits": self.output(images)}
        ...     def supervised(self, images):
        ...         return {**self(images), "side": self(images)["logits"]}
        >>> sorted(Contrast().loss(torch.zeros(1, 3, 8, 8), {"label_map": torch.ones(1, 8, 8)}))
        ['cross_entropy', 'cross_entropy_side']
        >>> SaliencyNetwork(num_classes=3)
        Traceback (most recent call last):
        saccade.errors.ConfigError: a network for saliency has one foreground, and 3 classes were asked for. ...
    """

    task = "saliency"

    def __init__(self, num_classes: int = 1) -> None:
        if num_classes != 1:
            raise ConfigError(
                f"a network for saliency has one foreground, and {num_classes} classes were asked for. Leave "
                "num_classes out, or take a network for segmentation."
            )
        super().__init__(num_classes)
        self.dice_weight = 0.0
