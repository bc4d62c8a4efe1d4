"""What each format looks like on the disk and which ground truth it has, for detection and its messages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from saccade.structures.reading import is_hidden
from saccade.structures.text import printable

__all__ = ["LAYOUTS", "TASKS", "describe_folder"]

LAYOUTS = {
    "coco": "a JSON file of 'images' and 'annotations', such as annotations/instances_train.json",
    "labelme": "a JSON file an image, with 'shapes' and 'imagePath'",
    "voc": "Annotations/*.xml beside JPEGImages/*.jpg",
    "cvat": "an XML file of CVAT (annotations.xml)",
    "openimages": "a table with the columns ImageID, LabelName, XMin, XMax, YMin, YMax",
    "yolo": "data.yaml, or labels/*.txt (class x y width height) beside images/*.jpg",
    "via": "a JSON file of VIA (VGG Image Annotator), with 'filename' and 'regions' of each image",
    "idx": "train-images-idx3-ubyte and train-labels-idx1-ubyte",
    "omniglot": "images_background and images_evaluation",
    "csv": "a table with a column of images and one of classes",
    "keypoint_csv": "a table of images and the x, y of their points",
    "unpaired": "folders of images trainA and trainB",
    "masks": "images/ and masks/ with a label map of the same name for each image",
    "instance_masks": "PNGImages/*.png and PedMasks/*_mask.png",
    "paired": "folders A and B with images of the same names, or images twice as wide as high in train/",
    "folder": "a folder of images for each class, two or more, also below train/ and val/",
}
"""What is looked for, by format."""

TASKS = {
    "coco": ("detection", "segmentation", "keypoints"),
    "labelme": ("detection", "segmentation", "classification", "keypoints"),
    "voc": ("detection", "segmentation"),
    "cvat": ("detection", "segmentation", "classification"),
    "openimages": ("detection",),
    "yolo": ("detection", "segmentation", "keypoints"),
    "via": ("detection", "segmentation"),
    "idx": ("classification",),
    "omniglot": ("classification",),
    "csv": ("classification", "detection"),
    "keypoint_csv": ("keypoints",),
    "unpaired": ("translation",),
    "masks": ("segmentation", "detection"),
    "instance_masks": ("detection", "segmentation"),
    "paired": ("translation",),
    "folder": ("classification",),
}
"""Tasks for which a format can have ground truth."""

_MOST_FOLDERS = 8
_MOST_ENTRIES = 5000


def describe_folder(root: Path) -> str:
    """What lies in a folder, for messages: its folders and how many files of which suffix each holds.

    Example:
        >>> for name in ("a.jpg", "b.jpg", "labels/a.txt", ".hidden"):
        ...     Path(name).parent.mkdir(exist_ok=True)
        ...     Path(name).touch()
        >>> describe_folder(Path())
        'there are 2 .jpg; labels/ with 1 .txt'
    """
    if not root.is_dir():
        return "it is no folder"
    own, folders = _entries(root)
    parts = [own] if own else []
    for name in folders[:_MOST_FOLDERS]:
        files, below = _entries(root / name)
        inside = " and ".join(filter(None, (files, f"{len(below)} folders" if below else ""))) or "nothing"
        parts.append(f"{printable(name, limit=60)}/ with {inside}")
    if len(folders) > _MOST_FOLDERS:
        parts.append(f"{len(folders) - _MOST_FOLDERS} more folders")
    return f"there are {'; '.join(parts)}" if own else f"there is {'; '.join(parts) or 'nothing'}"


def _entries(folder: Path) -> tuple[str, list[str]]:
    """Counts of files by suffix as text, and names of the folders, of the first entries of a folder."""
    counts: Counter[str] = Counter()
    folders: list[str] = []
    try:
        for number, entry in enumerate(folder.iterdir()):
            if number == _MOST_ENTRIES:
                break
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            else:
                counts[entry.suffix.lower() or "without suffix"] += 1
    except OSError:
        return "files that cannot be listed", []
    text = ", ".join(f"{count} {printable(suffix, limit=20)}" for suffix, count in counts.most_common(6))
    return text, sorted(folders)
