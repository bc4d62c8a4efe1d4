"""Every fault has a stable code; check reads on after a bad line; nothing passes over nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.cli import main
from saccade.data.check import CheckReport, Issue, check_dataset
from saccade.data.check.page import write_page
from saccade.data.check.report import CODES, SplitStatistics
from saccade.data.open import open_dataset
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.outlines import ObjectOutline
from saccade.data.tables.table_dataset import TableDataset
from saccade.structures.dataset import DatasetInfo

RNG = np.random.default_rng(0)


def photo(path: Path, side: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return path


def yolo(root: Path, rows: dict[str, dict[str, str]]) -> Path:
    """A YOLO folder from the rows of each image of each split."""
    for split, images in rows.items():
        for name, text in images.items():
            photo(root / "images" / split / f"{name}.png")
            (root / "labels" / split).mkdir(parents=True, exist_ok=True)
            (root / "labels" / split / f"{name}.txt").write_text(text)
    splits = "".join(f"{split}: images/{split}\n" for split in rows)
    (root / "data.yaml").write_text(f"{splits}names: [cat, dog]\n")
    return root


SOUND = "0 0.5 0.5 0.2 0.2\n"


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(words)
    told = capsys.readouterr()
    return code, told.out, told.err


def test_three_faults_in_two_files_are_three_and_hide_no_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {"a": f"0 x 0.5 0.2 0.2\n{SOUND}7 0.5 0.5 0.1 0.1\n", "b": f"{SOUND}1 0.5 nan? 0.2 0.2\n", "c": SOUND}
    root = yolo(tmp_path / "set", {"train": bad, "val": {"d": SOUND, "e": "1 0.4 0.4 0.2 0.2\n"}})
    _, found, _ = run(["check", str(root), "--json"], capsys)
    report = json.loads(found)
    code, out, _ = run(["check", str(root)], capsys)
    assert (code, report["ok"]) == (1, False)
    errors = [issue for issue in report["issues"] if issue["severity"] == "error"]
    assert sorted((Path(issue["file"]).name, issue["code"]) for issue in errors) == [
        ("a.txt", "labels.class"),
        ("a.txt", "labels.number"),
        ("b.txt", "labels.number"),
    ]
    assert report["codes"]["labels.number"] == 2
    assert [split["images"] for split in report["splits"]] == [3, 2]
    assert "[labels.number]: 2" in out
    assert "line 1" in out


@pytest.mark.parametrize("case", ["no objects", "val without objects", "images of another machine", "one class"])
@pytest.mark.parametrize("verb", ["check", "convert"])
def test_no_verb_passes_over_nothing(verb: str, case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, expected = tmp_path / "set", ""
    if case == "no objects":
        yolo(root, {"train": {"a": "", "b": ""}, "val": {"c": ""}})
        expected = "none of its 3 images has an object; they were looked for in"
    elif case == "val without objects":
        yolo(root, {"train": {"a": SOUND, "b": SOUND}, "val": {"c": ""}})
        expected = "none of the 1 images of split 'val' has an object"
    elif case == "images of another machine":
        root.mkdir()
        (root / "data.yaml").write_text("train: /home/me/set/images\nval: /home/me/set/val\nnames: [cat, dog]\n")
        expected = str(root)
    else:
        photo(root / "cat" / "1.png")
        photo(root / "cat" / "2.png")
        expected = "two classes"
    words = {
        "check": ["check", str(root)],
        "convert": ["convert", str(root), "--out", str(tmp_path / "out"), "--to", "coco"],
    }[verb]
    code, out, err = run(words, capsys)
    assert code in (1, 3)
    assert expected in out + err
    assert "no faults" not in out
    assert "nothing was lost" not in out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format_name", ["coco", "yolo", "voc", "csv", "labelme", "cvat", "masks"])
def test_a_format_that_is_not_there_is_no_sound_data_set(
    format_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "pictures" / "a.png")
    code, out, err = run(["check", str(tmp_path), "--format", format_name], capsys)
    assert code in (1, 3)
    assert "no faults" not in out
    assert str(tmp_path) in out + err


def test_files_that_are_not_read_are_counted(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(5):
            photo(tmp_path / name / f"{number}.png")
        (tmp_path / name / "x.heic").write_bytes(b"\0\0\0\x18ftypheic")
        photo(tmp_path / name / "9.png").rename(tmp_path / name / "noext")
    issues = [issue for issue in saccade.check(tmp_path).issues if issue.code == "files.unread"]
    assert sorted(issue.problem for issue in issues) == [
        "2 of its files (.heic) are not read",
        "2 of its files (no suffix) are not read",
    ]


def test_codes_of_readers_are_described_and_documented() -> None:
    root = Path(saccade.__file__).parent
    page = (root.parents[1] / "docs" / "data.md").read_text()
    for code, title in CODES.items():
        assert f"| `{code}` | {title} |" in page
    text = "".join(file.read_text() for file in (root / "data").rglob("*.py"))
    rooms = "|".join(sorted({code.split(".")[0] for code in CODES}))
    used = set(re.findall(rf'"((?:{rooms})\.[a-z]+(?:-[a-z]+)*)"', text))
    assert {code for code in used if code.split(".")[1] not in ("csv", "json", "png", "txt")} <= set(CODES)


HOSTILE = "cat\x1b[31m\nerror: all is well\u202e\udcff"


def test_names_reach_neither_terminal_nor_page_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    issue = Issue(HOSTILE, HOSTILE, HOSTILE, HOSTILE, "error", "image.empty", HOSTILE, HOSTILE)
    statistics = SplitStatistics(HOSTILE, 1, 1, [HOSTILE], {HOSTILE: 1}, np.ones((1, 2)), np.ones((1, 2)))
    report = CheckReport(HOSTILE, [issue], [statistics], (HOSTILE,))
    text = report.to_text()
    page = write_page(report, tmp_path / "page.html").read_text()
    for shown in (text, page):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "\nerror: all is well" not in shown
        assert "\\x1b[31m" in shown
    root = tmp_path / "set"
    for name in ("cat\x1b[31m", "dog\ndog"):
        photo(root / name / "1.png")
        photo(root / name / "2.png").write_bytes(b"")
    code, out, err = run(["check", str(root)], capsys)
    assert code == 1
    assert "\x1b" not in out + err
    assert "dog\\ndog" in out


def test_outlines_have_codes_and_severities(tmp_path: Path) -> None:
    square = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]
    builder = TableBuilder(["cat", "dog"], outlines=True)
    builder.add_image("a.png", size=(40, 60))
    for rings in (
        [square, [1.0, 1.0, 9.0, 9.0]],
        [square, [1.0, 1.0, 3.0, 3.0, 7.0, 7.0]],
        [[1.0, 1.0, 3.0, 3.0, 7.0, 7.0]],
        [square, [1.0, 1.0, 9000.0, 1.0, 2.0, 2.0]],
        [square, [1.0, np.nan, 9.0, 1.0, 2.0, 2.0]],
    ):
        builder.add_object("cat", (10, 10, 30, 30), outline=ObjectOutline(rings=rings))
    info = DatasetInfo("set", "segmentation", ("background", "cat", "dog"), "all")
    report = check_dataset(TableDataset(info, tmp_path, builder.build()), images=False)
    found = [(issue.code, issue.field, issue.severity) for issue in report.issues if issue.code.startswith("outlines")]
    assert found == [
        ("outlines.points", "object 0 (cat), polygon 1", "error"),
        ("outlines.zero-area", "object 1 (cat), polygon 1", "warning"),
        ("outlines.zero-area", "object 2 (cat), polygon 0", "error"),
        ("outlines.far", "object 3 (cat), polygon 1", "error"),
        ("outlines.not-finite", "object 4 (cat), polygon 1", "error"),
    ]


@pytest.mark.parametrize("option", ["--html"])
def test_where_a_report_cannot_be_written_is_said(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = yolo(tmp_path / "set", {"train": {"a": SOUND}, "val": {"b": "1 0.5 0.5 0.1 0.1\n"}})
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "out", root):
        code, _, err = run(["check", str(root), option, str(target), "--no-images"], capsys)
        assert code == 2
        assert err.startswith("error: ")
        assert str(target) in err
        assert "\n" not in err.rstrip("\n")


def test_a_damaged_label_map_hides_no_other(tmp_path: Path) -> None:
    for number in range(4):
        photo(tmp_path / "images" / f"{number}.png")
        values = np.zeros((32, 32), np.uint8)
        values[:9] = number % 2 + 1
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(values).save(tmp_path / "masks" / f"{number}.png")
    damaged = tmp_path / "masks" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    (tmp_path / "images" / "2.png").write_bytes(b"")
    report = saccade.check(tmp_path)
    errors = [(issue.code, Path(issue.file).name) for issue in report.issues if issue.severity == "error"]
    assert sorted(errors) == [("image.empty", "2.png"), ("maps.unreadable", "1.png")]
    assert report.images == 4
    left = open_dataset(tmp_path, "all", bad_images="drop")
    assert [Path(left.path(index)).name for index in range(len(left))] == ["0.png", "3.png"]
    assert [Path(place).name for place, _ in left.left_out] == ["1.png", "2.png"]  # type: ignore[attr-defined]
    changes = saccade.repair(tmp_path, tmp_path.parent / f"{tmp_path.name}-copy").changes
    assert [change.reason for change in changes] == ["label map cannot be read", "image cannot be read"]
