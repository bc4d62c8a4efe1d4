"""``saccade show --proposals``: recall and the best proposals over the ground truth."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import saccade
from saccade.cli import main
from saccade.engine.report.proposals import show_proposals
from saccade.errors import ConfigError

GREEN, RED, BLUE = (60, 200, 90), (235, 60, 60), (70, 150, 255)


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three grey images of 200 x 150 with a dark square each, and a file of proposals that covers two of them."""
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "things"
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    for number in range(3):
        image = np.full((150, 200, 3), 128, np.uint8)
        image[40:100, 50:110] = 20
        cv2.imwrite(str(root / "train" / f"{number}.png"), image)
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 150, "width": 200} for n in range(3)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [50, 40, 60, 60], "area": 3600, "iscrowd": 0}
            for n in range(3)
        ],
        "categories": [{"id": 1, "name": "square"}],
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    boxes = [[50, 40, 60, 60], [50, 40, 60, 36], [50, 40, 60, 12]]
    own = [{"image_id": n, "bbox": box, "score": 0.5} for n, box in enumerate(boxes)]
    (tmp_path / "own.json").write_text(json.dumps(own))
    return root


def has_color(image: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((np.abs(image.astype(int) - color).max(axis=-1) <= 8).sum() > 40)


def test_found_and_missed_objects_and_their_best_proposals_are_drawn(coco: Path) -> None:
    shown = show_proposals(str(coco), str(coco.parent / "own.json"))
    assert shown.title == f"{coco.parent / 'own.json'} on things, train (3 images)"
    assert shown.report.values["recall50@2000"] == pytest.approx(2 / 3)
    assert shown.report.values["recall70@2000"] == pytest.approx(1 / 3)
    assert [has_color(image, GREEN) or has_color(image, BLUE) for image in shown.drawings] == [True] * 3
    assert [has_color(image, GREEN) for image in shown.drawings[1:]] == [True, False]
    assert [has_color(image, RED) for image in shown.drawings] == [False, False, True]
    assert [has_color(image, BLUE) for image in shown.drawings[1:]] == [True, True]


def test_the_shell_draws_what_selective_search_finds(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = coco.parent / "out.png"
    words = ["show", str(coco), "--proposals", "selective_search", "--limit", "2", "--count", "1", "--save", str(out)]
    assert main(words) == 0
    assert str(out) in capsys.readouterr().out.replace("\n", "")
    sheet = cv2.imread(str(out))
    assert sheet is not None
    assert sheet.shape[0] > 800
    assert len(list((coco.parent / "cache" / "proposals").iterdir())) == 1  # the next call computes nothing
    shown = show_proposals(str(coco), limit=2, count=5)
    assert shown.report.values["recall70@100"] == 1.0  # a plain square is found
    assert len(shown.drawings) == 2


def test_a_page_has_curves_tables_and_images(coco: Path) -> None:
    out = coco.parent / "out.html"
    sheet = saccade.show(coco, proposals=str(coco.parent / "own.json"), save=out)
    assert sheet.dtype == np.uint8
    text = out.read_text()
    assert text.count("<figure>") >= 3
    assert "<svg" in text
    for words in ("recall at IoU 0.7", "average recall", "square", "ABO", "red: ground truth that none covers"):
        assert words in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--proposals", "selective_serch"], "Did you mean 'selective_search'"),
        (["--proposals", "selective_search", "--limit", "0"], "limit must be at least 1"),
        (["--proposals", "selective_search", "--count", "0"], "count must be at least 1"),
        (["--proposals", "selective_search", "--model", "yolox_nano"], "Leave recipe, model, epoch and seed out"),
        (["--proposals", "selective_search", "--save", "x.abc", "--limit", "1"], "x.abc"),
        (["--limit", "3"], "Give proposals with it"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(
    words: list[str], message: str, coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(coco.parent)
    assert main(["show", str(coco), *words]) == 2
    assert message in capsys.readouterr().err


def test_data_without_boxes_are_named() -> None:
    with pytest.raises(ConfigError, match="digit_scenes has no boxes where it is read for classification"):
        show_proposals("digit_scenes", task="classification", limit=1)
