"""Transfer learning: train on four kinds of landscape, then on the other two in three ways.

python examples/transfer.py             # writes docs/results/transfer.md
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import saccade
from saccade.data.catalogue.catalogue import locate
from saccade.engine.train.config import DataConfig, FreezeConfig, TrainConfig
from saccade.recipes.scenes import scenes

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "transfer.md"
FIRST, SECOND = ("buildings", "forest", "glacier", "mountain"), ("sea", "street")
# Photographs a class of the second pair to train on: with a hundred, transfer would bring nothing.
FEW = 10


def write_folder(root: Path, classes: tuple[str, ...], few: int | None = None) -> Path:
    """Copy the photographs of some classes, a folder a class."""
    source = locate("intel_scenes")
    for split in ("train", "test"):
        for name in classes:
            target = root / split / name
            target.mkdir(parents=True)
            files = sorted((source / split / name).iterdir())
            for file in files[: few if split == "train" else None]:
                shutil.copyfile(file, target / file.name)
    return root


def config_for(data: Path, epochs: int, out: Path, name: str) -> TrainConfig:
    folder = DataConfig(source=str(data), train="train", val=None, test="test", size=(64, 64), batch_size=20)
    return scenes("resnet18", 64, minutes=None, data=folder, epochs=epochs, name=name, out=str(out))


def main(out: Path, epochs: int = 1, few: int | None = FEW) -> str:
    """A quick try; the command line asks for more."""
    first, second = write_folder(out / "four", FIRST, few), write_folder(out / "two", SECOND, FEW)
    base = saccade.train(config_for(first, epochs, out, "four_classes"))
    lines = [f"Four classes: top-1 {100 * base.metrics['top1']:.1f} %.", ""]
    lines += ["| start | trained | parameters trained | top-1 on 40 | seconds |", "|---|---|---:|---:|---:|"]
    for init, trainable in (
        (None, "all"),
        (str(base.model_path), "all"),
        (str(base.model_path), "last:2"),
        (str(base.model_path), "head"),
    ):
        config = config_for(second, epochs, out, f"two_classes_{trainable.replace(':', '')}_{init is not None}")
        config.weights, config.freeze = init, FreezeConfig(trainable=trainable)
        config.optimizer.lr = 2e-3 if trainable == "head" or init is None else 5e-4
        start = time.monotonic()
        run = saccade.train(config)
        seconds = time.monotonic() - start
        model = saccade.load(run.model_path)
        trained = {"all": model, "last:2": [model.layer3, model.layer4, model.fc], "head": model.fc}[trainable]
        parts = trained if isinstance(trained, list) else [trained]
        count = sum(parameter.numel() for part in parts for parameter in part.parameters())
        name = "random" if init is None else "four classes"
        lines.append(f"| {name} | {trainable} | {count:,} | {100 * run.metrics['top1']:.1f} | {seconds:.0f} |")
        print(lines[-1], flush=True)
        if trainable == "head" and init is not None:
            before = saccade.load(run.model_path, earlier_head=0)
            score = saccade.evaluate(before, str(first), split="test").values["top1"]
            lines += [
                "",
                f"The old head, kept beside the new one, still scores {100 * score:.1f} % on the four classes.",
            ]
            print(lines[-1])
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    table = main(Path(tempfile.mkdtemp(prefix="saccade-")), arguments.epochs, None)
    if arguments.epochs == parser.get_default("epochs"):
        head, mark, _ = RESULTS.read_text().partition("<!-- measured -->")
        RESULTS.write_text(f"{head}{mark}\n{table}\n")
