"""What a reader could not read: as it is raised, or noted and read past."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError

__all__ = ["codes_of", "faults_of"]


def faults_of(read: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """All faults of a data set, a line each; empty if there is none."""
    try:
        data = read(*arguments, **options)
    except DataError as error:
        return str(error)
    assert isinstance(data, TableDataset)
    return "\n".join(map(str, data.table.faults))


def codes_of(data: Any) -> list[str]:
    """Codes of the faults that were read past."""
    return [fault.code for fault in data.table.faults]
