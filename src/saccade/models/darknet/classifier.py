"""Classifiers of Darknet's ``.cfg`` files: what stands before ``softmax``, ``cost`` or the end are the logits.

https://pjreddie.com/darknet/imagenet has a dozen of them, from AlexNet to Darknet-53.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import Classifier
from saccade.models.classification.darknet19 import DARKNET_SPEC
from saccade.models.darknet.cfg import Section, parse_cfg
from saccade.models.darknet.graph import build_body, canvas_of
from saccade.models.darknet.keys import warn_of_unknown_keys
from saccade.models.darknet.parts import last_map, layer_places, own_parts, with_classes
from saccade.models.registry import register_model
from saccade.structures.class_rows import ClassRows

__all__ = ["DarknetClassifier", "darknet_classifier"]

_PAPER = "Redmon, Darknet: Open Source Neural Networks in C, 2013 to 2018: networks of its .cfg files"


class DarknetClassifier(Classifier):
    """Classifier of a ``.cfg``.

    Args:
        sections: Of the file.
        num_classes: Classes; those of the file if not given.

    Raises:
        ConfigError: If a section asks for what it cannot have; the message names its line.

    Attributes:
        layer_places: Layer and line of the file of each part with weights.
    """

    def __init__(self, sections: Sequence[Section], num_classes: int | None = None) -> None:
        super().__init__()
        sections = with_classes(sections, num_classes)
        self.body, layers = build_body(sections)
        end = len(layers)
        self.temperature = 1.0
        while end and layers[end - 1].section.kind in ("softmax", "cost"):
            end -= 1
            section = layers[end].section
            if section.whole("groups", 1, 1) != 1 or "tree" in section or section.whole("spatial", 0, 0, 1):
                raise section.fault("groups, tree and spatial are not read; a softmax over all classes is.")
            self.temperature = section.real("temperature", self.temperature, 1e-6)
        if not end or layers[end - 1].output[1:] != (1, 1):
            section = layers[end - 1].section
            raise section.fault("gives no vector of classes. A classifier ends in [avgpool] or [connected].")
        self.last = end - 1
        self.num_classes = layers[self.last].output.channels
        self.last_map, channels, stride = last_map(layers, self.last, canvas_of(sections[0]).height)
        self.feature_channels, self.feature_strides = (channels,), (stride,)
        canvas = canvas_of(sections[0])
        pixels = (0.0,) * canvas.channels, (255.0,) * canvas.channels
        connected = any(layer.section.kind in ("connected", "local") and layer.input[1:] != (1, 1) for layer in layers)
        self.input_spec = replace(
            DARKNET_SPEC,
            size=(canvas.height, canvas.width),
            channels=canvas.channels,
            mean=pixels[0],
            std=pixels[1],
            fixed=connected,
        )
        weighted = [number for number in range(end) if next(self.body.layers[number].parameters(), None) is not None]
        if not weighted:
            raise sections[0].fault("is of a network without weights, which learns nothing.")
        head = weighted[-1]
        name = f"body.layers.{head}"
        self.head_names = (name,)
        self.stage_names = own_parts(self.body, self.head_names)
        tensors = [one for one, value in self.state_dict().items() if one.startswith(f"{name}.") and value.ndim]
        rows = ClassRows()
        self.class_rows = dict.fromkeys(tensors, rows) if layers[head].output.channels == self.num_classes else {}
        self.layer_places = layer_places(layers)

    def features(self, images: Tensor) -> list[Tensor]:
        """Last feature map."""
        maps: list[Tensor] = self.body(images, (self.last_map,))
        return maps

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        (scores,) = self.body(images, (self.last,))
        return {"logits": scores.flatten(1) / self.temperature}


@register_model(task="classification", paper=_PAPER)
def darknet_classifier(cfg: str, num_classes: int | None = None, weights: str | None = None) -> DarknetClassifier:
    r"""Classifier of a Darknet configuration.

    Args:
        cfg: Text of the ``.cfg`` file.
        num_classes: Classes; those of the file if not given. With another number, the last layer with weights gets as
            many outputs.
        weights: As everywhere; a ``.weights`` file above all.

    Raises:
        ConfigError: If the text is no configuration of a classifier; the message names the line.

    Example:
        >>> text = "[net]\nwidth=32\nheight=32\n[convolutional]\nfilters=5\nsize=3\n[avgpool]\n[softmax]"
        >>> darknet_classifier(text)(torch.zeros(2, 3, 32, 32))["logits"].shape
        torch.Size([2, 5])
    """
    sections = parse_cfg(cfg)
    warn_of_unknown_keys(cfg, sections)
    heads = [section for section in sections if section.kind in ("yolo", "region", "detection")]
    if heads:
        raise ConfigError(
            f"cfg, line {heads[0].line}: [{heads[0].kind}] is of a detector, which 'darknet_detector' builds."
        )
    return DarknetClassifier(sections, num_classes)
