"""Which format a folder is taken for, and what is said where it is none."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from saccade.data.open import open_dataset, resolve_source, split_names
from saccade.data.readers import LAYOUTS, READERS, detect_format
from saccade.data.readers._formats import TASKS
from saccade.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_every_format_says_what_it_looks_like() -> None:
    assert set(READERS) == set(LAYOUTS) == set(TASKS)


@pytest.mark.parametrize(
    "names",
    [
        ("cat/1.jpg", "dog/1.jpg"),
        ("train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg"),
        ("Training/cat/1.jpg", "validation/dog/1.jpg"),
        ("cat/1.jpg", "dog/1.jpg", "notes.txt", "README.md", "cat/about.txt"),
        ("fish/cod/1.jpg", "bird/1.jpg"),
        ("cat/1.jpg", "dog/1.jpg", "__MACOSX/cat/._1.jpg", ".cache/x/1.jpg", "@eaDir/1.jpg"),
        ("0/1.png", "1/1.png"),
    ],
)
def test_class_folders(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert detect_format(touch(tmp_path, *names)) == "folder"


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("train/1.jpg", "val/1.jpg"), "a folder called 'train' is hardly a class"),
        (("Images/1.jpg", "truth/1.jpg"), "a folder called 'Images' is hardly a class"),
        (("images2/1.jpg", "other/1.jpg"), "a folder called 'images2' is hardly a class"),
        (("JPEGImages/1.jpg", "xml/1.xml"), "a folder called 'JPEGImages' is hardly a class"),
        (("cat/1.jpg", "cat/1.txt", "dog/1.jpg"), r"cat/1\.txt looks like labels"),
        (("cat/1.jpg", "dog/1.jpg", "dog/1.xml"), r"dog/1\.xml looks like labels"),
        (("cat/1.jpg", "dog/1.jpg", "dog/_annotations.csv"), r"dog/_annotations\.csv looks like labels"),
        (("one/images/1.jpg", "two/images/1.jpg"), "'one' holds a folder 'images', as a data set does"),
        (("one/train/a/1.jpg", "two/val/a/1.jpg"), "'one' holds a folder 'train', as a data set does"),
        (("1.jpg", "2.jpg"), "the images lie in the folder itself"),
        (("only/1.jpg",), "there is one folder of images, 'only'"),
        (("pets/cat/1.jpg", "pets/dog/1.jpg"), r"pets/ holds several folders \(cat, dog\): name that folder"),
    ],
)
def test_what_are_no_class_folders(tmp_path: Path, names: tuple[str, ...], why: str) -> None:
    with pytest.raises(DataError, match=f"no known layout.*{why}"):
        detect_format(touch(tmp_path, *names))


def test_a_folder_too_deep_is_told_the_one_above(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    with pytest.raises(DataError, match=rf"{tmp_path.resolve()} holds several such folders \(cat, dog\)"):
        detect_format(tmp_path / "cat")


def test_a_zip_is_looked_into_alike(tmp_path: Path) -> None:
    for name, content in (("good", ("cat/1.jpg", "dog/1.jpg")), ("bad", ("train/1.jpg", "val/1.jpg"))):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for file in (*content, "__MACOSX/cat/._1.jpg", "cat/.ipynb_checkpoints/1.jpg", "Thumbs.db"):
                archive.writestr(file, b"")
    assert detect_format(tmp_path / "good.zip") == "folder"
    assert len(open_dataset(tmp_path / "good.zip", "all", format="folder")) == 2
    with pytest.raises(DataError, match="hardly a class"):
        detect_format(tmp_path / "bad.zip")


def test_the_task_steers_the_guess(tmp_path: Path, write_image: Any) -> None:
    touch(tmp_path / "classes", "cat/1.jpg", "dog/1.jpg")
    with pytest.raises(
        DataError, match=r"looks like format 'folder' \(classification\).*for task 'detection'.*voc: Ann"
    ):
        resolve_source(tmp_path / "classes", task="detection")
    both = tmp_path / "both"
    for folder in ("images", "masks"):
        write_image(both / folder / "a.png", channels=3 if folder == "images" else 1)
    (both / "labels").mkdir()
    (both / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert resolve_source(both, task="segmentation").format == "masks"
    assert resolve_source(both, task="detection").format == "yolo"
    assert resolve_source(both).format == "yolo"


def test_the_message_tells_what_is_there_and_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "a.heic", "b.heic", "deep/below/c.jpg", "deep/d.tex", ".hidden/x.jpg")
    with pytest.raises(DataError) as caught:
        detect_format(tmp_path)
    message = str(caught.value)
    for words in ("there are 2 .heic", "deep/ with 1 .tex and 1 folders", "yolo: data.yaml", "coco: a JSON file"):
        assert words in message
    assert "hidden" not in message
    assert "\n" not in message


def test_hidden_folders_are_no_classes(tmp_path: Path, write_image: Any) -> None:
    names = ("cat/0.jpg", "cat/@eaDir/0.jpg/SYNOPHOTO.jpg", "cat/.ipynb_checkpoints/0.jpg", "dog/0.jpg", "dog/._0.jpg")
    for name in (*names, "__MACOSX/cat/0.jpg"):
        write_image(tmp_path / name, (8, 8))
    data = open_dataset(tmp_path, "all")
    assert data.info.class_names == ("cat", "dog")
    assert len(data) == 2


def test_data_yaml_stands_for_its_folder(tmp_path: Path, write_image: Any) -> None:
    for split in ("train", "val"):
        write_image(tmp_path / "images" / split / "1.jpg")
        touch(tmp_path, f"labels/{split}/1.txt")
        (tmp_path / "labels" / split / "1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    assert split_names(resolve_source(tmp_path / "data.yaml")) == ("train", "val")
    assert len(open_dataset(tmp_path / "data.yaml", "val")) == 1


NOTHING: dict[str, tuple[tuple[str, ...], str | None, str]] = {
    "no split": (("1.jpg",), "coco", "there is nothing in format 'coco', which is a JSON file of 'images'"),
    "no image": (("train/cat/1.txt", "train/dog/1.txt"), "folder", r"there are no images in '<class>/\*\.jpg'"),
    "one class": (("train/cat/1.jpg", "val/cat/2.jpg"), "folder", "a classifier needs two"),
    "a folder too high": (("pets/cat/1.jpg", "pets/dog/1.jpg"), "folder", "name that folder"),
}


@pytest.mark.parametrize("kind", NOTHING)
@pytest.mark.parametrize("verb", ["check", "convert", "train", "datasets"])
def test_no_verb_passes_over_nothing(tmp_path: Path, kind: str, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    from saccade.cli import main

    names, format_name, message = NOTHING[kind]
    source = touch(tmp_path / "set", *names)
    (source / "saccade.yaml").write_text(f"format: {format_name}\n")
    arguments = {
        "check": ["check", str(source)],
        "convert": ["convert", str(source), "--to", "csv", "--out", str(tmp_path / "out")],
        "train": ["train", "--model", "lenet5", "--data", str(source), "--out", str(tmp_path)],
        "datasets": ["datasets", str(source)],
    }
    code = main(arguments[verb])
    output = "".join(capsys.readouterr())
    if verb == "datasets" and kind == "one class":
        assert code == 0  # a description
        return
    assert code != 0
    assert "Traceback" not in output
    assert re.search(message, " ".join(output.split())), output
