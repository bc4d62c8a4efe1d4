"""Settings of suppression, which files and options hold too: read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from saccade.errors import ConfigError, did_you_mean

__all__ = ["NmsKind", "NmsSettings"]

NmsKind = Literal["nms", "soft", "soft_gaussian", "diou", "wbf", "none"]


@dataclass(frozen=True)
class NmsSettings:
    """Settings of suppression, one record for a detector's whole decoding.

    Kinds:

    - ``nms``: greedy suppression: by falling score, a box drops those of its class that overlap it by more than
      ``iou``.
    - ``soft``: Soft-NMS (Bodla et al. 2017, arXiv 1704.04503): such boxes are not dropped, their scores are multiplied
      by one minus the overlap; then the next is the one that now scores highest.
    - ``soft_gaussian``: Soft-NMS with a factor ``exp(-overlap^2 / sigma)`` for every box of the class; ``iou`` has no
      part in it.
    - ``diou``: greedy suppression by DIoU (Zheng et al. 2020, arXiv 1911.08287, section 3.4), which leaves boxes with
      distant centres alone.
    - ``wbf``: weighted boxes fusion (Solovyev et al. 2021, arXiv 1910.13302): greedy suppression, after which each box
      that is kept is the mean, weighted by score, of itself and those that it dropped. Unlike in the paper, which fuses
      what several networks found, clusters do not move while they grow, and the highest score is kept, not the mean,
      which many weak duplicates would pull down.
    - ``none``: the highest scores as they are, for networks that output no duplicates.

    Args:
        iou: Overlap above which the lower score of the same class suffers, 0..1.
        score_threshold: Rows at or below it are padding: they are never returned and never drop another.
        pre_nms: Rows an image that enter the suppression, by score.
        max_detections: Rows an image that may leave it.
        kind: How duplicates are suppressed, see above.
        class_agnostic: Suppress across classes too: one object is of one class.
        sigma: Width of ``soft_gaussian``, above 0.
        diou_beta: Exponent of the distance of centres in ``diou``, above 0: IoU - (d^2 / c^2)^beta. The paper has 1,
            Darknet 0.6.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> from dataclasses import replace
        >>> replace(NmsSettings(iou=0.65), kind="soft")  # doctest: +ELLIPSIS
        NmsSettings(iou=0.65, score_threshold=0.01, ..., kind='soft', ...)
    """

    iou: float = 0.5
    score_threshold: float = 0.01
    pre_nms: int = 1000
    max_detections: int = 100
    kind: NmsKind = "nms"
    class_agnostic: bool = False
    sigma: float = 0.5
    diou_beta: float = 1.0

    def __post_init__(self) -> None:
        for name in ("iou", "score_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"nms.{name} is {getattr(self, name)}; it must lie between 0 and 1.")
        for name in ("pre_nms", "max_detections"):
            if getattr(self, name) < 1:
                raise ConfigError(f"nms.{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("sigma", "diou_beta"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"nms.{name} is {getattr(self, name)}; it must be above 0.")
        if self.kind not in get_args(NmsKind):
            raise ConfigError(f"nms.kind is '{self.kind}'.{did_you_mean(str(self.kind), get_args(NmsKind))}")
