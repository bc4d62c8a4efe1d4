"""What EISeg writes: a folder ``label`` beside the images, with one or more of four kinds of files.

- ``NAME.json``: a list of polygons, ``{"name", "labelIdx", "color", "points"}``, without name or size of the image; it
  is read as a file of labelme.
- ``NAME.png``: a label map whose values are the numbers of the classes, 0 where there is none. Its coloured copies,
  ``NAME_pseudo.png`` and ``NAME_cutout.png``, are passed over.
- ``annotations.json``: COCO, of which all boxes and areas are 0.
- ``autosave_label.txt``: number, name and colour of each class, one a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from saccade.data.images.decode import IMAGE_SUFFIXES
from saccade.errors import DataError
from saccade.structures.reading import read_text

__all__ = ["FOLDER", "EisegShape", "as_labelme", "class_numbers", "without_copies"]

FOLDER = "label"
_CLASSES = "autosave_label.txt"
_COPIES = ("_pseudo", "_cutout", "_foreground")


class EisegShape(msgspec.Struct):
    """One polygon.

    Args:
        name: Its class.
        labelIdx: Number of the class.
        points: x, y of each corner in pixels.
        color: Red, green, blue.
    """

    name: str
    labelIdx: int  # noqa: N815 - the file's own name
    points: list[Any]
    color: list[int] | None = None


def as_labelme(shapes: Sequence[EisegShape], path: Path) -> dict[str, msgspec.Raw]:
    """Fields of a labelme file with the same content; number and colour of the class stay with each shape.

    Args:
        shapes: Content of the file.
        path: The file, by which its image is found.
    """
    entries = [
        {"label": one.name, "points": one.points, "shape_type": "polygon", "labelIdx": one.labelIdx, "color": one.color}
        for one in shapes
    ]
    values = {"shapes": entries, "imagePath": _image(path)}
    return {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in values.items()}


def _image(path: Path) -> str:
    """Image of a file, relative to it: above the folder ``label``, else beside, where a .png may be its label map."""
    above = "../" if path.parent.name.lower() == FOLDER else ""
    if PurePosixPath(path.stem).suffix.lower() in IMAGE_SUFFIXES:  # NAME.jpg.json
        return above + path.stem
    suffixes = [*(suffix for suffix in IMAGE_SUFFIXES if suffix != ".png"), ".png"]
    names = [f"{above}{path.stem}{cased}" for suffix in suffixes for cased in (suffix, suffix.upper())]
    return next((name for name in names if (path.parent / name).is_file()), f"{above}{path.stem}.png")


def class_numbers(root: Path) -> dict[int, str]:
    r"""Name of each class by its number, from ``autosave_label.txt`` in the data folder or in ``label``; rising.

    Args:
        root: Data folder.

    Raises:
        DataError: If a line is none of EISeg's, or two have one number or name.

    Example:
        >>> _ = Path("autosave_label.txt").write_text("1 cat 255 0 0\n3 dog 0 255 0\n")
        >>> class_numbers(Path())
        {1: 'cat', 3: 'dog'}
    """
    file = next((file for file in (root / FOLDER / _CLASSES, root / _CLASSES) if file.is_file()), None)
    found: dict[int, str] = {}
    for number, line in enumerate(read_text(file).splitlines() if file else [], 1):
        parts = line.split()
        if not parts:
            continue
        # A name may have spaces; the colour is missing where none was chosen.
        name = " ".join(parts[1:-3] if len(parts) > 4 else parts[1:])
        if not parts[0].isdecimal() or not name or int(parts[0]) in found or name in found.values():
            raise DataError(
                f"{file}: line {number} is not 'number name red green blue' with a number and a name of its own. "
                "Correct it, or remove the file and give class_names."
            )
        found[int(parts[0])] = name
    return dict(sorted(found.items()))


def without_copies(names: Sequence[str]) -> list[str]:
    """Names of label maps without those of their coloured copies.

    Example:
        >>> without_copies(["a.png", "a_pseudo.png", "a_cutout.png", "b_pseudo.png"])
        ['a.png', 'b_pseudo.png']
    """
    stems = {PurePosixPath(name).stem for name in names}
    return [
        name
        for name in names
        if not any(
            stem.endswith(end) and stem.removesuffix(end) in stems
            for stem in (PurePosixPath(name).stem,)
            for end in _COPIES
        )
    ]
