"""What each detector assigns in one image: positives of every level by object, drawn for the detectors named.

python examples/assignment_pictures.py                    # the pictures of docs/detection.md
python examples/assignment_pictures.py yolox_tiny fcos    # some of them
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

import saccade

DETECTORS = ("yolox_tiny", "retinanet", "fcos", "centernet", "ssd")
BOXES = ((40.0, 60.0, 260.0, 340.0), (300.0, 220.0, 356.0, 290.0))  # of a large and a small object, 512 x 512 pixels
WIDTHS, COLOURS, BYTES = (900, 760, 640), 32, 80_000  # of the pictures, small enough for a page


def scene() -> np.ndarray:
    """Two ellipses on grey."""
    image = np.full((512, 512, 3), 150, np.uint8)
    for (x1, y1, x2, y2), colour in zip(BOXES, ((190, 120, 60), (70, 110, 170)), strict=True):
        centre, axes = (round((x1 + x2) / 2), round((y1 + y2) / 2)), (round((x2 - x1) / 2), round((y2 - y1) / 2))
        cv2.ellipse(image, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
    return image


def reduce(file: Path) -> None:
    """Make a drawing small: fewer colours, and as many pixels as the limit lets."""
    with Image.open(file) as drawing:
        whole = drawing.convert("RGB")
    for width in WIDTHS:
        small = whole.resize((width, round(whole.height * width / whole.width)), Image.Resampling.LANCZOS)
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
        if file.stat().st_size < BYTES:
            break


def main(out: Path, names: Sequence[str] = DETECTORS) -> None:
    """Draw one sheet a detector; a name alone has random weights, which decide in YOLOX only."""
    target = {"boxes": np.array(BOXES, np.float32), "labels": np.array([0, 1])}
    for name in names:
        torch.manual_seed(0)
        file = out / f"{name}.png"
        assigned = saccade.explain(name, scene(), assign=True, target=target, save=file)
        reduce(file)
        levels = ", ".join(f"{row['level']}: {row['positive']}" for row in assigned.levels())
        print(f"{name}: {len(assigned.objects())} objects, positives {levels}")


if __name__ == "__main__":
    main(Path("docs/images/assignment"), sys.argv[1:] or DETECTORS)
