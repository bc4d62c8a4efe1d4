"""CycleGAN with no cycle, half a cycle (only A to B and back) and the whole one, side by side in one figure.

python examples/cycle_or_not.py                       # three runs of 20 minutes on summer2winter
python examples/cycle_or_not.py --runs none full      # some of them
python examples/cycle_or_not.py --out runs/cycles     # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from _runs import Row, few_or_all, markdown, quick_options, run_options, train_runs
from numpy.typing import NDArray

import saccade
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.loading.pipeline import EvalPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.data.open import open_dataset
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult
from saccade.engine.train.setup import Datasets
from saccade.models.normalize import Normalize
from saccade.models.translation.cyclegan import CycleGAN
from saccade.recipes import get_recipe
from saccade.results.drawing import draw_caption, montage, write_image
from saccade.structures.dataset import VisionDataset

CYCLES = {"none": "no cycle", "half": "half a cycle", "full": "whole cycle"}
SHOWN = 4  # images of each domain in the figure
WAYS = (("A", "A to B"), ("B", "B to A"))

Samples = dict[str, list[NDArray[np.float32]]]


def settings(cycle: str, given: argparse.Namespace) -> TrainConfig:
    """The settings of the recipe; only the cycle differs."""
    config = get_recipe("cyclegan_summer2winter")
    config.model_args["cycle"] = cycle
    config.seed, config.data.workers = given.seed, 0
    if given.quick:
        config.model_args |= {"base_channels": 4, "discriminator_channels": 4}
    return config


def domains(name: str, config: TrainConfig) -> Datasets:
    """The data that the configuration names; for a quick try four scenes of digits, and others in inverted colours."""
    if config.data.source != "digit_scenes":
        return few_or_all(name, config)
    folder = Path(config.out) / "domains"
    for split in ("train", "test"):
        scenes = DigitScenes("detection", split, count=4, size=(64, 64))
        for index in range(4):
            image = scenes.read(index).image
            letter = "AB"[index % 2]
            write_image(folder / f"{split}{letter}" / f"{index}.png", image if letter == "A" else 255 - image)
    train, test = (open_dataset(folder, split) for split in ("train", "test"))
    return Datasets(train, None, test)


def samples_of(model: CycleGAN, data: VisionDataset) -> Samples:
    """What the network makes of every test image: by title, (H, W, 3) of 0..255."""
    pipeline, normalize = EvalPipeline(data, model.input_spec), Normalize(model.input_spec)
    found: Samples = {}
    for index in range(len(data)):
        (batch,) = pipeline.collate([pipeline[SampleKey(0, index)]])
        with torch.no_grad():
            made = model.eval().samples(normalize(batch.images), batch.targets)
        for title, images in made.items():
            found.setdefault(title, []).append(images[0].permute(1, 2, 0).numpy())
    return found


def cycle_error(samples: Samples, there: str, back: str) -> float:
    """Mean absolute difference of an image from what comes back of it, 0..1."""
    pairs = zip(samples[there], samples[back], strict=True)
    return float(np.mean([np.abs(image - again).mean() for image, again in pairs])) / 255


def figure(samples: Mapping[str, Samples]) -> NDArray[np.uint8]:
    """A row an image: the image, then its translation by each run; of A, and beside it of B."""
    tiles = []
    for row in range(min(SHOWN, *(len(one["A"]) for one in samples.values()))):
        for title, made in WAYS:
            first = next(iter(samples.values()))
            tiles.append(draw_caption(first[title][row].astype(np.uint8), [title]))
            tiles += [
                draw_caption(one[made][row].round().astype(np.uint8), [f"{made}, {CYCLES[name]}"])
                for name, one in samples.items()
            ]
    return montage(tiles, columns=2 * (1 + len(samples)), cell=256)


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        return [row["title"], *(f"{row[key]:.3f}" for key in ("A", "B", "KID_thumbnails")), f"{row['minutes']:.1f}"]

    titles = ("cycle", "A to B to A, L1", "B to A to B, L1", "KID of thumbnails", "minutes of training")
    return markdown(titles, results, cells)


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return compare(quick_options(out, *CYCLES))


def compare(given: argparse.Namespace) -> str:
    names = {f"{cycle}_{given.seed}": cycle for cycle in given.runs}
    configs = {key: settings(cycle, given) for key, cycle in names.items()}

    def load(key: str, config: TrainConfig) -> Samples:
        model = saccade.load(given.out / key)
        assert isinstance(model, CycleGAN)
        data = domains(key, config)
        assert data.test is not None
        return samples_of(model, data.test)

    def describe(key: str, run: RunResult) -> Row:
        samples = load(key, configs[key])
        errors = {name: cycle_error(samples, name, f"{made} to {name}") for name, made in WAYS}
        return {"title": CYCLES[names[key]], **errors}

    file = given.out / "cycle_or_not.json"
    text = train_runs(file, configs, given, describe, table, data=domains, metrics=("KID_thumbnails",))
    drawn = figure({cycle: load(key, configs[key]) for key, cycle in names.items()})
    print(f"side by side: {write_image(given.out / 'cycle_or_not.png', drawn)}")
    return text


if __name__ == "__main__":
    compare(run_options(__doc__, list(CYCLES), "runs/cycle_or_not").parse_args())
