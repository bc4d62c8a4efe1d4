"""Two thousand broken files, and arbitrary values in valid ones: each loads, or is named with its fault."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.fuzz import mutant, use
from tests.data.specimens import SPECIMENS, Specimen

from saccade.data.check import check_dataset
from saccade.data.open import open_raw

BY_NAME = {specimen.name: specimen for specimen in SPECIMENS}
each_specimen = pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda specimen: specimen.name)


def test_the_suite_has_two_thousand_mutants() -> None:
    assert sum(specimen.mutants for specimen in SPECIMENS) >= 2000
    assert len(BY_NAME) == len(SPECIMENS)


@each_specimen
def test_the_specimen_itself_is_sound(specimen: Specimen, tmp_path: Path) -> None:
    specimen.build(tmp_path)
    for reader in (specimen.format, None):
        source = tmp_path / specimen.source
        assert use(source, specimen.split, reader, specimen.task) == ""
        assert check_dataset(open_raw(source, specimen.split, format=reader, task=specimen.task)).ok


@each_specimen
def test_mutants_are_the_same_everywhere(specimen: Specimen, tmp_path: Path) -> None:
    data = bytes(range(256)) * 3
    assert mutant(data, specimen.name, 5) == mutant(data, specimen.name, 5) != data
    assert mutant(data, specimen.name, 5) != mutant(data, specimen.name, 6)


@pytest.mark.timeout(180)
@each_specimen
def test_every_mutant_loads_or_is_named(specimen: Specimen, tmp_path: Path) -> None:
    specimen.build(tmp_path)
    file, source = tmp_path / specimen.file, tmp_path / specimen.source
    valid = file.read_bytes()
    outcomes: Counter[str] = Counter()
    for number in range(specimen.mutants):
        file.write_bytes(mutant(valid, specimen.name, number))
        reader = specimen.format if number % 2 else None
        try:
            text = use(source, specimen.split, reader, specimen.task)
            if not text:
                check_dataset(open_raw(source, specimen.split, format=reader, task=specimen.task))
        except Exception as error:
            raise AssertionError(f"mutant {number} of '{specimen.name}', format={reader}: {error!r}") from error
        outcomes["named" if text else "loaded"] += 1
    assert outcomes["named"] > 0, "no mutant was broken enough"
    assert outcomes.total() == specimen.mutants


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["a.jpg", "../x", "/x", "cat", "rectangle", "polygon"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all values of a JSON document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_in(inner, (*path, key))


@pytest.mark.parametrize("name", ["coco json", "coco points", "labelme json"])
def test_any_json_value_in_any_place(name: str, tmp_path: Path) -> None:
    specimen = BY_NAME[name]
    specimen.build(tmp_path)
    file = tmp_path / specimen.file
    valid = file.read_text()
    paths = list(paths_in(json.loads(valid)))

    @settings(max_examples=80, deadline=None, database=None, derandomize=True)
    @given(path=st.sampled_from(paths), value=JSON)
    def run(path: tuple[Any, ...], value: Any) -> None:
        content = json.loads(valid)
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        if path:
            inner[path[-1]] = value
        else:
            content = value
        file.write_text(json.dumps(content))
        use(tmp_path, specimen.split, specimen.format, specimen.task)

    run()


@pytest.mark.parametrize(
    "name", ["yolo txt", "yolo yaml", "csv", "keypoint csv", "openimages csv", "options", "voc list", "voc xml"]
)
def test_any_bytes_at_all(name: str, tmp_path: Path) -> None:
    specimen = BY_NAME[name]
    specimen.build(tmp_path)
    file = tmp_path / specimen.file
    written = st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
    rows = st.lists(st.lists(st.floats().map(repr) | st.sampled_from(["a.jpg", "0", "cat", "-1", ""]), max_size=9))
    tables = st.tuples(rows, st.sampled_from([" ", ","])).map(
        lambda drawn: "\n".join(drawn[1].join(row) for row in drawn[0]).encode()
    )

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(content=st.binary(max_size=60) | written | tables)
    def run(content: bytes) -> None:
        file.write_bytes(content)
        use(tmp_path, specimen.split, specimen.format, specimen.task)

    run()


@each_specimen
def test_a_file_that_cannot_be_opened_is_named(specimen: Specimen, tmp_path: Path) -> None:
    """A folder instead of a file, which root cannot read either; then nothing at all."""
    specimen.build(tmp_path)
    file, source = tmp_path / specimen.file, tmp_path / specimen.source
    file.unlink()
    if specimen.source == ".":
        use(source, specimen.split, specimen.format, specimen.task)
    file.mkdir()
    use(source, specimen.split, specimen.format, specimen.task)


def test_an_empty_folder_and_a_missing_one_are_named(tmp_path: Path) -> None:
    for specimen in SPECIMENS:
        for reader in (specimen.format, None):
            assert use(tmp_path, specimen.split, reader), f"'{specimen.name}' was found in an empty folder"
    assert use(tmp_path / "gone")
