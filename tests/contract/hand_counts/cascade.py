"""Faster and Cascade R-CNN over feature pyramids, with 1,000 regions; all parameters of BatchNorm count."""

from __future__ import annotations

from tests.contract.hand_counts import REFERENCE

_CLASSES, _REGIONS = 80, 1000
_NORMS = 53_120  # scales and shifts of ResNet-50, which published figures take as fixed

# Locations of P2 to P6 on a square canvas.
_PYRAMID_800 = (200**2, 100**2, 50**2, 25**2, 13**2)
_PYRAMID_512 = (128**2, 64**2, 32**2, 16**2, 8**2)


def _weights(channels: tuple[int, ...], out: int) -> tuple[int, int]:
    """Weights of the pyramid and of the region proposal network."""
    return sum(before * out + 9 * out * out for before in channels), 9 * out * out + out * (3 + 12)


def _first_stage(channels: tuple[int, ...], locations: tuple[int, ...], out: int = 256) -> tuple[int, int]:
    """Parameters and multiply-adds of pyramid and region proposal network."""
    pyramid, rpn = _weights(channels, out)
    params = pyramid + 2 * out * len(channels) + rpn + out + 3 + 12
    own = zip(channels, locations[:4], strict=True)
    return params, sum(area * (before * out + 9 * out * out) for before, area in own) + sum(locations) * rpn


def _head(boxes: int, channels: int = 256, hidden: int = 1024) -> tuple[int, int]:
    """Parameters and multiply-adds a region of two layers, scores and codes of so many boxes."""
    weights = 49 * channels * hidden + hidden * hidden + hidden * (1 + _CLASSES + 4 * boxes)
    return weights + 2 * hidden + 1 + _CLASSES + 4 * boxes, weights


def _body(name: str, features: int, side: int) -> tuple[int, int]:
    """Parameters and multiply-adds of a ResNet without its classifier, on a canvas of that side."""
    own = REFERENCE[name]
    scale, rest = divmod((own["macs"] - features * 1000) * side**2, 224**2)
    assert not rest
    return own["params"] - (features + 1) * 1000, scale


_RESNET18 = (64, 128, 256, 512)
_R50 = {"params": 41_808_406, "macs": 134_379_721_216}  # Faster R-CNN over ResNet-50 with 90 classes


def _counts(body: tuple[int, int], first: tuple[int, int], heads: int, head: tuple[int, int]) -> dict[str, int]:
    return {
        "num_classes": _CLASSES,
        "params": body[0] + first[0] + heads * head[0],
        "macs": body[1] + first[1] + heads * _REGIONS * head[1],
    }


COUNTS = {
    "cascade_rcnn_resnet50_fpn": {
        "num_classes": _CLASSES,
        "params": 69_341_646 + _NORMS,
        "macs": 159_013_065_216,
        "input": (3, 800, 800),
    },
    "cascade_rcnn": _counts(_body("resnet18", 512, 512), _first_stage(_RESNET18, _PYRAMID_512), 3, _head(1)),
    # The reference has 90 classes, and one region for VGG-16, which here looks at 300.
    "fasterrcnn_resnet50_fpn": {
        "num_classes": _CLASSES,
        "params": _R50["params"] - 10 * 5 * 1025,
        "macs": _R50["macs"] - _REGIONS * 10 * 5 * 1024,
        "input": (3, 800, 800),
    },
    "fasterrcnn_vgg16": {
        "num_classes": 20,
        "params": 137_078_239,
        "macs": 151_642_988_544 + 299 * (49 * 512 * 4096 + 4096**2 + 4096 * 5 * 21),
        "input": (3, 600, 800),
    },
    "fasterrcnn": _counts(_body("resnet18", 512, 512), _first_stage(_RESNET18, _PYRAMID_512), 1, _head(1 + _CLASSES)),
}
