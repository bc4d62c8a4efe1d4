"""The most crowded image of a data set: what is there, and what each detector finds of it.

python examples/crowd.py runs/yolov1_fast_bccd runs/yolov2_tiny_bccd --data bccd --split test --out crowd.png

Each detector is drawn above its own best threshold, that of the largest F1 over the split.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import saccade
from saccade.data import open_dataset
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.deploy.runtime import Runtime, open_runtime
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.predict.predict import predict
from saccade.models.checkpoint import save_model
from saccade.results.images import montage, write_image
from saccade.structures.dataset import VisionDataset
from saccade.tasks import get_task


def draw(runtimes: Sequence[Runtime], data: VisionDataset, file: Path) -> None:
    """Draws the image with the most objects, and prints how many of them each detector finds."""
    task = get_task("detection")
    sample = max((data.read(index) for index in range(len(data))), key=lambda one: len(one.target["boxes"]))
    sample.info.image = sample.image
    truth = task.from_target(sample.target, sample.info, data.info.class_names)
    print(f"{sample.info.path}: {truth.describe()}")
    drawings = [truth.plot()]
    for runtime in runtimes:
        least = evaluate(runtime, data).values["F1_confidence"]
        result = next(predict(runtime, sample.image)).above(0.0 if np.isnan(least) else least)
        figures = task.inspect(result, sample.target, data.info).figures
        found = ", ".join(f"{name.replace('_', ' ')} {figures[name]}" for name in ("found", "not_found", "false"))
        print(f"{runtime.name}: {result.describe()} above {least:.2f} ({found})")
        drawings.append(result.plot())
    write_image(file, montage(drawings, columns=len(drawings), cell=480))
    print(f"ground truth, then each detector: {file}")


def main(out: Path) -> None:
    """A quick try, with a detector that has learnt nothing."""
    scenes = DigitScenes("detection", "val", count=4, size=(64, 64))
    model = saccade.create_model("yolox_nano", num_classes=len(scenes.info.class_names))
    model.class_names = scenes.info.class_names
    draw([open_runtime(save_model(model, out / "nano.safetensors"))], scenes, out / "crowd.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="checkpoints, folders of runs or exported files")
    parser.add_argument("--data", default="bccd")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, default=Path("crowd.png"))
    given = parser.parse_args()
    test = open_dataset(given.data, given.split, task="detection", bad_labels="drop")
    draw([open_runtime(model) for model in given.models], test, given.out)
