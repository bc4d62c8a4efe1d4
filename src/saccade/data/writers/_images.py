"""What the writers of folders, masks and keypoint tables share: images of any origin, and ``saccade.yaml``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from saccade.data.open import OPTIONS_FILE
from saccade.data.readers.archive import ZipDataset
from saccade.data.readers.labelme import EmbeddedLabelmeDataset
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport
from saccade.errors import DataError
from saccade.structures.files import write_text

__all__ = ["drop_attributes", "put_images", "write_options"]


def put_images(
    dataset: TableDataset, folder: Path, policy: ImagePolicy, report: LossReport, names: Mapping[int, str]
) -> dict[int, str]:
    """Put images into ``folder`` and say under which names.

    A file is copied or linked as it is, also out of a zip; what is no file (a row of an array, half of an image) is
    saved as PNG.

    Args:
        dataset: Where they come from.
        folder: Where they go; made if it is not there.
        policy: ``copy``, ``link`` (a hard link, or a copy where that cannot be), or ``none``: names only.
        report: Counts them.
        names: File name below ``folder`` by index; images without one are left out.

    Returns:
        The names, with the suffix ``.png`` where an image was made.

    Raises:
        DataError: If an image is missing.
    """
    if type(dataset).pixels is TableDataset.pixels:
        for index, name in names.items():
            _place(Path(dataset.path(index)), folder / name, policy)
        placed = dict(names)
    elif isinstance(dataset, ZipDataset):
        for index, name in names.items():
            if policy != "none":
                _make_parent(folder / name).write_bytes(dataset.content(index))
        placed = dict(names)
    elif isinstance(dataset, EmbeddedLabelmeDataset):
        for index, name in names.items():
            inside = dataset.image_bytes(index)
            if inside is None:
                _place(Path(dataset.path(index)), folder / name, policy)
                continue
            report.change("images", "became files of their own")
            if policy != "none":
                _make_parent(folder / name).write_bytes(inside)
        placed = dict(names)
    else:
        placed = {index: _png_name(name, index) for index, name in names.items()}
        for index, name in placed.items():
            if policy != "none":
                _write_png(_make_parent(folder / name), dataset, index)
        report.change("images", "saved as PNG, as they were no files", len(placed))
    report.keep("images", len(placed))
    return placed


def write_options(folder: Path, options: Mapping[str, Any], report: LossReport | None = None) -> None:
    """Write ``saccade.yaml``, or see that it is the same as that of the splits written before.

    Args:
        folder: Data folder.
        options: What it says.
        report: Counts its ``class_names``, once for all splits.

    Raises:
        DataError: If it differs.
    """
    import yaml

    path = folder / OPTIONS_FILE
    text = yaml.safe_dump(dict(options), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    if path.is_file():
        if path.read_text(encoding="utf-8") != text:
            raise DataError(f"{path}: this split has other classes than those before. Give all splits the same list.")
        return
    write_text(path, text)
    if report is not None:
        report.keep("classes", len(options["class_names"]))


def drop_attributes(dataset: TableDataset, report: LossReport) -> None:
    """Count the attributes of objects and images, where the format has no place for any."""
    for texts, kind in ((dataset.table.attributes, "object"), (dataset.table.image_attributes, "image")):
        for row in range(0 if texts is None else len(texts)):
            for name in texts.get(row) if texts is not None else ():
                report.drop(f"attribute {name}", f"the format has no attributes of an {kind}")


def _place(source: Path, target: Path, policy: ImagePolicy) -> None:
    if policy == "none":
        return
    if not source.is_file():
        raise DataError(f"{source}: the image does not exist. Restore it, or convert without images ('none').")
    _make_parent(target).unlink(missing_ok=True)
    if policy == "link":
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another file system
    shutil.copyfile(source, target)


def _make_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _png_name(name: str, index: int) -> str:
    """A name with the image's number, since all may come from one file."""
    path = PurePosixPath(name)
    stem = path.name.split(".")[0].removeprefix(f"{index}_")
    return str(path.with_name(f"{index}_{stem}.png"))


def _write_png(path: Path, dataset: TableDataset, index: int) -> None:
    pixels = dataset.pixels(index)
    if pixels.shape[2] in (3, 4):
        pixels = np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
    elif pixels.shape[2] != 1:
        raise DataError(f"{dataset.path(index)}: an image of {pixels.shape[2]} channels cannot be saved as PNG.")
    done, data = cv2.imencode(".png", pixels)
    assert done, "OpenCV encodes every image of 1, 3 or 4 channels"
    path.write_bytes(data.tobytes())
