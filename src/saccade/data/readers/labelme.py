"""labelme: one JSON file an image, beside it or with the image inside.

*Layout.* JSON files in the data folder itself, or in folders that are its splits. The image of a file is the one that
``imagePath`` names, or the one of the same stem, or the one in ``imageData``.

*EISeg's* JSON files (:mod:`saccade.data.readers._eiseg`) are read too, from the data folder or its folder ``label``.

*Classes* are in the order of their names, or of ``labels.txt`` in the data folder, or of the option ``class_names``.

*Objects.* A rectangle is a box; polygons and circles are outlines with the box around them, and those that share label
and ``group_id`` are one object of several rings; a mask is a mask. Lines and points have no area, and ``__ignore__``
and ``_background_`` are not classes: such shapes are attributes of their image, from which the writer restores them,
and are counted in ``repairs``. In label maps ``__ignore__`` becomes 255 and ``_background_`` 0.

*Attributes.* Flags, ``group_id``, ``description`` and ``attributes`` of a shape are attributes of its object by name.
Further details from which the writer restores the file are in the attribute ``labelme``.

*Keypoints.* Points that share a ``group_id`` with a rectangle or outline are the keypoints of that object, and their
labels are the names of the points, in the order of ``keypoints.txt`` or of the names. A point with the flag
``hidden`` is not visible.

*Classification.* The flag of the image that is true is its class; an image with ``__ignore__`` is left out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import IMAGE_SUFFIXES, read_image, upright_size
from saccade.data.notices import say_once
from saccade.data.readers._collector import outside_error
from saccade.data.readers._common import UNSPLIT, check_task, choose, is_inside, list_files, resolve_split, subfolders
from saccade.data.readers._eiseg import FOLDER, EisegShape, class_numbers
from saccade.data.readers._faults import FieldError, noting
from saccade.data.readers._find_images import ImageFinder, find_image_root
from saccade.data.readers._json_files import read_json
from saccade.data.readers._labelme_objects import NO_CLASS, FlagBuilder, ObjectBuilder, PointBuilder, ring_of
from saccade.data.readers._labelme_shapes import (
    LINE_KINDS,
    LabelmeFile,
    Outline,
    embedded_image,
    load,
    outline,
    parse_shape,
)
from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.outlines import mask_of_rings
from saccade.data.tables.run_lengths import mask_of_runs
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.kinds import IGNORE_LABEL

__all__ = ["EmbeddedLabelmeDataset", "LabelmeDataset", "matches", "read", "splits"]

_SAMPLED_FILES = 20  # of a folder, that are tried for labelme's keys
_BUILDERS: dict[str, type[ObjectBuilder] | type[FlagBuilder]] = {
    "detection": ObjectBuilder,
    "segmentation": ObjectBuilder,
    "classification": FlagBuilder,
    "keypoints": PointBuilder,
}


class LabelmeDataset(TableDataset):
    """Images with a JSON file each.

    Args:
        info: Name, task and classes.
        root: Data folder.
        table: Annotations; an image's number is its index in ``files``.
        files: JSON file of each image below ``root``, UTF-8 bytes.
        **options: Further arguments of :class:`~saccade.data.tables.table_dataset.TableDataset`.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: Path,
        table: AnnotationTable,
        files: NDArray[np.bytes_],
        **options: Any,
    ) -> None:
        super().__init__(info, root, table, **options)
        self._files = files

    def annotation_path(self, index: int) -> str:
        """JSON file of image ``index``."""
        return str(self.root / bytes(self._files[self.table.image_ids[index]]).decode())

    def _label_map(self, index: int) -> NDArray[np.uint8]:
        """Objects, and shapes of no class, painted from the largest to the smallest over background 0."""
        rows = self.table.objects(index)
        height, width = self._size(index)
        areas = self.table.area[rows].tolist()
        masks = list(self.object_masks(index))
        values = [label + 1 if label >= 0 else IGNORE_LABEL for label in self.table.labels[rows].tolist()]
        file = Path(self.annotation_path(index))
        more = self.table.image_attributes.get(index).get("labelme", {}) if self.table.image_attributes else {}
        for position, entry in more.get("shapes", []):
            shape = parse_shape(entry, position, file)
            if shape.label in NO_CLASS and shape.kind not in LINE_KINDS:
                found = outline(shape, (height, width), file)
                areas.append(found.area)
                masks.append(_fill(found, height, width))
                values.append(NO_CLASS[shape.label])
        label_map = np.zeros((height, width), np.uint8)
        for position in np.argsort(-np.array(areas), kind="stable"):
            label_map[masks[position] > 0] = values[position]
        return label_map


class EmbeddedLabelmeDataset(LabelmeDataset):
    """Images with a JSON file each, some of which hold the image itself."""

    def image_bytes(self, index: int) -> bytes | None:
        """Bytes of the encoded image, if it is only in the JSON file.

        Raises:
            DataError: If it is damaged.
        """
        return None if Path(self.path(index)).is_file() else embedded_image(Path(self.annotation_path(index)))

    def pixels(self, index: int) -> NDArray[Any]:
        """Decoded image, shape (H, W, C).

        Raises:
            DataError: If it is damaged.
        """
        encoded = self.image_bytes(index)
        if encoded is None:
            return super().pixels(index)
        return read_image(encoded, self.channels, self.allow_16bit, self.annotation_path(index))


def matches(root: Path) -> bool:
    """Whether the folder, or one in it, has JSON files of labelme; at most a few are read."""
    return bool(_folders(root))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the folders with JSON files, or ``all``.

    Example:
        >>> for name in ("train", "val"):
        ...     Path(name).mkdir()
        ...     _ = Path(name, "a.json").write_text('{"shapes": [], "imagePath": "a.jpg"}')
        >>> splits(Path())
        ('train', 'val')
    """
    folders = _folders(root)
    return UNSPLIT if _is_unsplit(folders) else tuple(folders)


def read(
    root: Path,
    split: str,
    task: str | None = None,
    masks: bool = False,
    images: str | None = None,
    class_names: Sequence[str] | None = None,
) -> TableDataset:
    """Read one split of labelme files.

    Args:
        root: Data folder.
        split: Name of the split.
        task: ``detection``; ``segmentation``, class 0 being ``background``; ``classification``, the default where
            files have flags, none has a shape, and there is no ``labels.txt``; or ``keypoints``.
        masks: Give each object's mask as well.
        images: Folder of the images, if they are neither beside nor in the files; relative to ``root``.
        class_names: Names of labels 0..N-1 (for keypoints: of the points), instead of those found.

    Raises:
        DataError: If a file or a field is missing or malformed, or names an image outside the data folder.

    Example:
        >>> shape = {"label": "cat", "shape_type": "rectangle", "points": [[10, 5], [30, 35]]}
        >>> file = {"shapes": [shape], "imagePath": "a.jpg", "imageHeight": 40, "imageWidth": 60}
        >>> _ = Path("a.json").write_bytes(msgspec.json.encode(file))
        >>> data = read(Path(), "all")
        >>> data.info.class_names, data.target(0)["boxes"]
        (('cat',), array([[10.,  5., 30., 35.]]))
    """
    folders = _folders(root)
    if not folders:
        raise DataError(f"{root}: there are no JSON files of labelme. Name the folder that holds them.")
    unsplit = _is_unsplit(folders)
    own = folders[0] if unsplit else resolve_split(split, folders, root)
    # Labels must not depend on the split, so all files are scanned.
    faults: dict[str, list[FieldError]] = {folder: [] for folder in folders}
    files = {
        folder: [file for path in _json_files(root, folder) if (file := _load(path, faults[folder])) is not None]
        for folder in folders
    }
    every = [file for found in files.values() for file in found]
    only_flags = any(file.flags for file in every) and not any(file.shapes for file in every)
    only_flags &= not (root / "labels.txt").is_file()
    task = check_task(task or ("classification" if only_flags else None), tuple(_BUILDERS), "labelme")
    chosen = files[own]
    if unsplit:
        chosen = [chosen[index] for index in choose(len(chosen), split, None, root)]
    if not chosen:
        listed = "".join(f"\n  {fault}" for fault in faults[own][:5])
        raise DataError(f"{root / own}: none of its JSON files can be read:{listed}")
    image_root = find_image_root(root, images)
    class_names = class_names or _eiseg_names(root, every)
    builder = _BUILDERS[task](root, every, class_names, masks or task == "segmentation")
    embedded = False
    for error in faults[own]:
        builder.note(error)
    for number, (file, image) in enumerate(
        zip(chosen, _images(chosen, root, image_root, "" if unsplit else own), strict=True)
    ):
        with noting(builder.note):
            if image is None:
                raise outside_error(file.image, file.path, image_root)
            there = (image_root / image).is_file()
            embedded |= file.embedded and not there
            builder.add(file, number, image, _size(file, image_root / image if there else None))
    shown = ("background", *builder.shown_names) if task == "segmentation" else builder.shown_names
    objects = builder.class_names if task == "keypoints" else ()
    info = DatasetInfo(root.name, task, shown, split, flip_pairs=builder.flip_pairs, object_names=objects)
    kind = EmbeddedLabelmeDataset if embedded else LabelmeDataset
    names = np.array([file.path.relative_to(root).as_posix().encode() for file in chosen], np.bytes_)
    table = builder.table.build()
    if not len(table):
        listed = "".join(f"\n  {fault}" for fault in table.faults[:5])
        raise DataError(f"{root / own}: none of its {len(chosen)} files can be read:{listed}")
    dataset = kind(info, root, table, names, image_root=image_root, masks=masks)
    dataset.repairs = dict(builder.left_out)
    return dataset


def _folders(root: Path) -> list[str]:
    """Folders with JSON files of labelme; "" alone if the data folder has such files itself."""
    if _has_labelme(_json_files(root, "")):
        return [""]
    return [name for name in subfolders(root) if _has_labelme(_json_files(root, name))]


def _is_unsplit(folders: Sequence[str]) -> bool:
    """Whether the files are those of one split: in the data folder itself, or in the folder of EISeg."""
    return list(folders) in ([""], [FOLDER])


def _eiseg_names(root: Path, files: Sequence[LabelmeFile]) -> list[str] | None:
    """Classes of files of EISeg in the order of their numbers; None of others."""
    shapes = [shape for file in files for shape in file.shapes]
    numbers = {shape.label: shape.more["labelIdx"] for shape in shapes if "labelIdx" in shape.more}
    if not shapes or len(numbers) < len({shape.label for shape in shapes}):
        return None
    return list(class_numbers(root).values()) or sorted(numbers, key=lambda name: (numbers[name], name))


def _load(path: Path, faults: list[FieldError]) -> LabelmeFile | None:
    """A file; None, and a fault, if it cannot be read: its image is then left out."""
    try:
        return load(path, faults)
    except FieldError as error:
        if _is_other(path):
            say_once(f"{path.parent}: JSON files that are none of labelme's are passed over, such as {path.name}")
        else:
            faults.append(error)
        return None


def _is_other(path: Path) -> bool:
    """Whether a file is the annotations of another format, which lie beside those of labelme where it made them."""
    try:
        return bool({"annotations", "_via_img_metadata"} & read_json(path, dict[str, msgspec.Raw]).keys())
    except (DataError, msgspec.ValidationError):
        return False


class _Peek(msgspec.Struct):
    shapes: list[msgspec.Raw]
    imagePath: str | None = None  # noqa: N815 - the file's own name


def _has_labelme(files: Sequence[Path]) -> bool:
    return any(_is_labelme(file) for file in files[:_SAMPLED_FILES])


def _is_labelme(file: Path) -> bool:
    try:
        return read_json(file, _Peek | list[EisegShape]) != []  # type: ignore[arg-type, comparison-overlap]
    except (DataError, msgspec.ValidationError):
        return False


def _json_files(root: Path, folder: str) -> list[Path]:
    """Files of a split; of the data folder itself only those directly in it."""
    return [root / folder / name for name in list_files(root / folder, [".json"], recursive=bool(folder))]


def _images(files: Sequence[LabelmeFile], root: Path, image_root: Path, split: str) -> list[str | None]:
    """Name of each file's image below ``image_root``, which need not exist; None for no name inside the folder."""
    names, stems = [], []
    for file in files:
        beside = file.path.parent.relative_to(root).as_posix().removeprefix(".")
        stems.append(posixpath.join(beside, file.path.stem))
        named = posixpath.normpath(posixpath.join(beside, file.image.replace("\\", "/")))
        if file.image and PurePosixPath(named).suffix.lower() in IMAGE_SUFFIXES:
            names.append(named)
        else:  # some converters write a name that is not an image's
            names.append(f"{stems[-1]}.png")
    folders = ["", "images/", f"images/{split}/", "JPEGImages/"] if image_root == root else [""]
    found = ImageFinder(image_root, root / split, list(dict.fromkeys(folders)), split).find(names, stems)
    for index, (file, name) in enumerate(zip(files, found, strict=True)):
        if file.embedded:  # the image inside a file needs a name, not a place
            found[index] = name or f"{stems[index]}.png"
        elif name == f"{stems[index]}.png" and not (image_root / name).is_file() and _leads_out(file, root):
            found[index] = None
    return found


def _leads_out(file: LabelmeFile, root: Path) -> bool:
    """Whether the image that a file names is not in the data folder."""
    beside = file.path.parent.relative_to(root).as_posix()
    return file.image != "" and not is_inside(posixpath.normpath(posixpath.join(beside, file.image)))


def _size(file: LabelmeFile, image: Path | None) -> tuple[int, int]:
    """(height, width) as annotated, or of the image; 0 where both are missing, which is an error when it is read."""
    if all(file.size):
        return file.size
    if image is not None:
        return upright_size(image)
    encoded = embedded_image(file.path) if file.embedded else None
    return upright_size(encoded) if encoded else (0, 0)


def _fill(found: Outline, height: int, width: int) -> NDArray[np.uint8]:
    if found.runs:
        return mask_of_runs(found.runs, height, width)
    return mask_of_rings([np.array(ring_of(found)).reshape(-1, 2)], [False], height, width)
