"""labelme's files: every kind of shape, groups, flags, images inside, and what is no labelme file."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.data.faults import faults_of

from saccade.data.open import open_dataset
from saccade.data.readers import detect_format, labelme
from saccade.errors import DataError
from saccade.structures.sample import Target

SIZE = (40, 60)


def shape(label: str, kind: str, points: list[list[float]], **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def write(path: Path, *shapes: dict[str, Any], **more: Any) -> Path:
    content = {
        "version": "4.5.6",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": f"{path.stem}.png",
        "imageData": None,
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def png(pixels: Any) -> str:
    done, data = cv2.imencode(".png", np.asarray(pixels, np.uint8))
    assert done
    return base64.b64encode(data.tobytes()).decode()


BOX = shape("cat", "rectangle", [[10, 20], [30, 25]])
RING = shape("dog", "polygon", [[1, 1], [9, 1], [9, 5], [1, 5]])
LINE = shape("road", "line", [[0, 0], [50, 30]])


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    """Two images of 40 x 60, the second without shapes."""
    for name in ("1", "2"):
        write_image(tmp_path / f"{name}.png", SIZE)
    write(tmp_path / "1.json", BOX, RING)
    write(tmp_path / "2.json")
    return tmp_path


def target(root: Path, **options: Any) -> Target:
    return labelme.read(root, "all", **options).target(0)


def test_boxes_and_polygons(root: Path) -> None:
    data = labelme.read(root, "all", masks=True)
    assert detect_format(root) == "labelme"
    assert labelme.splits(root) == ("all",)
    assert data.info.class_names == ("cat", "dog")
    found = data.target(0)
    assert found["labels"].tolist() == [0, 1]
    assert found["boxes"].tolist() == [[10, 20, 30, 25], [1, 1, 9, 5]]
    assert found["area"].tolist() == [100, 32]
    assert found["masks"].sum(axis=(1, 2)).tolist() == [100, 32]
    assert data.target(1)["boxes"].shape == (0, 4)
    assert data.read(1).image.shape == (40, 60, 3)
    assert data.annotation_path(0) == str(root / "1.json")
    assert data.repairs == {}


def test_rectangles_are_any_two_corners(root: Path) -> None:
    corners = [[30, 20], [10, 25]], [[10, 25], [30, 20]], [[10, 20], [30, 20], [30, 25], [10, 25]]
    write(root / "1.json", *(shape("cat", "rectangle", list(points)) for points in corners))
    assert target(root)["boxes"].tolist() == [[10, 20, 30, 25]] * 3


def test_circles(root: Path) -> None:
    write(root / "1.json", shape("cat", "circle", [[30, 20], [33, 24]]))
    found = target(root, masks=True)
    assert found["boxes"].tolist() == [[25, 15, 35, 25]]
    assert found["area"].tolist() == [pytest.approx(math.pi * 25)]
    ys, xs = np.mgrid[:40, :60] + 0.5
    disc = (xs - 30) ** 2 + (ys - 20) ** 2 < 25
    assert abs(int(found["masks"][0].sum()) - int(disc.sum())) <= 4


def test_masks_lie_where_their_first_point_says(root: Path) -> None:
    pixels = np.zeros((4, 6))
    pixels[1:, 2:] = 1
    write(root / "1.json", shape("cat", "mask", [[10.4, 20.0], [15.4, 23.0]], mask=png(pixels)))
    found = target(root, masks=True)
    assert found["boxes"].tolist() == [[12, 21, 16, 24]]
    assert found["area"].tolist() == [12]
    expected = np.zeros(SIZE, np.uint8)
    expected[21:24, 12:16] = 1
    assert np.array_equal(found["masks"][0], expected)


def test_masks_are_cut_at_the_edge(root: Path) -> None:
    write(root / "1.json", shape("cat", "mask", [[-2, 38], [3, 41]], mask=png(np.full((4, 6), 255))))
    assert target(root)["boxes"].tolist() == [[0, 38, 4, 40]]


def test_polygons_of_a_group_are_one_object(root: Path) -> None:
    more = shape("dog", "polygon", [[20, 1], [24, 1], [24, 5], [20, 5]], group_id=7)
    other = {**BOX, "group_id": 7}
    write(root / "1.json", {**RING, "group_id": 7}, other, more, RING)
    found = target(root, masks=True)
    assert found["labels"].tolist() == [1, 0, 1]
    assert found["boxes"].tolist() == [[1, 1, 24, 5], [10, 20, 30, 25], [1, 1, 9, 5]]
    assert found["area"].tolist() == [48, 100, 32]
    assert found["masks"][0].sum() == 48


def test_shapes_without_area_are_no_objects(root: Path) -> None:
    shapes = [
        LINE,
        shape("road", "linestrip", [[0, 0], [5, 5], [9, 2]]),
        shape("nose", "point", [[3, 4]]),
        shape("__ignore__", "polygon", [[0, 0], [5, 0], [5, 5]]),
    ]
    write(root / "1.json", *shapes, BOX)
    data = open_dataset(root, "all", bad_labels="error")
    assert data.info.class_names == ("cat",)
    assert data.target(0)["boxes"].tolist() == [[10, 20, 30, 25]]
    assert data.repairs == {  # type: ignore[attr-defined]
        "left out line": 1,
        "left out linestrip": 1,
        "left out point": 1,
        "left out __ignore__": 1,
    }


def test_attributes(root: Path) -> None:
    flags = {"occluded": True, "blurred": False}
    box = {**BOX, "group_id": 3, "description": "from behind", "flags": flags, "attributes": {"colour": "red"}}
    write(root / "1.json", box, RING, flags={"night": True}, operator="me")
    table = labelme.read(root, "all").table
    assert table.attributes is not None
    assert table.image_attributes is not None
    expected = {**flags, "colour": "red", "group_id": 3, "description": "from behind"}
    assert table.attributes.get(0) == expected
    assert table.attributes.get(1) == {}
    assert table.image_attributes.get(0) == {"night": True, "labelme": {"more": {"operator": "me"}}}
    assert table.image_attributes.get(1) == {}


def test_names_that_tables_use_are_no_marks(root: Path) -> None:
    write(root / "1.json", {**BOX, "saccade": {"extras": {"area": 1, "self": 2, "difficult": 1}}})
    data = labelme.read(root, "all")
    assert set(data.table.extras) == {"difficult"}
    assert data.target(0)["area"].tolist() == [100]


def test_classes_are_those_of_all_splits(root: Path) -> None:
    for split, label in (("train", "dog"), ("val", "cat"), ("val", "ant")):
        (root / split).mkdir(exist_ok=True)
        write(root / split / f"{label}.json", shape(label, "rectangle", [[1, 2], [3, 4]]))
    for file in root.glob("*.json"):
        file.unlink()
    assert detect_format(root) == "labelme"
    assert labelme.splits(root) == ("train", "val")
    data = labelme.read(root, "train")
    assert data.info.class_names == ("ant", "cat", "dog")
    assert data.target(0)["labels"].tolist() == [2]
    assert len(labelme.read(root, "val")) == 2
    with pytest.raises(DataError, match="there is no split 'test'; it has: train, val"):
        labelme.read(root, "test")


def test_lists_of_classes(root: Path) -> None:
    (root / "labels.txt").write_text("__ignore__\n_background_\ndog\nemu\n")
    data = labelme.read(root, "all")
    assert data.info.class_names == ("dog", "emu")
    assert data.target(0)["labels"].tolist() == [-1, 0]
    assert data.table.unknown_classes == ("cat",)
    assert labelme.read(root, "all", class_names=["dog", "cat"]).target(0)["labels"].tolist() == [1, 0]
    (root / "labels.txt").write_text("dog\ndog\n")
    with pytest.raises(DataError, match=r"labels\.txt: a name is listed twice"):
        labelme.read(root, "all")


def test_label_map_paints_small_over_large(root: Path) -> None:
    small = shape("cat", "rectangle", [[10, 10], [20, 20]])
    large = shape("dog", "polygon", [[0, 0], [60, 0], [60, 40], [0, 40]])
    hidden = shape("__ignore__", "polygon", [[12, 12], [14, 12], [14, 14], [12, 14]])
    hole = shape("_background_", "rectangle", [[30, 0], [60, 40]])
    write(root / "1.json", small, hole, hidden, large)
    data = labelme.read(root, "all", task="segmentation")
    assert data.info.class_names == ("background", "cat", "dog")
    label_map = data.target(0)["label_map"]
    values, counts = np.unique(label_map, return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 1200, 1: 96, 2: 1100, 255: 4}
    assert not data.target(1)["label_map"].any()


def test_the_true_flag_is_the_class(root: Path) -> None:
    write(root / "1.json", flags={"__ignore__": False, "emu": False, "cat": True})
    write(root / "2.json", flags={"__ignore__": False, "emu": True, "cat": False})
    data = labelme.read(root, "all")
    assert data.info.task == "classification"
    assert data.info.class_names == ("cat", "emu")
    assert [int(data.target(index)["labels"]) for index in range(2)] == [0, 1]
    write(root / "1.json", flags={"__ignore__": True, "emu": True, "cat": True})
    data = labelme.read(root, "all")
    assert [Path(data.path(index)).name for index in range(len(data))] == ["2.png"]
    assert data.annotation_path(0) == str(root / "2.json")
    assert data.repairs == {"left out __ignore__": 1}
    write(root / "1.json", flags={"emu": True, "cat": True})
    assert re.search(
        r"1\.json: flags: one must be true, the class, but these are: emu, cat", faults_of(labelme.read, root, "all")
    )


def test_points_of_a_group_are_keypoints(root: Path) -> None:
    def point(label: str, x: float, y: float, group: int | None, **flags: bool) -> dict[str, Any]:
        return shape(label, "point", [[x, y]], group_id=group, flags=flags)

    first, second = {**BOX, "group_id": 1}, {**BOX, "label": "dog", "group_id": 2}
    shapes = [point("nose", 11, 21, 1), first, point("left_ear", 13, 22, 1, hidden=True), second, LINE]
    write(root / "1.json", *shapes, point("right_ear", 5, 6, 2), point("nose", 1, 1, None))
    data = labelme.read(root, "all", task="keypoints")
    assert data.info.class_names == ("left_ear", "nose", "right_ear")
    assert data.info.flip_pairs == ((0, 2),)
    found = data.target(0)
    assert found["labels"].tolist() == [0, 1]
    assert found["boxes"].tolist() == [[10, 20, 30, 25]] * 2
    expected = [[[13, 22, 1], [11, 21, 2], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [5, 6, 2]]]
    assert found["keypoints"].tolist() == expected
    assert data.repairs == {"left out line": 1, "left out point": 1}
    write(root / "1.json", first, point("nose", 1, 1, 1), point("nose", 2, 2, 1))
    assert re.search(
        r"1\.json: shapes\[2\]: its object has the point 'nose' twice",
        faults_of(labelme.read, root, "all", task="keypoints"),
    )
    write(root / "1.json", first, point("nose", 1, 1, None))
    with pytest.raises(DataError, match="no point shares a group_id with an object"):
        labelme.read(root, "all", task="keypoints")


def test_images_inside_the_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    write(tmp_path / "a.json", BOX, imageData=png(pixels[..., ::-1]), imagePath="a.json")
    write(tmp_path / "b.json", imageData=png(pixels[..., ::-1]), imageHeight=None, imageWidth=None)
    data = labelme.read(tmp_path, "all")
    assert np.array_equal(data.read(0).image, pixels)
    assert data.table.sizes.tolist() == [[40, 60], [40, 60]]
    write(tmp_path / "a.json", BOX, imageData="no base64!")
    with pytest.raises(DataError, match=r"a\.json: imageData is not an image in base64"):
        labelme.read(tmp_path, "all").read(0)
    write(tmp_path / "a.json", BOX, imageData=base64.b64encode(b"no image").decode())
    with pytest.raises(DataError, match=r"a\.json"):
        labelme.read(tmp_path, "all").read(0)


def test_where_the_image_is(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images" / "a.png", SIZE)
    folder = tmp_path / "labels"
    for name in ("../images/a.png", "..\\images\\a.png", "../images/../images/a.png"):
        write(folder / "x.json", BOX, imagePath=name)
        data = labelme.read(tmp_path, "labels")
        assert data.path(0) == str(tmp_path / "images/a.png")
    write(folder / "a.json", BOX, imagePath="/home/me/a.png")
    (folder / "x.json").unlink()
    assert labelme.read(folder, "all", images="../images").read(0).image.shape == (40, 60, 3)
    write_image(folder / "a.png", SIZE)
    assert labelme.read(folder, "all").path(0) == str(folder / "a.png")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd.png", "C:\\secret.jpg", "a/..\\..\\..\\b.jpg", "\\\\host\\x.jpg"]
)
def test_images_may_not_leave_the_folder(tmp_path: Path, write_image: Any, name: str) -> None:
    write_image(tmp_path / "b.jpg", SIZE)
    write(tmp_path / "data" / "x.json", BOX, imagePath=name)
    assert re.search(
        r"x\.json: it names the image .* not a file inside the data folder",
        faults_of(labelme.read, tmp_path / "data", "all"),
    )


def test_missing_images_are_named_when_read(root: Path) -> None:
    (root / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png: the file does not exist"):
        labelme.read(root, "all").read(0)


def test_version_three(root: Path) -> None:
    old = {"label": "cat", "points": [[1, 1], [9, 1], [9, 5]], "line_color": None, "fill_color": None}
    content = {"flags": {}, "shapes": [old], "lineColor": [0, 255, 0, 128], "imagePath": "1.png", "imageData": None}
    (root / "1.json").write_text(json.dumps(content))
    data = labelme.read(root, "all")
    assert data.target(0)["boxes"].tolist() == [[1, 1, 9, 5]]
    assert data.table.sizes[0].tolist() == [40, 60]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"shape_type": "spiral"}, r"shapes\[1\]\.shape_type is 'spiral'"),
    "label": ({"label": 3}, r"shapes\[1\]\.label: expected str, got int"),
    "points": ({"points": [[1, 2], [3]]}, r"shapes\[1\]\.points\[1\]: expected array of length 2"),
    "text": ({"points": [["x", 2], [3, 4]]}, r"shapes\[1\]\.points\[0\]\[0\]: expected float, got str"),
    "no points": ({"points": []}, r"shapes\[1\]\.points: a rectangle has 2 or more, not 0"),
    "far": ({"points": [[1, 2], [1e300, 4]]}, r"shapes\[1\]\.points: a number is out of range"),
    "flags": ({"flags": [1]}, r"shapes\[1\]\.flags: expected object \| null, got array"),
    "no mask": ({"shape_type": "mask"}, r"shapes\[1\]\.mask is missing"),
    "mask": ({"shape_type": "mask", "mask": "%%%"}, r"shapes\[1\]\.mask is not an image in base64"),
    "mask outside": (
        {"shape_type": "mask", "mask": png([[1]]), "points": [[70, 1], [70, 1]]},
        r"shapes\[1\]\.mask is outside of the 60x40 image",
    ),
    "marks": ({"saccade": {"extras": {"difficult": 10**30}}}, r"shapes\[1\]\.saccade\.extras\[\.\.\.\]: "),
    "empty mask": ({"shape_type": "mask", "mask": png([[0]])}, r"shapes\[1\]\.mask is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_shapes_name_file_and_field(root: Path, case: str) -> None:
    changes, message = BAD[case]
    write(root / "1.json", BOX, {**BOX, **changes})
    assert re.search(rf"1\.json: {message}", faults_of(labelme.read, root, "all"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "this is not a labelme file"),
        ("[]", "this is not a labelme file"),
        ("{}", "shapes is missing"),
        ('{"shapes": 3}', "shapes, flags or the image's fields: Expected array, got int"),
        ('{"shapes": [], "imageHeight": "x"}', "shapes, flags or the image's fields: Expected int"),
        ('{"shapes": [], "imageHeight": 1000000, "imageWidth": 1000000}', "imageHeight and imageWidth are 1000000"),
        (
            '{"shapes": [], "imageHeight": 1000000000000, "imageWidth": 0}',
            "imageHeight and imageWidth are 1000000000000",
        ),
        ('{"shapes": [{"label": "\udcff"}]}', "this is not a labelme file|shapes, flags"),
        ('{"shapes": [], "more": ' + "[" * 100_000, "this is not a labelme file"),
    ],
)
def test_malformed_files_are_named(root: Path, text: str, message: str) -> None:
    (root / "2.json").write_text(text, errors="surrogateescape")
    assert re.search(rf"2\.json: ({message})", faults_of(labelme.read, root, "all"))


def test_other_json_is_not_taken_for_labelme(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (tmp_path / "b.json").write_text("not json")
    assert not labelme.matches(tmp_path)
    with pytest.raises(DataError, match="there are no JSON files of labelme"):
        labelme.read(tmp_path, "all")


@pytest.mark.data("labelme_samples")
def test_every_kind_of_shape_in_the_samples(data_root: Path) -> None:
    data = labelme.read(data_root / "labelme_samples" / "primitives", "all", masks=True)
    assert data.info.class_names == ("circle", "octagon", "polygon", "rectangle")
    found = data.target(0)
    assert found["boxes"][4].tolist() == [417, 305, 517, 405]
    assert found["boxes"][1] == pytest.approx([195 - 50.8035, 84 - 50.8035, 195 + 50.8035, 84 + 50.8035], abs=1e-4)
    assert found["masks"].sum(axis=(1, 2)).tolist() == pytest.approx(found["area"].tolist(), rel=0.01)
    assert data.repairs == {"left out line": 1, "left out linestrip": 1, "left out point": 1}


@pytest.mark.data("labelme_samples")
def test_polygons_equal_those_of_the_coco_file_beside(data_root: Path) -> None:
    root = data_root / "labelme_samples" / "instance_segmentation"
    coco = json.loads((root / "data_dataset_coco" / "annotations.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    data = labelme.read(root / "data_annotated", "all")
    outlines = data.table.outlines
    assert outlines is not None
    for index in range(len(data)):
        number = next(i["id"] for i in coco["images"] if Path(i["file_name"]).name == Path(data.path(index)).name)
        entries = [entry for entry in coco["annotations"] if entry["image_id"] == number]
        expected = sorted((names[entry["category_id"]], sorted(map(tuple, entry["segmentation"]))) for entry in entries)
        rows = range(*data.table.objects(index).indices(len(data.table.labels)))
        assert expected == sorted(
            (
                data.info.class_names[data.table.labels[row]],
                sorted(tuple(ring.reshape(-1).tolist()) for ring in outlines.rings(row)),
            )
            for row in rows
        )


@pytest.mark.data("labelme_samples")
@pytest.mark.parametrize("name", ["semantic_segmentation", "instance_segmentation"])
def test_label_maps_equal_those_beside_but_for_the_edges(data_root: Path, name: str) -> None:
    """labelme's own converter also paints the pixels that an outline touches; COCO's rule asks for their centres."""
    root = data_root / "labelme_samples" / name
    names = (root / "data_dataset_voc" / "class_names.txt").read_text().split("\n")
    classes = [line for line in names if line not in ("", "_background_")]
    data = labelme.read(root / "data_annotated", "all", task="segmentation", class_names=classes)
    for index in range(len(data)):
        file = root / "data_dataset_voc" / "SegmentationClass" / f"{Path(data.path(index)).stem}.png"
        expected = np.array(Image.open(file))
        found = data.target(index)["label_map"]
        edges = np.zeros(expected.shape, np.uint8)
        for label_map in (expected, found):
            for axis in (0, 1):
                changes = np.diff(label_map.astype(int), axis=axis) != 0
                edges |= np.pad(changes, [(0, int(axis == 0)), (0, int(axis == 1))]).astype(np.uint8)
        differs = found != expected
        assert differs.mean() < 0.007
        assert not (differs & (cv2.dilate(edges, np.ones((3, 3), np.uint8)) == 0)).any()
