"""``saccade show``: what a network really sees of a data set, after augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from saccade.cli._arguments import parse
from saccade.cli._console import printer

__all__ = ["run"]


@dataclass
class ShowArguments:
    """Draw training images with their ground truth as they reach the network: resized, augmented, joined."""

    data: tyro.conf.Positional[str]
    """Name in the catalogue, or a path."""
    recipe: str | None = None
    """Recipe whose network and augmentation are shown, on this data; an unknown name offers the nearest."""
    model: str | None = None
    """Network in place of a recipe, with the usual settings of its task. Without either, the usual settings of the task
    of the data, on a canvas of 320 x 320."""
    split: str | None = None
    """Part of the data; several are joined by "+". The part for training if not given."""
    format: str | None = None
    """Reader; found by looking at the folder if not given."""
    task: str | None = None
    """Which ground truth to read, where the data has several and no network decides."""
    save: Path = Path("show.png")
    """Image to write."""
    count: int = 16
    """How many images."""
    epoch: int = 0
    """Epoch of the run, from 0; from the end if negative. Recipes may augment less towards the end."""
    seed: int | None = None
    """Seed of the run; the recipe's if not given."""


def run(argv: Sequence[str]) -> int:
    """Parse, draw, say where the image is."""
    arguments = parse(ShowArguments, argv, "show")
    from saccade import api

    api.show(
        arguments.data,
        recipe=arguments.recipe,
        model=arguments.model,
        split=arguments.split,
        format=arguments.format,
        task=arguments.task,
        count=arguments.count,
        epoch=arguments.epoch,
        seed=arguments.seed,
        save=arguments.save,
    )
    printer().print(f"drawn in {arguments.save}", soft_wrap=True, markup=False)
    return 0
