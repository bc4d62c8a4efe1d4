"""Formats from outside the package; a whole one is built by docs/add_a_data_format.md."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from saccade.data.readers import READERS, csv, detect_format, register_reader
from saccade.errors import DataError


@pytest.fixture(autouse=True)
def _readers() -> Iterator[None]:
    before = dict(READERS)
    yield
    READERS.clear()
    READERS.update(before)


def test_a_registered_format_is_found_first(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("file,label\na.jpg,cat\n")
    assert detect_format(tmp_path) == "csv"
    register_reader("table", csv)
    register_reader("table", csv)  # a module that is imported again
    assert detect_format(tmp_path) == "table"


def test_formats_of_the_package_stay() -> None:
    with pytest.raises(DataError, match="'csv' is a format of the package"):
        register_reader("csv", csv)


def test_a_reader_without_a_function_is_refused() -> None:
    half = types.SimpleNamespace(matches=csv.matches, splits=csv.splits)
    with pytest.raises(DataError, match="format 'table': its reader has no function 'read'"):
        register_reader("table", half)  # type: ignore[arg-type]
    assert "table" not in READERS
