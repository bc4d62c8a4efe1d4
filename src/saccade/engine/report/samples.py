"""Sheets of samples: what a network makes of a few fixed images, drawn after every epoch of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from saccade.data.loading.pipeline import EvalPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.models.base import Model
from saccade.models.normalize import Normalize
from saccade.results.drawing import draw_caption, montage, write_image
from saccade.results.images import read_rgb
from saccade.structures.dataset import VisionDataset

__all__ = ["FOLDER", "draw_samples", "save_samples", "show_samples"]

FOLDER = "samples"
_CELL = 280
_SHOWN = 3  # sheets in a report: of the first epoch, of the middle one and of the last


def draw_samples(model: Model, dataset: VisionDataset, count: int = 4) -> NDArray[np.uint8] | None:
    """Draw :meth:`Model.samples` of a few evenly spaced images, a row each; None for a network that has none.

    The network is run in eval mode, and no random number is drawn.

    Args:
        model: The network; it stays as it is.
        dataset: Images with ground truth.
        count: How many images.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> draw_samples(saccade.create_model("lenet5"), DigitScenes("classification", "val")) is None
        True
    """
    if type(model).samples is Model.samples or not len(dataset):
        return None
    pipeline = EvalPipeline(dataset, model.input_spec)
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    tensor = next(model.parameters())
    normalize = Normalize(model.input_spec).to(tensor.device)
    training = model.training
    model.eval()
    tiles: list[NDArray[Any]] = []
    columns = 1
    try:
        for index in indices.tolist():
            (batch,) = pipeline.collate([pipeline[SampleKey(0, index)]])
            batch = batch.to(tensor.device)
            with torch.no_grad():
                made = model.samples(normalize(batch.images), batch.targets)
            columns = len(made)
            for title, image in made.items():
                pixels = image[0].float().permute(1, 2, 0).clamp(0, 255).round().to(torch.uint8)
                tiles.append(draw_caption(pixels.cpu().numpy(), [title]))
    finally:
        model.train(training)
    return montage(tiles, columns=columns, cell=_CELL) if tiles else None


def save_samples(run: Path, epoch: int, model: Model, dataset: VisionDataset) -> Path | None:
    """Write the sheet of an epoch into the folder of a run; None for a network without samples.

    Args:
        run: Folder of the run.
        epoch: Counted from 1.
        model: The network.
        dataset: Images with ground truth.
    """
    sheet = draw_samples(model, dataset)
    return None if sheet is None else write_image(run / FOLDER / f"epoch-{epoch:04d}.jpg", sheet)


def show_samples(run: Path) -> dict[str, Sequence[NDArray[np.uint8]]]:
    """Read the sheets for a report: those of the first, the middle and the last epoch, under a title.

    Args:
        run: Folder of the run.
    """
    files = sorted((run / FOLDER).glob("epoch-*.jpg"))
    chosen = [files[row] for row in np.unique(np.linspace(0, len(files) - 1, min(_SHOWN, len(files))).astype(int))]
    if not chosen:
        return {}
    epochs = ", ".join(str(int(re.findall(r"\d+", file.stem)[0])) for file in chosen)
    return {f"samples after epoch {epochs}": [read_rgb(file) for file in chosen]}
