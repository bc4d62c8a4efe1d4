"""The YOLO line on blood cells (BCCD), from scratch, small members: what each version brought.

python examples/yolo_line.py                                # all seven
python examples/yolo_line.py --recipes yolov5n_bccd         # one of them
python examples/yolo_line.py --times                        # time of an image alone, untrained: a minute
python examples/yolo_line.py --out runs/yolo_line           # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

from pathlib import Path

from compare_detectors import command_line, compare

RESULTS = "yolo_line.json"
RECIPES = (
    "yolov1_fast_bccd",
    "yolov2_tiny_bccd",
    "yolov3_tiny_bccd",
    "yolov3_tiny_spp_bccd",
    "yolov4_tiny_bccd",
    "yolov5n_bccd",
    "yolox_nano_bccd",
)


def main(out: Path, recipes: tuple[str, ...] = RECIPES[5:6], seed: int = 0, quick: bool = True) -> str:
    return compare(out / RESULTS, recipes, seed, quick)


if __name__ == "__main__":
    command_line(__doc__, RECIPES, "runs/yolo_line", RESULTS)
