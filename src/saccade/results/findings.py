"""What an evaluation finds in one image: figures, and errors that draw themselves, worst first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.results.images import Image, to_rgb8

__all__ = ["FOUND_COLOR", "TRUTH_COLOR", "Fault", "ImageFindings", "draw_crop"]

# Sky blue and vermilion of Okabe and Ito's palette, which colour-blind readers tell apart.
TRUTH_COLOR = (86, 180, 233)
FOUND_COLOR = (255, 94, 40)


@dataclass(frozen=True)
class Fault:
    """One error of a prediction.

    Args:
        kind: What went wrong, such as ``missed``; faults of a kind are shown together.
        weight: How bad it is among those of its kind.
        caption: What a reader has to know, on one line.
        draw: Draws it, (H, W, 3) uint8 RGB, given the image.

    Example:
        >>> fault = Fault("missed", 0.3, "dog, 40 x 60 pixels", lambda image: image[:60, :40])
        >>> fault.draw(np.zeros((100, 100, 3), np.uint8)).shape
        (60, 40, 3)
    """

    kind: str
    weight: float
    caption: str
    draw: Callable[[NDArray[Any]], Image]


@dataclass(frozen=True)
class ImageFindings:
    """Figures and faults of one image.

    Args:
        figures: Values by name; NaN where undefined.
        figure: Name of the one by which images are ordered and compared.
        higher_is_better: Direction of ``figure``.
        faults: Errors, in any order.

    Example:
        >>> ImageFindings({"objects": 2, "F1": 0.5}, "F1").score
        0.5
        >>> ImageFindings({"NME": 0.1}, "NME", higher_is_better=False).score
        -0.1
    """

    figures: dict[str, float | int | str]
    figure: str
    higher_is_better: bool = True
    faults: Sequence[Fault] = field(default=())

    @property
    def score(self) -> float:
        """``figure``, signed so that higher is better."""
        value = float(self.figures[self.figure])
        return value if self.higher_is_better else -value


def draw_crop(
    image: NDArray[Any],
    boxes_xyxy: NDArray[Any],
    names: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
    about: NDArray[Any],
) -> Image:
    """Cut what lies around some boxes out of an image, and draw boxes on it.

    Args:
        image: (H, W) or (H, W, C).
        boxes_xyxy: (N, 4), pixels; those outside of the cut are left out.
        names: N labels; an empty one draws none.
        colors: N colours.
        about: (M, 4) boxes that the cut shows whole, with room around them.

    Example:
        >>> image, box = np.zeros((400, 600, 3), np.uint8), np.array([[100.0, 100, 200, 250]])
        >>> draw_crop(image, box, ["dog"], [FOUND_COLOR], about=box).shape  # 330 x 280, drawn twice as large
        (660, 560, 3)
    """
    from saccade.results.drawing import draw_boxes

    height, width = image.shape[:2]
    low, high = about[:, :2].min(axis=0), about[:, 2:].max(axis=0)
    room = max(24.0, 0.6 * float((high - low).max()))
    x1, y1 = np.clip(np.floor(low - room), 0, (width - 1, height - 1)).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(high + room), (x1 + 1, y1 + 1), (width, height)).astype(int).tolist()
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4) - np.array([x1, y1, x1, y1])
    inside = np.flatnonzero(
        (boxes[:, 0] < x2 - x1) & (boxes[:, 1] < y2 - y1) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    ).tolist()
    cut = to_rgb8(image[y1:y2, x1:x2])
    return draw_boxes(cut, boxes[inside], [names[row] for row in inside], colors=[colors[row] for row in inside])
