"""What the parts of DeepLabV3 are worth: output stride, multi-grid, dilated branches, image pooling (CamVid).

python examples/dilation_choices.py                           # six runs of DeepLabV3 over ResNet-18
python examples/dilation_choices.py --runs stride_32 stride_8 # some of them
python examples/dilation_choices.py --out runs/dilation       # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from _runs import SEGMENTATION_METRICS, Row, markdown, quick_options, run_options, scores, train_runs

import saccade
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult
from saccade.recipes.camvid import camvid

CHOICES = {
    "stride_32": ("output stride 32", {"output_stride": 32}),
    "stride_16": ("output stride 16 (all parts)", {"output_stride": 16}),
    "stride_8": ("output stride 8", {"output_stride": 8}),
    "no_multi_grid": ("stride 16 without multi-grid", {"output_stride": 16, "multi_grid": ()}),
    "no_dilated_branches": ("stride 16 without dilated branches", {"output_stride": 16, "rates": ()}),
    "no_image_pooling": ("stride 16 without image pooling", {"output_stride": 16, "image_pooling": False}),
}


def settings(choice: str, seed: int) -> TrainConfig:
    """The settings of the CamVid recipes on half their pixels, the same for every choice."""
    config = camvid("deeplabv3", model_args={"backbone": "resnet18", **CHOICES[choice][1]}, epochs=40)
    config.data.size, config.data.workers, config.seed = (128, 192), 0, seed
    return config


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        figures = scores(row, SEGMENTATION_METRICS)
        return [row["title"], *figures, f"{row['macs'] / 1e9:.2f} G", f"{row['minutes']:.1f}"]

    titles = ["DeepLabV3 over ResNet-18", "mIoU", "pixel accuracy", "boundary F", "multiply-adds"]
    return markdown([*titles, "minutes of training"], results, cells)


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return compare(quick_options(out, "no_multi_grid"))


def compare(given: argparse.Namespace) -> str:
    names = {f"{choice}_{given.seed}": choice for choice in given.runs}

    def describe(key: str, run: RunResult) -> Row:
        return {"title": CHOICES[names[key]][0], "macs": saccade.summary(saccade.load(run.model_path)).macs}

    configs = {key: settings(choice, given.seed) for key, choice in names.items()}
    file = given.out / "dilation_choices.json"
    return train_runs(file, configs, given, describe, table, metrics=SEGMENTATION_METRICS)


if __name__ == "__main__":
    compare(run_options(__doc__, list(CHOICES), "runs/dilation_choices").parse_args())
