"""From a folder of images to a trained classifier and its predictions. Half a minute on two cores.

python examples/first_classifier.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
from sklearn.datasets import load_digits

import saccade


def write_folder(root: Path) -> None:
    """1,797 scans of handwriting, one folder a class; every fifth is kept for validation."""
    scans = load_digits()
    for number, (image, digit) in enumerate(zip(scans.images, scans.target, strict=True)):
        file = root / ("val" if number % 5 == 4 else "train") / str(digit) / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), cv2.resize(255 - image * (255 / 16), (32, 32), interpolation=cv2.INTER_CUBIC))


def main(out: Path) -> None:
    write_folder(out / "digits")
    config = saccade.recipe(model="lenet5", data=str(out / "digits"))
    config.augment.flip = 0.0  # a mirrored 3 is no 3
    config.epochs = 6
    config.out = str(out)
    run = saccade.train(config)
    print({name: round(value, 3) for name, value in run.metrics.items()})

    for result in list(saccade.predict(run.model_path, out / "digits" / "val" / "7"))[:5]:
        print(result.name, round(result.score, 3))
        result.save(out / "predictions" / f"{result.image_id}.png")
    print(f"drawings are in {out / 'predictions'}, the report is {run.folder / 'report.html'}")


if __name__ == "__main__":
    main(Path(tempfile.mkdtemp(prefix="saccade-")))
