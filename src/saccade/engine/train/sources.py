"""Where the images of a run come from: one source, several that are joined by class name, or data sets in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saccade.data.derived.joined import join_by_class
from saccade.data.open import holds_out, open_dataset
from saccade.engine.train.config import DataConfig
from saccade.errors import ConfigError
from saccade.structures.dataset import VisionDataset

__all__ = ["IN_MEMORY", "open_sources", "sources_of"]

IN_MEMORY = "data sets in memory"
"""What ``data.source`` is called of a run that was given its data sets in Python."""


def sources_of(data: DataConfig) -> tuple[str, ...]:
    """Sources of a run.

    Raises:
        ConfigError: If none is named, both one and several are, or the run had data sets in memory.

    Example:
        >>> sources_of(DataConfig(sources=("pets", "farm"))), sources_of(DataConfig(source="pets"))
        (('pets', 'farm'), ('pets',))
    """
    if data.source == IN_MEMORY:
        raise ConfigError(
            "the run was trained on data sets in memory, which no configuration holds. Give them again in Python: "
            "saccade.train(..., train=..., val=...), also to resume it; or name a data set (data, --data PATH)."
        )
    if data.source and data.sources:
        raise ConfigError(
            f"data.source is '{data.source}' and data.sources {', '.join(data.sources)}. Put all into data.sources, "
            "and set data.source to ''."
        )
    if not data.source and not data.sources:
        raise ConfigError(
            "data.source is empty. Name a data set (see 'saccade datasets') or a folder: --data.source PATH."
        )
    return data.sources or (data.source,)


def open_sources(data: DataConfig, splits: Sequence[str], task: str, **options: Any) -> list[VisionDataset]:
    """Open splits of all sources of a run, joined by the names of their classes.

    Args:
        data: Sources, format, policies and folds; ``val`` and ``test`` say whether images are held out of ``train``.
        splits: Names of the splits; several that make one are joined by ``+``.
        task: Which ground truth to read.
        **options: Options of the readers.

    Raises:
        SaccadeError: If a source cannot be read, or they do not go together.

    Example:
        >>> train, val = open_sources(DataConfig(source="digit_scenes"), ["train", "val"], "detection")
        >>> len(train), len(val), val.info.split
        (2000, 200, 'val')
    """
    folds = (data.folds, data.fold) if data.folds else None
    sources = sources_of(data)
    held_out = [holds_out(source, (data.val, data.test, *splits), data.format, task=task) for source in sources]

    def open_split(source: str, split: str, hold_out: bool) -> VisionDataset:
        return open_dataset(
            source,
            split,
            format=data.format,
            task=task,
            bad_labels=data.bad_labels,
            bad_images=data.bad_images,
            folds=folds,
            hold_out=hold_out,
            **options,
        )

    return [
        join_by_class([open_split(source, split, held) for source, held in zip(sources, held_out, strict=True)])
        for split in splits
    ]
