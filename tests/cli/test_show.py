"""``saccade show``: what training would see, drawn for every task."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from saccade.cli import main
from saccade.engine.report.show import draw_training_images, on_data
from saccade.engine.train.config import DataConfig, Phase, TrainConfig
from saccade.errors import ConfigError
from saccade.recipes import get_recipe


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A VOC folder of 6 images with a red square each, in splits of its own names."""
    root = tmp_path / "shapes"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(6):
        image = np.full((60, 80, 3), 30, np.uint8)
        image[10:40, 20:60, 2] = 255
        cv2.imwrite(str(root / f"JPEGImages/p{number}.jpg"), image)
        (root / f"Annotations/p{number}.xml").write_text(
            "<annotation><size><width>80</width><height>60</height></size><object><name>square</name><bndbox>"
            "<xmin>21</xmin><ymin>11</ymin><xmax>60</xmax><ymax>40</ymax></bndbox></object></annotation>"
        )
    for split, numbers in (("learn", range(4)), ("score", range(4, 6))):
        (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"p{number}\n" for number in numbers))
    return root


def test_a_recipe_is_shown_on_other_data_with_the_classes_of_that_data(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    assert main(["show", str(shapes), "--recipe", "yolox_tiny_bccd", "--save", str(out), "--count", "3"]) == 0
    assert str(out) in capsys.readouterr().out.replace("\n", "")
    sheet = cv2.imread(str(out))
    assert sheet is not None
    assert min(sheet.shape[:2]) > 300
    red = (sheet[..., 2] > 200) & (sheet[..., :2] < 80).all(axis=2)
    assert red.mean() > 0.005


@pytest.mark.parametrize("task", ["detection", "classification", "segmentation", "keypoints"])
def test_every_task_is_shown_without_naming_anything(task: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jpg"
    assert main(["show", "digit_scenes", "--task", task, "--save", str(out), "--count", "4"]) == 0
    assert cv2.imread(str(out)) is not None


def test_a_model_is_shown_with_its_own_canvas(tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    words = ["show", "digit_scenes", "--task", "classification", "--model", "lenet5", "--count", "1"]
    assert main([*words, "--save", str(out)]) == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "yolox_tiny_bcd"], "Did you mean 'yolox_tiny_bccd'"),
        (["--model", "yolox_tny"], "Did you mean"),
        (["--recipe", "yolox_tiny_bccd", "--model", "yolox_s"], "one of them"),
        (["--split", "train"], "train"),
        (["--count", "0"], "count"),
        (["--epoch", "1000"], "epoch 1000"),
        (["--recip", "x"], "Did you mean 'recipe'"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(
    words: list[str], message: str, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = 3 if words[0] == "--split" else 2  # the data have no such split
    assert main(["show", str(shapes), *words, "--save", str(tmp_path / "out.png")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_nothing_there_and_no_image_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path / "nowhere")]) == 3
    assert "nowhere" in capsys.readouterr().err
    assert main(["show", "digit_scenes", "--count", "1", "--save", str(tmp_path / "out.doc")]) == 2
    assert "image format" in capsys.readouterr().err


def test_the_epoch_chooses_the_stage(shapes: Path) -> None:
    """Late phases without augmentation show the plain image; the same seed shows the same."""
    config = on_data(
        TrainConfig(
            data=DataConfig(batch_size=4),
            phases=(Phase(from_epoch=-1, augment={"flip": 0.0}, size=(96, 128)),),
            epochs=5,
        ),
        str(shapes),
    )
    config.augment.flip = 1.0
    early, again, late = (draw_training_images(config, 4, epoch) for epoch in (1, 1, -1))
    assert early.dtype == np.uint8
    np.testing.assert_array_equal(early, again)
    assert early.shape != late.shape or (early != late).any()
    other = draw_training_images(on_data(config, str(shapes), seed=9), 4, 1)
    assert other.shape == early.shape
    with pytest.raises(ConfigError, match="epoch -6"):
        draw_training_images(config, 4, -6)


def test_a_recipe_keeps_its_split_on_its_own_data_and_takes_the_first_of_other_data(shapes: Path) -> None:
    recipe = get_recipe("yolox_tiny_bccd")
    assert on_data(recipe, "bccd").data.train == "train+val"
    assert on_data(recipe, str(shapes)).data.train == "learn"
    assert on_data(recipe, str(shapes), split="score").data.train == "score"


@pytest.mark.data("tiny_coco")
def test_tiny_coco_by_the_recipe_of_blood_cells(data_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    assert main(["show", str(data_root / "tiny_coco"), "--recipe", "yolox_tiny_bccd", "--save", str(out)]) == 0
    sheet = cv2.imread(str(out))
    assert sheet is not None
    assert min(sheet.shape[:2]) > 500


def test_outlines_are_drawn_where_there_are_some(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "train").mkdir(parents=True)
    (root / "annotations").mkdir()
    cv2.imwrite(str(root / "train" / "a.png"), np.full((320, 320, 3), 60, np.uint8))
    triangle = [40, 40, 280, 40, 40, 280]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 320, "height": 320}],
        "categories": [{"id": 1, "name": "sail"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [40, 40, 240, 240],
                "area": 28800,
                "iscrowd": 0,
                "segmentation": [triangle],
            }
        ],
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    outlined = _coloured(root)
    content["annotations"][0]["segmentation"] = []
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    assert outlined > 4 * _coloured(root) > 0  # the triangle, not the lines of the box alone


def _coloured(root: Path) -> float:
    """Share of the first training image, which is grey, that has a colour."""
    drawn = draw_training_images(on_data(TrainConfig(), str(root)), count=1)[:320].astype(int)
    return float((drawn.max(axis=2) - drawn.min(axis=2) > 20).mean())
