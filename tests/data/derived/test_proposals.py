"""Proposals of a data set: computed once and kept, resumed after a kill, or read from a file of the user's own."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from tests.data.derived.test_selective_search import scene

import saccade.data.derived._proposal_cache as cache_module
import saccade.data.derived.proposals as module
from saccade.data.derived.combine import ConcatDataset
from saccade.data.derived.proposals import ProposalDataset, add_proposals, find_proposals, propose
from saccade.data.derived.selective_search import SelectiveSearch, selective_search
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import ConfigError, DataError, SaccadeError
from saccade.structures.dataset import DatasetInfo, VisionDataset


def photos(folder: Path, count: int = 4, split: str = "train", first_id: int = 10) -> TableDataset:
    """Images of 120 x 90 in PNG files, with one object each."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    builder = TableBuilder(["thing"])
    for number in range(count):
        name = f"{split}/{number}.png"
        if not (folder / name).exists():
            cv2.imwrite(str(folder / name), scene(seed=number))
        builder.add_image(name, image_id=first_id + number, size=(90, 120))
        builder.add_object("thing", (10, 5, 30, 35))
    return TableDataset(DatasetInfo("photos", "detection", ("thing",), split), folder, builder.build())


class Counted:
    """Progress that counts the images that are searched."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, batches: Iterable[Any], total: int) -> Iterator[Any]:
        for batch in batches:
            yield batch
            self.images += 1


def assert_same(found: ProposalDataset, expected: ProposalDataset) -> None:
    assert len(found) == len(expected)
    for index in range(len(found)):
        for one, other in zip(found.proposals(index), expected.proposals(index), strict=True):
            np.testing.assert_array_equal(one, other)


def test_samples_carry_the_proposals_of_their_image(tmp_path: Path) -> None:
    data = photos(tmp_path)
    found = add_proposals(data, workers=0)
    for index in range(len(data)):
        sample = found.read(index)
        expected = selective_search(data.read(index).image)
        np.testing.assert_array_equal(sample.inputs["proposals"], expected.boxes_xyxy)
        np.testing.assert_array_equal(sample.inputs["proposal_scores"], expected.scores)
        np.testing.assert_array_equal(sample.target["boxes"], data.target(index)["boxes"])
    assert (found.path(1), found.info, list(found.image_ids)) == (data.path(1), data.info, [10, 11, 12, 13])
    assert found.annotation_path(1) == data.path(1)


def test_processes_find_the_same_and_the_cache_is_used_again(tmp_path: Path) -> None:
    data, folder = photos(tmp_path), tmp_path / "kept"
    expected = add_proposals(data, workers=0)
    first, again = Counted(), Counted()
    assert_same(add_proposals(data, folder=folder, workers=2, progress=first), expected)
    kept = add_proposals(data, folder=folder, progress=again)
    assert_same(kept, expected)
    assert (first.images, again.images) == (4, 0)
    assert kept.identity == expected.identity
    (file,) = folder.iterdir()  # parts are joined
    with safe_open(file, framework="numpy") as content:
        assert content.get_tensor("boxes").dtype == np.uint16
        assert content.metadata()["settings"].startswith("selective search fast, 2000, 640, OpenCV ")
    assert_same(pickle.loads(pickle.dumps(kept)), expected)  # as a worker process gets it
    assert len(pickle.dumps(kept)) < 8_000  # the boxes stay in their file


def test_identity_changes_with_a_box(tmp_path: Path) -> None:
    data = photos(tmp_path, count=2)
    found = add_proposals(data, workers=0)
    fewer = add_proposals(data, SelectiveSearch(count=5), workers=0)
    assert found.identity != fewer.identity


def test_the_cache_belongs_to_the_content_of_an_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, folder = photos(tmp_path), tmp_path / "kept"
    add_proposals(data, folder=folder, workers=0)
    cv2.imwrite(data.path(2), scene(seed=77))
    counted = Counted()
    with caplog.at_level(logging.INFO, logger="saccade"):
        found = add_proposals(data, folder=folder, workers=0, progress=counted)
    assert counted.images == 1
    assert f"photos, train: proposals of 3 images are in {folder}; 1 are new or changed." in caplog.text
    np.testing.assert_array_equal(found.proposals(2).boxes_xyxy, selective_search(data.read(2).image).boxes_xyxy)
    # Another name, folder or split of the same images finds them.
    (tmp_path / "moved").mkdir()
    Path(tmp_path / "train").rename(tmp_path / "moved" / "train")
    moved = photos(tmp_path / "moved")
    joined = ConcatDataset([photos(tmp_path / "moved", count=2), moved])
    for other in (moved, joined):
        counted = Counted()
        add_proposals(other, folder=folder, workers=0, progress=counted)
        assert counted.images == 0


def test_equal_images_are_searched_once(tmp_path: Path) -> None:
    data = photos(tmp_path)
    Path(data.path(3)).write_bytes(Path(data.path(0)).read_bytes())
    counted = Counted()
    found = add_proposals(data, folder=tmp_path / "kept", workers=0, progress=counted)
    assert counted.images == 3
    np.testing.assert_array_equal(found.proposals(3).boxes_xyxy, found.proposals(0).boxes_xyxy)


def test_a_cache_of_other_settings_is_named_and_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, folder = photos(tmp_path, count=2), tmp_path / "kept"
    add_proposals(data, SelectiveSearch(count=5), folder=folder, workers=0)
    (file,) = folder.iterdir()
    with caplog.at_level(logging.INFO, logger="saccade"):
        found = add_proposals(data, SelectiveSearch(count=9), folder=folder, workers=0)
    assert f"{file} was made with other settings and is not used" in caplog.text
    assert len(found.proposals(0).boxes_xyxy) == 9
    assert len(add_proposals(data, SelectiveSearch(count=5), folder=folder).proposals(0).boxes_xyxy) == 5


@pytest.mark.parametrize("damage", ["text", "cut", "misfit"])
def test_a_damaged_cache_is_named_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    data, folder = photos(tmp_path, count=1), tmp_path / "kept"
    expected = add_proposals(data, folder=folder, workers=0)
    boxes = expected.proposals(0).boxes_xyxy
    (file,) = folder.iterdir()
    if damage == "text":
        file.write_text("not a cache")
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        with safe_open(file, framework="numpy") as content:
            metadata, tensors = content.metadata(), {name: content.get_tensor(name) for name in ("digests", "boxes")}
        save_file({**tensors, "offsets": np.array([0, len(boxes) - 1])}, file, metadata)
    counted = Counted()
    found = add_proposals(data, folder=folder, workers=0, progress=counted)
    assert counted.images == 1
    assert f"{file}: the file is no cache of proposals, or damaged" in caplog.text
    np.testing.assert_array_equal(found.proposals(0).boxes_xyxy, boxes)


def test_a_killed_search_goes_on_behind_its_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, folder = photos(tmp_path, count=5), tmp_path / "kept"
    monkeypatch.setattr(cache_module, "_PART_IMAGES", 1)

    def killed() -> None:
        def progress(batches: Iterable[Any], total: int) -> Iterator[Any]:
            for number, batch in enumerate(batches):
                if number == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield batch

        add_proposals(data, folder=folder, workers=0, progress=progress)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(list(folder.glob("*.part.safetensors"))) == 3
    counted = Counted()
    found = add_proposals(data, folder=folder, workers=0, progress=counted)
    assert counted.images == 2
    assert_same(found, add_proposals(data, workers=0))
    assert [path.name.endswith(".part.safetensors") for path in folder.iterdir()] == [False]


def test_a_folder_that_cannot_be_written_is_named_and_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = photos(tmp_path, count=3), tmp_path / "kept"
    monkeypatch.setattr(cache_module, "_PART_IMAGES", 1)
    expected = add_proposals(data, workers=0)
    folder.write_text("a file")
    assert_same(add_proposals(data, folder=folder, workers=0), expected)
    assert caplog.text.count("proposals are kept in memory alone: cannot write") == 1
    # Full in the middle: what was written before is read from there.
    folder.unlink()
    write, written_files = cache_module.atomic_write, []

    def full(path: Path, content: Any) -> None:
        if len(written_files) == 2:
            raise SaccadeError("cannot write: the disk is full")
        written_files.append(path)
        write(path, content)

    monkeypatch.setattr(cache_module, "atomic_write", full)
    assert_same(add_proposals(data, folder=folder, workers=0), expected)
    assert len(list(folder.iterdir())) == 2

    # Or where the parts are joined: they stay.
    def full_at_the_end(path: Path, content: Any) -> None:
        if ".part." not in path.name:
            raise SaccadeError("cannot write: the disk is full")
        write(path, content)

    monkeypatch.setattr(cache_module, "atomic_write", full_at_the_end)
    other, counted = tmp_path / "other", Counted()
    assert_same(add_proposals(data, folder=other, workers=0), expected)
    assert "parts of proposals are not joined: cannot write" in caplog.text
    assert_same(add_proposals(data, folder=other, workers=0, progress=counted), expected)
    assert counted.images == 0


def test_what_was_searched_before_an_error_is_kept(tmp_path: Path) -> None:
    data, folder = photos(tmp_path, count=3), tmp_path / "kept"
    content = Path(data.path(2)).read_bytes()
    Path(data.path(2)).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2\.png"):
        add_proposals(data, folder=folder, workers=0)
    Path(data.path(2)).write_bytes(content)
    counted = Counted()
    add_proposals(data, folder=folder, workers=0, progress=counted)
    assert counted.images == 1


def test_faults_of_a_search_name_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = photos(tmp_path, count=1)
    monkeypatch.setattr(module, "selective_search", lambda image, settings: 1 / 0)
    with pytest.raises(DataError, match=r"0\.png: it cannot be searched for proposals \(ZeroDivisionError"):
        add_proposals(data, workers=0)
    Path(data.path(0)).unlink()
    with pytest.raises(DataError, match=r"0\.png: No such file"):
        add_proposals(data, folder=tmp_path / "kept")


def entry(image: Any, box: list[float], score: float | None = None, key: str = "image_id") -> dict[str, Any]:
    return {key: image, "bbox": box} | ({} if score is None else {"score": score})


def written(folder: Path, content: Any) -> Path:
    path = folder / "proposals.json"
    path.write_text(json.dumps(content))
    return path


def test_a_file_of_ones_own_is_repaired_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = photos(tmp_path)
    path = written(
        tmp_path,
        [
            entry(11, [0, 0, 10, 10], 0.2),
            entry(10, [5, 6, 20, 30], 0.1),
            entry(11, [100, 80, 40, 40], 0.9),  # leaves the image
            entry(11, [5, 5, 0, 10], 0.8),  # no area
            entry(12, [300, 0, 10, 10], 0.8),  # outside
        ],
    )
    with caplog.at_level(logging.INFO, logger="saccade"):
        found = add_proposals(data, path)
    sample = found.read(1)
    np.testing.assert_array_equal(sample.inputs["proposals"], [[100, 80, 120, 90], [0, 0, 10, 10]])
    np.testing.assert_allclose(sample.inputs["proposal_scores"], [0.9, 0.2])
    np.testing.assert_array_equal(found.proposals(0).boxes_xyxy, [[5, 6, 25, 36]])
    for index in (2, 3):
        np.testing.assert_array_equal(found.proposals(index).boxes_xyxy, [[0, 0, 120, 90]])
    assert found.repairs == {"proposals clipped": 1, "proposals dropped": 2, "images without proposals": 2}
    assert "leave their image or have no area: 1 clipped, 2 dropped" in caplog.text
    assert f"2 images have no proposals; each has one, the whole image ({data.path(2)}, {data.path(3)})" in caplog.text


def test_a_file_may_name_its_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train, val = photos(tmp_path, 2), photos(tmp_path, 2, "val", first_id=10)  # the same ids and base names
    images = [{"id": number, "file_name": f"{split}/{number % 2}.png"} for number, split in enumerate(("train",) * 2)]
    images += [{"id": number + 2, "file_name": f"C:\\data\\val\\{number}.png"} for number in range(2)]
    annotations = [entry(number, [number, 0, 10, 10], 0.5) for number in range(4)]
    path = written(tmp_path, {"images": images, "annotations": annotations})
    with caplog.at_level(logging.INFO, logger="saccade"):
        found = add_proposals(train, path)
    assert found.proposals(1).boxes_xyxy.tolist() == [[1, 0, 11, 10]]
    assert "proposals of 2 other images are not used" in caplog.text
    caplog.clear()
    found = add_proposals(
        val, written(tmp_path, [entry(f"val/{n}.png", [n, 0, 5, 5], key="file_name") for n in (1, 0)])
    )
    assert [found.proposals(number).boxes_xyxy[0, 0] for number in range(2)] == [0, 1]
    found = add_proposals(val, written(tmp_path, [entry(f"val/{n}", [n, 0, 5, 5]) for n in (1, 0)]))  # without suffix
    assert [found.proposals(number).boxes_xyxy[0, 0] for number in range(2)] == [0, 1]
    assert not caplog.text


def test_ids_of_several_splits(tmp_path: Path) -> None:
    train, val = photos(tmp_path, 2), photos(tmp_path, 2, "val", first_id=20)
    path = written(tmp_path, [entry(number, [0, 0, 9, 9]) for number in (10, 11, 20, 21, 99)])
    with pytest.raises(DataError, match=r"3 image ids are those of no image of photos \(20, 21, 99\)"):
        add_proposals(train, path)
    with pytest.raises(DataError, match=r"1 image ids are those of no image of photos \(99\)"):
        add_proposals(train, path, others=[val])
    assert len(add_proposals(train, path, others=None)) == 2
    with pytest.raises(DataError, match=r"image_id 10 is .*train.0\.png in split train and .*val.0\.png in val"):
        add_proposals(train, path, others=[photos(tmp_path, 2, "val", first_id=10)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not valid JSON"),
        ([], "there is no proposal in the file"),
        ({"images": []}, "neither annotations nor proposals are in the file"),
        ([{"image_id": 1}], "missing required field bbox"),
        ([entry(10, [1, 2, 3])], r"\[0\]\.bbox: expected array of length 4\. Proposals are a list"),
        ([entry(10, [1, 2, 3, 1e300])], r"\[0\]: bbox \[1.0, 2.0, 3.0, 1e\+300\] is far from any image"),
        ([entry(10, [1, 2, 3, 4], 0.5), entry(10, [1, 2, 3, 4])], r"\[1\]: .* a score for all or for none"),
        ([{"bbox": [1, 2, 3, 4]}], "neither image_id nor file_name is given"),
        ([entry(10, [1, 2, 3, 4]), entry("a.png", [1, 2, 3, 4], key="file_name")], "some proposals name their file"),
        ({"images": [{"id": 1, "file_name": "0.png"}], "annotations": [entry(2, [1, 2, 3, 4])]}, "image_id 2 is not"),
        ({"images": [{"id": 1, "file_name": "0.png"}] * 2, "annotations": []}, "there is no proposal"),
        (
            {
                "images": [{"id": 1, "file_name": "0.png"}, {"id": 1, "file_name": "1.png"}],
                "annotations": [entry(1, [1, 2, 3, 4])],
            },
            r"images\[1\]: id 1 or its file_name is given twice or empty",
        ),
        ([entry("other.png", [1, 2, 3, 4])], "none of its images is in photos, train"),
        ([entry(n, [1, 2, 3, 4]) for n in ("a/0.png", "b/0.png")], "'a/0.png', 'b/0.png' could all be"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, content: Any, message: str) -> None:
    data = photos(tmp_path, count=1)
    path = tmp_path / "proposals.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        add_proposals(data, path)
    assert str(path) in str(caught.value)


def test_one_name_for_two_images_is_named(tmp_path: Path) -> None:
    data: VisionDataset = ConcatDataset([photos(tmp_path, 1), photos(tmp_path, 1, "val", first_id=20)])
    path = written(tmp_path, [entry("0.png", [1, 2, 3, 4])])
    with pytest.raises(DataError, match=r"'0\.png' could be .*train.0\.png or .*val.0\.png"):
        add_proposals(data, path)


def test_sources_are_found_by_name_or_file(tmp_path: Path) -> None:
    assert find_proposals() == find_proposals("selective_search") == SelectiveSearch("fast")
    assert find_proposals("selective_search_quality") == SelectiveSearch("quality")
    with pytest.raises(ConfigError, match=r"neither a method nor a file\. Did you mean 'selective_search'"):
        find_proposals("selective_serch")
    path = written(tmp_path, [entry(3, [0, 0, 900, 10])])
    image = np.zeros((20, 30, 3), np.uint8)
    assert propose(image, find_proposals(path), image_id=3).boxes_xyxy.tolist() == [[0, 0, 30, 10]]
    with pytest.raises(DataError, match=r"photo\.png: .*proposals\.json has no image_id 4"):
        propose(image, find_proposals(path), "photo.png", 4)
