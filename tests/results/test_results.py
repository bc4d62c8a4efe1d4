from __future__ import annotations

import base64
import builtins
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision
from PIL import Image
from pycocotools import mask as coco_mask

from saccade.engine.predict.outputs import ResultTable
from saccade.errors import ConfigError
from saccade.results.classification import Classification
from saccade.results.detections import Detections
from saccade.results.drawing import class_color, write_image
from saccade.results.keypoints import Keypoints
from saccade.results.segmentation import SegmentationMap

NAMES = ("cat", "dog", "newt")
IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def about(names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    return {"path": "a.jpg", "image_id": 7, "image_size": (48, 64), "class_names": names, "image": IMAGE}


def classification() -> Classification:
    return Classification(**about(), probabilities=np.array([0.1, 0.7, 0.2], np.float32))


def detections(masks: bool = False) -> Detections:
    boxes = np.array([[1.25, 2, 30, 40], [5, 6, 20, 22], [40, 10, 60, 44]], np.float32)
    outlines = np.zeros((3, 48, 64), bool)
    outlines[0, 2:40, 2:30] = outlines[1, 6:22, 5:20] = outlines[2, 10:44, 40:60] = True
    return Detections(
        **about(),
        boxes_xyxy=boxes,
        scores=np.array([0.9, 0.6, 0.3], np.float32),
        labels=np.array([1, 0, 2]),
        masks=outlines if masks else None,
    )


def segmentation() -> SegmentationMap:
    labels = np.zeros((48, 64), np.uint8)
    labels[:24, :32] = 1
    labels[40:, 60:] = 255
    return SegmentationMap(**about(("background", "cell")), label_map=labels)


def keypoints() -> Keypoints:
    points = np.array([[[10, 10], [20, 30]], [[40.5, 12], [50, 33]]], np.float32)
    return Keypoints(
        **about(("eye", "ear")), keypoints=points, point_scores=np.array([[0.9, 0.8], [0.7, 0.1]], np.float32)
    )


ALL = [classification, detections, lambda: detections(masks=True), segmentation, keypoints]
IDS = ["classification", "detections", "masks", "segmentation", "keypoints"]


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_every_result_draws_saves_and_gives_plain_values(make: Any, tmp_path: Path) -> None:
    result = make()
    drawn = result.plot()
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3
    assert max(drawn.shape) > 400, "an image of 64 pixels is enlarged"
    assert np.asarray(Image.open(result.save(tmp_path / "deep" / "a.png"))).shape == drawn.shape
    values = json.loads(result.save(tmp_path / "a.json").read_text(encoding="utf-8"))
    assert values == result.to_json()
    assert (values["path"], values["image_id"], values["width"], values["height"]) == ("a.jpg", 7, 64, 48)
    json.dumps(result.to_coco())
    with pytest.raises(ConfigError, match="image format"):
        result.save(tmp_path / "a.txt")


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_pixels_are_read_again_if_they_were_not_kept(make: Any, tmp_path: Path) -> None:
    result = make()
    expected = result.plot()
    result.path = str(write_image(tmp_path / "a.png", IMAGE))
    result.image = None
    assert np.array_equal(result.plot(), expected)


def test_classification_ranks_its_classes() -> None:
    result = classification()
    assert (result.label, result.name) == (1, "dog")
    assert result.score == pytest.approx(0.7)
    assert [name for name, _ in result.top(2)] == ["dog", "newt"]
    assert len(result.top(10)) == 3
    assert result.to_coco(category_ids=[5, 6, 9])[0]["category_id"] == 6
    theirs = result.to_supervision()
    assert theirs.get_top_k(1)[0].tolist() == [1]


def test_names_that_are_not_known_are_numbers() -> None:
    assert Classification(**about(()), probabilities=np.array([0.2, 0.8])).name == "class 1"


def test_detections_are_indexed_like_an_array() -> None:
    result = detections(masks=True)
    assert len(result) == 3
    assert result.names == ["dog", "cat", "newt"]
    assert result[0].names == ["dog"]
    assert result[-1].names == ["newt"]
    assert result[1:].names == ["cat", "newt"]
    assert result[result.scores > 0.5].names == ["dog", "cat"]
    assert result[[2, 0]].names == ["newt", "dog"]
    assert len(result[[]]) == len(result[np.zeros(3, bool)]) == 0
    assert [one.names[0] for one in result] == result.names
    assert result[2].masks is not None
    assert result[2].masks.shape == (1, 48, 64)
    with pytest.raises(IndexError):
        result[3]
    with pytest.raises(ValueError, match="3 boxes, 2 scores"):
        Detections(**about(), boxes_xyxy=np.zeros((3, 4)), scores=np.zeros(2), labels=np.zeros(3))


def test_detections_are_filtered_by_score_and_name() -> None:
    result = detections()
    assert result.filter(min_score=0.5).names == ["dog", "cat"]
    assert result.filter(classes=["newt", "cat"]).names == ["cat", "newt"]
    assert result.filter(0.95).names == []
    with pytest.raises(ConfigError, match=r"unknown class 'dogs'.*'dog'"):
        result.filter(classes=["dogs"])


def test_plots_leave_out_what_hardly_scores_unless_it_was_filtered_lower() -> None:
    result = detections()
    result.scores = np.array([0.9, 0.6, 0.1])
    newt = np.array(class_color("newt"))
    assert not (result.plot() == newt).all(axis=-1).any()
    assert (result.filter(min_score=0.05).plot() == newt).all(axis=-1).any()


def test_detections_keep_double_boxes_and_take_empty_ones() -> None:
    precise = Detections(**about(), boxes_xyxy=[[0.1, 0.2, 0.7, 0.9]], scores=[0.5], labels=[0])
    assert precise.to_coco()[0]["bbox"] == [0.1, 0.2, 0.7 - 0.1, 0.9 - 0.2]
    empty = Detections(**about(), boxes_xyxy=[], scores=[], labels=[])
    assert empty.boxes_xyxy.shape == (0, 4)
    assert empty.to_coco() == []
    assert len(empty.to_supervision()) == 0


def test_detections_become_coco_entries_with_the_data_sets_ids() -> None:
    entries = detections(masks=True).to_coco(category_ids=[11, 22, 33])
    assert [entry["category_id"] for entry in entries] == [22, 11, 33]
    assert entries[0]["bbox"] == [1.25, 2, 28.75, 38]
    assert entries[0]["image_id"] == 7
    assert [coco_mask.area(entry["segmentation"]) for entry in entries] == [38 * 28, 16 * 15, 34 * 20]
    assert [coco_mask.toBbox(entry["segmentation"]).tolist() for entry in entries] == [
        [2, 2, 28, 38],
        [5, 6, 15, 16],
        [40, 10, 20, 34],
    ]
    assert [entry["category_id"] for entry in detections().to_coco()] == [1, 0, 2]


def test_detections_become_supervisions() -> None:
    theirs = detections(masks=True).to_supervision()
    assert isinstance(theirs, supervision.Detections)
    assert theirs.class_id.tolist() == [1, 0, 2]
    assert theirs.data["class_name"].tolist() == ["dog", "cat", "newt"]
    assert theirs.mask.shape == (3, 48, 64)
    assert len(theirs[theirs.confidence > 0.5]) == 2


def test_segmentation_knows_shares_and_writes_a_palette(tmp_path: Path) -> None:
    result = segmentation()
    assert list(result.class_share()) == ["background", "cell"]
    assert result.class_share()["cell"] == pytest.approx(0.25)
    written = Image.open(result.save_labels(tmp_path / "new" / "labels.png"))
    assert written.mode == "P"
    assert np.array_equal(np.asarray(written), result.label_map)
    assert written.convert("RGB").getpixel((0, 0)) == class_color("cell")
    entries = result.to_coco(category_ids=[0, 92])
    assert [entry["category_id"] for entry in entries] == [92]
    assert coco_mask.area(entries[0]["segmentation"]) == 24 * 32
    theirs = result.to_supervision()
    assert theirs.xyxy.tolist() == [[0, 0, 32, 24]]


def test_keypoints_are_indexed_and_exported() -> None:
    result = keypoints()
    assert len(result) == 2
    assert result[1].keypoints[0, 0].tolist() == [40.5, 12]
    assert len(result[[True, False]]) == len(result[:1]) == 1
    assert [len(one) for one in result] == [1, 1]
    entry = result.to_coco(category_ids=[1])[1]
    assert entry["category_id"] == 1
    assert entry["keypoints"] == pytest.approx([40, 11.5, 0.7, 49.5, 32.5, 0.1])  # indices of pixels
    assert entry["score"] == pytest.approx(0.4)
    theirs = result.to_supervision()
    assert isinstance(theirs, supervision.KeyPoints)
    assert np.array_equal(theirs.xy, result.keypoints)


def test_without_supervision_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "supervision":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match="pip install supervision"):
        detections().to_supervision()


def test_detections_keep_masks_and_keypoints() -> None:
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 5:20, 5:25] = masks[1, 30:50, 40:70] = True
    result = Detections(
        **about(("cat", "dog")) | {"image_size": (60, 80)},
        boxes_xyxy=np.array([[5, 5, 25, 20], [40, 30, 70, 50]], np.float32),
        scores=[0.9, 0.4],
        labels=[1, 0],
        masks=masks,
        keypoints=np.array([[[10, 10], [20, 15]], [[45, 35], [60, 45]]], np.float32),
        point_scores=np.array([[0.9, 0.8], [0.7, 0.1]], np.float32),
        point_names=("nose", "tail"),
    )
    one = result.above(0.5)
    assert (len(one), len(one.masks), len(one.keypoints), len(one.point_scores)) == (1, 1, 1, 1)
    assert result.describe() in ("1 dog, 1 cat", "1 cat, 1 dog")
    first = result.to_json()["objects"][0]
    assert first["keypoints"][1] == {"name": "tail", "x": 20.0, "y": 15.0, "score": pytest.approx(0.8)}
    assert "mask_rle" in first
    entry = result.to_coco()[1]
    assert entry["keypoints"] == pytest.approx([44.5, 34.5, 0.7, 59.5, 44.5, 0.1])
    assert entry["segmentation"]["size"] == [60, 80]
    shown = result.to_supervision()
    assert shown.mask.sum() == masks.sum()
    assert shown.data["keypoints"].shape == (2, 2, 2)
    result.image = np.zeros((60, 80, 3), np.uint8)
    plain = replace(result, masks=None, keypoints=None, point_scores=None)
    assert (result.plot()[: plain.plot().shape[0]] != plain.plot()).any()


def test_objects_of_keypoints_have_scores_and_boxes() -> None:
    points = np.zeros((2, 2, 2), np.float32)
    both = np.array([[0.9, 0.7], [0.2, 0.4]], np.float32)
    result = Keypoints(**about(("eye", "ear")), keypoints=points, point_scores=both)
    assert result.scores == pytest.approx([0.8, 0.3])
    assert len(result.above(0.5)) == 1
    boxes = np.array([[0, 0, 5, 5], [1, 1, 9, 9]], np.float32)
    named = replace(result, scores=np.array([0.1, 0.6]), boxes_xyxy=boxes)
    (entry,) = named.above(0.5).to_coco([7])
    assert (entry["category_id"], entry["score"], entry["bbox"]) == (7, 0.6, [1.0, 1.0, 8.0, 8.0])
    assert named.to_json()["objects"][1]["box_xyxy"] == [1.0, 1.0, 9.0, 9.0]
    with pytest.raises(ValueError, match="they must agree"):
        Keypoints(**about(("eye", "ear")), keypoints=points, point_scores=both, scores=np.ones(3))


RESULTS = [classification, detections, segmentation, keypoints]


@pytest.mark.parametrize("make", RESULTS)
def test_a_result_is_one_line_a_drawing_in_a_notebook_and_rows(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = replace(make(), path="<b>\x1b[31m.mp4", frame=12, seconds=0.48)
    print(result)
    assert capsys.readouterr().out == f"<b>\x1b[31m.mp4 frame 12 (0.48 s): {result.describe()}\n"
    assert repr(make()) == f"<{type(result).__name__} a.jpg: {result.describe()}>"
    page = result._repr_html_()
    assert "&lt;b&gt;" in page
    assert "\x1b" not in page
    data = re.search(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    assert data is not None
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))))
    assert shown.shape == result.plot().shape
    assert np.abs(shown.astype(int) - result.plot()).mean() < 12
    rows = result.rows()
    assert rows
    assert {tuple(row)[:3] for row in rows} == {("path", "frame", "seconds")}
    assert {(row["frame"], row["seconds"]) for row in rows} == {(12, 0.48)}
    assert len({tuple(row) for row in rows}) == 1


def test_rows_have_the_numbers_of_the_result() -> None:
    first, *_ = detections().rows()
    assert list(first.values()) == ["a.jpg", None, None, "dog", 1, pytest.approx(0.9), 1.25, 2.0, 30.0, 40.0]
    assert [row["name"] for row in classification().rows()] == ["dog", "newt", "cat"]
    assert [(row["name"], row["share"]) for row in segmentation().rows()] == [
        ("background", pytest.approx(0.7396, abs=1e-3)),
        ("cell", 0.25),
    ]
    assert keypoints().rows()[1]["ear_y"] == 33.0


@pytest.mark.parametrize("make", [classification, detections, segmentation, keypoints])
def test_a_table_has_its_columns_also_where_nothing_was_found(make: Any, tmp_path: Path) -> None:
    result = make()
    assert result.columns() == list(result.rows()[0])
    with_points = replace(detections(), keypoints=np.zeros((3, 2, 2)), point_scores=np.ones((3, 2)))
    for full in (detections(), with_points, keypoints()):
        empty = full[:0]
        assert empty.rows() == []
        assert empty.columns() == full.columns()
        with ResultTable(tmp_path / "table.csv") as table:
            table.add(empty)
            table.add(full)
        lines = (tmp_path / "table.csv").read_text().splitlines()
        assert lines[0].split(",") == full.columns()
        assert len(lines) == 1 + len(full.rows())
    (tmp_path / "table.csv").write_text("of an earlier prediction")
    with ResultTable(tmp_path / "table.csv") as table:
        table.add(detections()[:0])
    assert (tmp_path / "table.csv").read_text().startswith("path,frame,seconds,name,label,score,x1")


def test_a_data_frame_where_pandas_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pandas:
        DataFrame = staticmethod(lambda rows: ("frame", rows))

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    assert detections().to_dataframe() == ("frame", detections().rows())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"pip install pandas\. rows\(\) needs nothing"):
        detections().to_dataframe()


def test_crops_are_the_boxes_of_the_image() -> None:
    crops = detections().crops()
    assert [crop.shape for crop in crops] == [(38, 29, 3), (16, 15, 3), (34, 20, 3)]
    assert (crops[1] == IMAGE[6:22, 5:20]).all()
    assert detections().crops(margin=0.5)[1].shape == (30, 28, 3)
    far = replace(detections()[:1], boxes_xyxy=np.array([[90.0, 90, 95, 95]]))
    assert far.crops()[0].shape == (1, 1, 3)
    with pytest.raises(ConfigError, match="no boxes to cut out"):
        keypoints().crops()


def test_show_opens_the_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("PIL.Image.Image.show", lambda image: shown.append(np.asarray(image)))
    detections().show()
    assert (shown[0] == detections().plot()).all()


def test_uncertainty_is_large_where_scores_are_undecided() -> None:
    assert classification().uncertainty() == pytest.approx(1 - (0.7 - 0.2))
    assert detections().uncertainty() == pytest.approx(0.8)  # of the score 0.6
    assert detections()[:0].uncertainty() == 0.0
    assert segmentation().uncertainty() is None
    soft = np.full((48, 64), 0.75, np.float32)
    assert replace(segmentation(), probabilities=soft).uncertainty() == pytest.approx(0.5)


def test_what_does_not_occur_is_in_no_list() -> None:
    sure = replace(classification(), probabilities=np.array([1.0, 0.0, 0.0]))
    assert sure.plot().shape[0] < classification().plot().shape[0]
    one = replace(keypoints(), point_scores=np.array([[0.9, 0.0], [0.7, 0.0]], np.float32))
    none = replace(keypoints(), point_scores=np.zeros((2, 2), np.float32))
    assert keypoints().plot().shape[1] >= one.plot().shape[1]
    assert none.plot().shape[0] < one.plot().shape[0]  # no legend
    labels = np.zeros((48, 64), np.uint8)
    labels[0, 0] = 1
    assert replace(segmentation(), label_map=labels).describe() == "background 100.0%"
