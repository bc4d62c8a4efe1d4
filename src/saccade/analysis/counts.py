"""Parameters and multiply-adds of all builders, counted once and kept, so that a list of networks is there at once.

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
    """Of one image at the network's own canvas and number of classes."""

    params: int
    macs: int


@functools.cache
def kept_counts() -> Mapping[str, Counts]:
    """What the file holds, by builder."""
    return {name: Counts(*values) for name, values in json.loads(COUNTS_FILE.read_text()).items()}


def counts_of(name: str) -> Counts:
    """Counts of a builder, from the file; those of a builder of the user's own are counted now.

    Raises:
        ConfigError: If there is no such builder.
    """
    kept = kept_counts().get(name)
    if kept is not None:
        return kept
    counted = summary(name)
    return Counts(counted.params, counted.macs)
