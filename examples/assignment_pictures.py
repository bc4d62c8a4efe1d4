"""What each detector assigns in one image: positives of every level by object, drawn for the detectors named.

python examples/assignment_pictures.py yolox_tiny fcos
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import saccade

DETECTORS = ("yolox_tiny", "retinanet", "fcos", "centernet", "ssd")
IMAGE, DATA = "digit_scenes/val/00003", "digit_scenes"


def main(out: Path, names: Sequence[str] = DETECTORS) -> None:
    """Draw one sheet a detector; a name alone has random weights, which decide in YOLOX only."""
    for name in names:
        assigned = saccade.explain(name, IMAGE, assign=True, data=DATA, save=out / f"{name}.png")
        levels = ", ".join(f"{row['level']}: {row['positive']}" for row in assigned.levels())
        print(f"{name}: {len(assigned.objects())} objects, positives {levels}")


if __name__ == "__main__":
    main(Path("assignment"), sys.argv[1:] or DETECTORS)
