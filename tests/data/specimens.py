"""Small valid data sets of every format, one file of which the fuzz suite breaks."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from saccade.structures.sample import IGNORE_LABEL

__all__ = ["SPECIMENS", "Specimen", "coco", "encode", "photograph", "put"]

HEIGHT, WIDTH = 20, 28


@dataclass(frozen=True)
class Specimen:
    """A valid data set of which one file is broken.

    Args:
        name: Name of the specimen.
        format: Format it is read in.
        split: Split that is opened.
        file: File that is broken, below the data folder.
        build: Writes the data set into a folder.
        source: Path that is opened, below the folder: the folder itself, or a zip in it.
        task: Task it is opened for.
        mutants: Number of broken copies.
    """

    name: str
    format: str
    split: str
    file: str
    build: Callable[[Path], None]
    source: str = "."
    task: str | None = None
    mutants: int = 60


def photograph(seed: int = 0, channels: int = 3, bits: int = 8) -> np.ndarray:
    """A smooth image with some noise, so that every encoder has something to do."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    base = 120 + 60 * np.sin(x / 5) + 40 * np.cos(y / 4)
    pixels = np.clip(base[..., None] + rng.normal(0, 8, (HEIGHT, WIDTH, channels)), 0, 255)
    values = (pixels * 257).astype(np.uint16) if bits == 16 else pixels.astype(np.uint8)
    return values[..., 0] if channels == 1 else values


def encode(suffix: str, pixels: np.ndarray) -> bytes:
    """The bytes of an image file."""
    if suffix in (".gif", ".avif"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format=suffix[1:])
        return buffer.getvalue()
    done, data = cv2.imencode(suffix, pixels)
    assert done, f"OpenCV cannot write {suffix}"
    return data.tobytes()


def palette_png(values: np.ndarray) -> bytes:
    """Label map as a palette PNG, as in PASCAL VOC."""
    image = Image.fromarray(values.astype(np.uint8), mode=None)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def labels(offset: int = 0) -> np.ndarray:
    """Label map of three classes and some ignored pixels."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[4:12, 5:15], values[10:18, 12 + offset : 26], values[:, -1] = 1, 2, IGNORE_LABEL
    return values


def put(path: Path, content: bytes | str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def images(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        put(root / name, encode(Path(name).suffix, photograph(seed)))


def folder_of(suffix: str, channels: int = 3, bits: int = 8) -> Callable[[Path], None]:
    """An image of a format, and two others in its class and in a second one, as a classifier needs."""

    def build(root: Path) -> None:
        put(root / "cat" / f"x{suffix}", encode(suffix, photograph(0, channels, bits)))
        put(root / "cat" / "z.png", encode(".png", photograph(1)))
        put(root / "dog" / "y.png", encode(".png", photograph(2)))

    return build


def build_exif(root: Path) -> None:
    """A JPEG with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    buffer = io.BytesIO()
    Image.fromarray(photograph()).save(buffer, format="JPEG", exif=exif)
    put(root / "cat" / "x.jpg", buffer.getvalue())
    put(root / "cat" / "z.png", encode(".png", photograph(1)))
    put(root / "dog" / "y.png", encode(".png", photograph(2)))


def build_masks(root: Path) -> None:
    for number in range(2):
        put(root / "images" / f"{number}.png", encode(".png", photograph(number)))
        put(root / "masks" / f"{number}.png", palette_png(labels(number)))


def build_grey_masks(root: Path) -> None:
    for number in range(2):
        put(root / "images" / f"{number}.png", encode(".png", photograph(number)))
        put(root / "masks" / f"{number}.png", encode(".png", labels(number).astype(np.uint16)))


def build_instances(root: Path) -> None:
    for number in range(2):
        put(root / "PNGImages" / f"{number}.png", encode(".png", photograph(number)))
        values = labels(number)
        put(root / "PedMasks" / f"{number}_mask.png", encode(".png", np.where(values == IGNORE_LABEL, 0, values)))


VOC_XML = """<annotation>
  <folder>JPEGImages</folder><filename>a.jpg</filename>
  <size><width>28</width><height>20</height><depth>3</depth></size>
  <object><name>cat</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>15</ymax></bndbox></object>
  <object><name>dog</name><difficult>1</difficult>
    <bndbox><xmin>10</xmin><ymin>1</ymin><xmax>28</xmax><ymax>20</ymax></bndbox></object>
</annotation>
"""


def build_voc(root: Path) -> None:
    images(root / "JPEGImages", "a.jpg", "b.jpg")
    put(root / "Annotations" / "a.xml", VOC_XML)
    put(root / "Annotations" / "b.xml", VOC_XML.replace("a.jpg", "b.jpg"))
    put(root / "ImageSets" / "Main" / "train.txt", "a\nb\n")


def coco() -> dict[str, object]:
    """Content of a COCO file: boxes, a polygon, a mask as runs, and compressed runs."""
    about = {"category_id": 3, "iscrowd": 0, "area": 80.5}
    return {
        "info": {"year": 2017},
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 9, "file_name": "b.jpg", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [
            {**about, "id": 1, "image_id": 7, "bbox": [2.5, 3, 10, 8], "segmentation": [[2.5, 3, 12, 3, 12, 11, 4, 9]]},
            {**about, "id": 2, "image_id": 9, "bbox": [0, 0, 4, 4], "iscrowd": 1}
            | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [4, 6, HEIGHT * WIDTH - 10]}},
            {**about, "id": 3, "image_id": 9, "bbox": [1, 1, 5, 5], "category_id": 8}
            | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": "4;2`g0"}},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog", "supercategory": "animal"}],
    }


def build_coco(root: Path) -> None:
    images(root / "train", "a.jpg", "b.jpg")
    put(root / "annotations" / "instances_train.json", json.dumps(coco(), indent=1))


def build_coco_points(root: Path) -> None:
    images(root / "train", "a.jpg", "b.jpg")
    content = coco()
    points = [5, 6, 2, 0, 0, 0, 11.5, 7, 1]
    content["annotations"] = [
        {"id": n, "image_id": 7, "category_id": 1, "bbox": [2, 3, 10, 8], "keypoints": points, "num_keypoints": 2}
        for n in range(3)
    ]
    names = ["nose", "left_eye", "right_eye"]
    content["categories"] = [{"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2]]}]
    put(root / "annotations" / "person_keypoints_train.json", json.dumps(content))


def build_yolo(root: Path) -> None:
    images(root / "images" / "train", "a.jpg", "b.jpg")
    put(root / "labels" / "train" / "a.txt", "0 0.5 0.5 0.25 0.4\n1 0.2 0.2 0.6 0.25 0.5 0.7 0.1 0.6\n")
    put(root / "labels" / "train" / "b.txt", "1 0.3 0.6 0.1 0.2\n")
    put(root / "data.yaml", "path: .\ntrain: images/train\nval: images/train\nnc: 2\nnames: [cat, 'dog']\n")


def build_via(root: Path) -> None:
    images(root, "a.jpg", "b.jpg")
    shapes = [
        {"name": "rect", "x": 2, "y": 3, "width": 10, "height": 11},
        {"name": "polygon", "all_points_x": [1, 9, 8.5, 3], "all_points_y": [1, 2, 12.25, 9]},
        {"name": "ellipse", "cx": 10, "cy": 10, "rx": 5, "ry": 4.5, "theta": 0.25},
        {"name": "point", "cx": 4, "cy": 5},
    ]
    regions = [{"shape_attributes": shape, "region_attributes": {"label": "cat", "lit": "yes"}} for shape in shapes]
    entries = {
        f"{name}999": {"filename": name, "size": 999, "regions": regions, "file_attributes": {"place": "zoo"}}
        for name in ("a.jpg", "b.jpg")
    }
    put(root / "via_region_data.json", json.dumps(entries, indent=2))


def build_labelme(root: Path) -> None:
    images(root, "a.jpg", "b.jpg")
    shapes = [
        {"label": "cat", "points": [[2.5, 3.0], [12, 14]], "shape_type": "rectangle"},
        {"label": "dog", "points": [[1, 1], [9, 2], [8.5, 12.25], [3, 9]], "shape_type": "polygon"},
        {"label": "cat", "points": [[10, 10], [13, 14]], "shape_type": "circle"},
        {"label": "dog", "points": [[4, 5]], "shape_type": "point"},
    ]
    for stem in ("a", "b"):
        content = {"version": "5.0.1", "flags": {}, "imagePath": f"{stem}.jpg", "imageData": None}
        content |= {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        content |= {"shapes": [{**shape, "group_id": None, "flags": {}} for shape in shapes]}
        put(root / f"{stem}.json", json.dumps(content, indent=2))


CVAT_XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><name>t</name><labels>
    <label><name>cat</name></label><label><name>dog</name></label>
  </labels></task></meta>
  <image id="0" name="a.jpg" width="28" height="20">
    <box label="cat" occluded="0" xtl="3.5" ytl="4.25" xbr="12.0" ybr="15.75" z_order="0">
      <attribute name="colour">red</attribute></box>
    <polygon label="dog" occluded="1" points="1.5,2.0;9.0,2.5;8.0,12.0" z_order="1"></polygon>
    <mask label="cat" occluded="0" rle="3, 4, 5, 4, 4" left="3" top="2" width="5" height="4" z_order="2"></mask>
  </image>
  <image id="1" name="b.jpg" width="28" height="20">
    <points label="dog" occluded="0" points="3.5,4.0;5.0,6.0"></points>
    <polyline label="cat" occluded="0" points="3.5,4.0;5.0,6.0;9.0,1.0"></polyline>
  </image>
</annotations>
"""


def build_cvat(root: Path) -> None:
    images(root / "images", "a.jpg", "b.jpg")
    put(root / "annotations.xml", CVAT_XML)


def build_openimages(root: Path) -> None:
    images(root / "train", "a1.jpg", "b2.jpg")
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,"
    rows = [
        "a1,xclick,/m/01,1,0.1,0.5,0.2,0.75,0,0,0,0,0",
        "a1,xclick,/m/02,1,0.3,0.9,0.1,0.5,1,0,1,0,0",
        "b2,xclick,/m/01,1,0,1,0,1,0,0,0,0,0",
    ]
    put(root / "train-annotations-bbox.csv", "\n".join([head + "IsInside", *rows]) + "\n")
    put(root / "class-descriptions-boxable.csv", "/m/01,Cat\n/m/02,Dog\n")


def build_csv(root: Path) -> None:
    images(root / "images", "a.jpg", "b.jpg")
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    rows += ["a.jpg,28,20,cat,3,4,12,15", "a.jpg,28,20,dog,1.5,2,27,19.5", "b.jpg,28,20,cat,0,0,5,5"]
    put(root / "annotations.csv", "\n".join(rows) + "\n")


def build_keypoint_csv(root: Path) -> None:
    images(root / "images", "a.jpg", "b.jpg")
    put(root / "points.csv", ",0,1,2,3\na.jpg,3.5,4.0,12,15\nb.jpg,5,,8,9.25\n")


def build_idx(root: Path) -> None:
    values = np.stack([photograph(seed, channels=1) for seed in range(3)])
    head = struct.pack(">HBBIII", 0, 8, 3, *values.shape)
    put(root / "train-images-idx3-ubyte.gz", gzip.compress(head + values.tobytes(), mtime=0))
    put(root / "train-labels-idx1-ubyte.gz", gzip.compress(struct.pack(">HBBI", 0, 8, 1, 3) + b"\1\0\7", mtime=0))


def build_plain_idx(root: Path) -> None:
    build_idx(root)
    for file in sorted(root.glob("*.gz")):
        put(file.with_suffix(""), gzip.decompress(file.read_bytes()))
        file.unlink()


def build_options(root: Path) -> None:
    build_masks(root)
    (root / "images").rename(root / "images")
    text = "format: masks\ntask: segmentation\nimage_dir: images\nlabel_dir: masks\nclass_names: [sky, road, car]\n"
    put(root / "saccade.yaml", text + "values: {0: 0, 1: 1, 2: 2}\nignore: [255]\nranges: {train: 0-1, val: '1'}\n")


def build_zip(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / "pets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for seed, name in enumerate(("cat/a.jpg", "cat/b.png", "dog/c.jpg")):
            archive.writestr(zipfile.ZipInfo(name), encode(Path(name).suffix, photograph(seed)))


_IMAGES = (
    ("jpeg", ".jpg", {}),
    ("grey jpeg", ".jpg", {"channels": 1}),
    ("png", ".png", {}),
    ("png with alpha", ".png", {"channels": 4}),
    ("png of 16 bits", ".png", {"bits": 16}),
    ("tiff", ".tiff", {}),
    ("tiff of 16 bits", ".tif", {"bits": 16, "channels": 1}),
    ("webp", ".webp", {}),
    ("bmp", ".bmp", {}),
    ("gif", ".gif", {}),
    ("ppm", ".ppm", {}),
)

SPECIMENS = (
    *(Specimen(name, "folder", "all", f"cat/x{suffix}", folder_of(suffix, **about)) for name, suffix, about in _IMAGES),
    Specimen("jpeg with exif", "folder", "all", "cat/x.jpg", build_exif),
    Specimen("palette mask", "masks", "all", "masks/0.png", build_masks),
    Specimen("mask of 16 bits", "masks", "all", "masks/1.png", build_grey_masks),
    Specimen("instance mask", "instance_masks", "all", "PedMasks/0_mask.png", build_instances),
    Specimen("voc xml", "voc", "train", "Annotations/a.xml", build_voc, mutants=110),
    Specimen("voc list", "voc", "train", "ImageSets/Main/train.txt", build_voc, mutants=40),
    Specimen("coco json", "coco", "train", "annotations/instances_train.json", build_coco, mutants=160),
    Specimen(
        "coco points",
        "coco",
        "train",
        "annotations/person_keypoints_train.json",
        build_coco_points,
        task="keypoints",
    ),
    Specimen("yolo txt", "yolo", "train", "labels/train/a.txt", build_yolo, mutants=100),
    Specimen("yolo yaml", "yolo", "train", "data.yaml", build_yolo, mutants=100),
    Specimen("labelme json", "labelme", "all", "a.json", build_labelme, mutants=110),
    Specimen("via json", "via", "all", "via_region_data.json", build_via, mutants=80),
    Specimen("cvat xml", "cvat", "all", "annotations.xml", build_cvat, mutants=110),
    Specimen("openimages csv", "openimages", "train", "train-annotations-bbox.csv", build_openimages, mutants=70),
    Specimen("openimages classes", "openimages", "train", "class-descriptions-boxable.csv", build_openimages),
    Specimen("csv", "csv", "all", "annotations.csv", build_csv, mutants=80),
    Specimen("keypoint csv", "keypoint_csv", "all", "points.csv", build_keypoint_csv),
    Specimen("idx, gzipped", "idx", "train", "train-images-idx3-ubyte.gz", build_idx),
    Specimen("idx images", "idx", "train", "train-images-idx3-ubyte", build_plain_idx, mutants=30),
    Specimen("idx labels", "idx", "train", "train-labels-idx1-ubyte", build_plain_idx, mutants=30),
    Specimen("options", "masks", "train", "saccade.yaml", build_options, mutants=100),
    Specimen("zip", "folder", "all", "pets.zip", build_zip, source="pets.zip"),
)
