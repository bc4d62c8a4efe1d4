"""Functions that run after the graph (grouping points into people, a dense CRF), by name, so that files can hold it.

A model names its function in ``finish`` and its keyword arguments in ``finish_options``; both travel in checkpoints and
exported files, and every runtime runs it on what the graph gave.
"""

from __future__ import annotations

from saccade.models import finish_dense_crf, finish_group_people
from saccade.models.finish_registry import check_finish, makes_of, merge_of, register_finish, run_finish

__all__ = [
    "check_finish",
    "finish_dense_crf",
    "finish_group_people",
    "makes_of",
    "merge_of",
    "register_finish",
    "run_finish",
]
