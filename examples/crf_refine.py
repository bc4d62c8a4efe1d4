"""What a dense CRF adds to a trained segmenter: mIoU and boundary F of the validation images before and after.

python examples/crf_refine.py                                        # trains deeplabv3_camvid, then refines it
python examples/crf_refine.py --model runs/my_run/best.safetensors   # a segmenter of CamVid that is trained
python examples/crf_refine.py --model M --data folder --split test   # of other data
python examples/crf_refine.py --set bi_rgb_std=10 iterations=5       # other settings, in a row of their own
python examples/crf_refine.py --learn 8                              # compatibility of labels from 8 training images

No setting is searched on the images that are scored. There are the settings published with DeepLab for VOC, whose
images are 500 pixels wide, and the same with distances scaled to the network's canvas.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _runs import Row, machine, markdown

import saccade
from saccade.data import open_dataset
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.loading.pipeline import EvalPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.deploy.runtime import EagerRuntime
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets
from saccade.models.base import Model
from saccade.models.finish import run_finish
from saccade.ops.dense_crf import CrfSettings, learn_compatibility
from saccade.results.images import montage, write_image
from saccade.structures.dataset import VisionDataset
from saccade.tasks import get_task

SCORES = {"mIoU": "mIoU", "mean_boundary_F": "boundary F", "pixel_accuracy": "pixel accuracy"}
PICTURE = "crf_refine.png"
SHOWN = 3  # images of the figure
VOC_WIDTH = 500


class Given(NamedTuple):
    """The command line."""

    out: Path
    model: Path | None = None
    recipe: str = "deeplabv3_camvid"
    data: str = "camvid"
    split: str = "val"
    settings: Mapping[str, Any] = {}
    learn: int = 0
    quick: bool = False


def train(given: Given) -> tuple[Model, Datasets | None]:
    """The recipe's network, trained, or found where it was trained before."""
    config = saccade.recipe(given.recipe)
    config.out, data = str(given.out), None
    if given.quick:
        config.epochs, config.data.size, config.data.workers = 1, (64, 64), 0
        config.model_args["backbone"] = "resnet18"
        first, second = (DigitScenes("segmentation", split, count=4, size=(64, 64)) for split in ("train", "test"))
        data = Datasets(first, None, second)
    return saccade.load(fit(config, resume=True, data=data).model_path), data


def scaled(settings: CrfSettings, width: int) -> CrfSettings:
    """The same distances as shares of the image, on a canvas of another width."""
    factor = width / VOC_WIDTH
    return replace(settings, pos_xy_std=settings.pos_xy_std * factor, bi_xy_std=settings.bi_xy_std * factor)


def learn(model: Model, images: VisionDataset, count: int, settings: CrfSettings) -> list[list[float]]:
    """Compatibility of labels from the first images of the training split."""
    pipeline = EvalPipeline(images, model.input_spec)
    samples = [pipeline[SampleKey(0, index)] for index in range(min(count, len(images)))]
    pixels = torch.stack([torch.from_numpy(sample.image).permute(2, 0, 1) for sample in samples])
    labels = torch.stack([torch.from_numpy(sample.target["label_map"]) for sample in samples])
    probabilities = EagerRuntime(model)(pixels)["probabilities"]
    matrix = learn_compatibility(probabilities.clamp(min=1e-6).log(), pixels, labels, settings, steps=10)
    return [[round(value, 3) for value in row] for row in matrix.tolist()]


def measure(model: Model, test: VisionDataset, options: Mapping[str, Any] | None) -> Row:
    """Scores of the network alone, or with the CRF after it, and what the CRF costs an image."""
    model.finish, model.finish_options = ("", {}) if options is None else ("dense_crf", options)
    report = evaluate(EagerRuntime(model), test, batch_size=4)
    row: Row = {key: report.values[key] for key in SCORES} | {"machine": machine(), "seconds": 0.0}
    if options is not None:
        canvas = EvalPipeline(test, model.input_spec)[SampleKey(0, 0)].image
        image = torch.from_numpy(canvas).permute(2, 0, 1)[None]
        classes = max(model.num_classes, 1)
        start = time.perf_counter()
        run_finish("dense_crf", {"probabilities": torch.rand(1, classes, *image.shape[2:])}, image, options)
        row["seconds"] = time.perf_counter() - start
    return row


def table(rows: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        return [name, *(f"{row[key]:.4f}" for key in SCORES), f"{row['seconds']:.2f}"]

    return markdown(("", *SCORES.values(), "seconds of the CRF, an image"), rows, cells)


def draw(model: Model, test: VisionDataset, options: Mapping[str, Any], file: Path) -> None:
    """A row an image: the image, its ground truth, and the labels before and after."""
    task, pipeline, tiles = get_task(model.task), EvalPipeline(test, model.input_spec), []
    for index in np.linspace(0, len(test) - 1, min(SHOWN, len(test))).astype(int).tolist():
        original, sample = test.read(index), pipeline[SampleKey(0, index)]
        original.info.image = sample.info.image = original.image
        tiles += [original.image, task.from_target(original.target, original.info, test.info.class_names).plot()]
        canvas = torch.from_numpy(sample.image).permute(2, 0, 1)[None]
        for model.finish, model.finish_options in (("", {}), ("dense_crf", options)):
            decoded = EagerRuntime(model)(canvas)
            tiles.append(task.results(decoded, [sample.info], test.info.class_names)[0].plot())
    write_image(file, montage(tiles, columns=4, cell=320))


def refine(given: Given) -> str:
    """Trains where no model is given, scores every row, and draws the last but the learnt one."""
    model, data = train(given) if given.model is None else (saccade.load(given.model), None)
    test = data.test if data else open_dataset(given.data, given.split, task="segmentation")
    assert test is not None
    published = CrfSettings()
    fitted = scaled(published, model.input_spec.size[1])
    choices = {"published with DeepLab": published, "scaled to the canvas": fitted}
    if given.settings:
        choices["as given"] = fitted = replace(fitted, **given.settings)
    rows = {"network alone": measure(model, test, None)}
    for name, settings in choices.items():
        rows[f"dense CRF, {name}"] = measure(model, test, asdict(settings))
    if given.learn:
        train_split = data.train if data else open_dataset(given.data, "train", task="segmentation")
        model.finish = ""
        compatibility = learn(model, train_split, given.learn, fitted)
        rows["dense CRF, learnt compatibility"] = measure(
            model, test, {**asdict(fitted), "compatibility": compatibility}
        )
    result = table(rows)
    print(result)
    draw(model, test, asdict(fitted), given.out / PICTURE)
    print(f"figure: {given.out / PICTURE}")
    return result


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return refine(Given(out, settings={"iterations": 2, "bi_rgb_std": 20.0}, learn=2, quick=True))


def command_line() -> Given:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="checkpoint of a segmenter; the recipe is trained if not given")
    parser.add_argument("--recipe", default="deeplabv3_camvid")
    parser.add_argument("--data", default="camvid")
    parser.add_argument("--split", default="val", help="images that are scored")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the CRF")
    parser.add_argument("--learn", type=int, default=0, metavar="N", help="learn the compatibility on N images")
    parser.add_argument("--out", type=Path, default=Path("runs/crf_refine"))
    parser.add_argument("--quick", action="store_true", help="an epoch of a few small scenes of digits: does it run?")
    read = parser.parse_args()
    pairs = (pair.partition("=") for pair in read.set)
    settings = {name: int(value) if name == "iterations" else float(value) for name, _, value in pairs}
    return Given(read.out, read.model, read.recipe, read.data, read.split, settings, read.learn, read.quick)


if __name__ == "__main__":
    refine(command_line())
