"""Train ResNet-18 on generated pictures of real handwriting, score it, and look at its answers. A minute on two cores.

python examples/first_classifier.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import saccade


def main(out: Path) -> None:
    config = saccade.recipe(model="resnet18", data="digit_scenes")
    config.data.size = (48, 48)
    config.augment.flip = 0.0  # a mirrored 3 is no 3
    config.epochs = 4
    config.out = str(out)
    run = saccade.train(config)
    print({name: round(value, 3) for name, value in run.metrics.items()})

    from saccade.data.digit_scenes import DigitScenes

    unseen = DigitScenes("classification", "test", count=5)
    for index, answer in enumerate(saccade.predict(run.model_path, (unseen.read(i).image for i in range(5)))):
        print(answer.to_json())
        answer.save(out / "answers" / f"{index}.png")
    print(f"pictures are in {out / 'answers'}, the report is {run.folder / 'report.html'}")


if __name__ == "__main__":
    main(Path(tempfile.mkdtemp(prefix="saccade-")))
