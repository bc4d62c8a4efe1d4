"""Stored counts of parameters and multiply-adds of all builders, so that a list of networks takes no time.

``counts.json`` is written by ``python docs/models_table.py`` (``make docs``); the contract suite counts every network
anew and compares.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from saccade.analysis.summary import summary

__all__ = ["COUNTS_FILE", "Counts", "counts_of", "kept_counts"]

COUNTS_FILE = Path(__file__).with_name("counts.json")


class Counts(NamedTuple):
    """Parameters and multiply-adds of a network, for one image of its default canvas and number of classes.

    Args:
        params: Parameters.
        macs: Multiply-adds of one image.

    Example:
        >>> Counts(params=61706, macs=416520).macs
        416520
    """

    params: int
    macs: int


@functools.cache
def kept_counts() -> Mapping[str, Counts]:
    """Read the stored counts of all builders, by name.

    Example:
        >>> kept_counts()["lenet5"]
        Counts(params=61706, macs=416520)
    """
    return {name: Counts(*values) for name, values in json.loads(COUNTS_FILE.read_text()).items()}


def counts_of(name: str) -> Counts:
    """Parameters and multiply-adds of a builder: stored, or counted now if the builder is the user's own.

    Raises:
        ConfigError: If there is no such builder.

    Example:
        >>> counts_of("resnet50").params
        25557032
    """
    kept = kept_counts().get(name)
    if kept is not None:
        return kept
    counted = summary(name)
    return Counts(counted.params, counted.macs)
