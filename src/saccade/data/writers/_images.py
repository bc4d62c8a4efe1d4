"""Shared by writers: images of any origin written to a folder, and ``saccade.yaml``."""

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

__all__ = ["drop_attributes", "write_images", "write_options"]


def write_images(
    dataset: TableDataset, folder: Path, policy: ImagePolicy, report: LossReport, names: Mapping[int, str]
) -> dict[int, str]:
    """Copy, link or save the images of a data set into a folder.

    A file is copied or linked as it is, also out of a zip; an image that is no file (a row of an array, half of an
    image) is saved as PNG.

    Args:
        dataset: Data set that holds the images.
        folder: Folder to write to; created if missing.
        policy: ``copy``, ``link`` (a hard link, or a copy where links are impossible), or ``none``: names only.
        report: Counts the images.
        names: File name below ``folder`` by index; images without one are left out.

    Returns:
        File name of each image by index, with the suffix ``.png`` where it was saved as PNG.

    Raises:
        DataError: If an image is missing.
    """
    if type(dataset).pixels is TableDataset.pixels:
        for index, name in names.items():
            _transfer(Path(dataset.path(index)), folder / name, policy)
        written = dict(names)
    elif isinstance(dataset, ZipDataset):
        for index, name in names.items():
            if policy != "none":
                _make_parent(folder / name).write_bytes(dataset.content(index))
        written = dict(names)
    elif isinstance(dataset, EmbeddedLabelmeDataset):
        for index, name in names.items():
            inside = dataset.image_bytes(index)
            if inside is None:
                _transfer(Path(dataset.path(index)), folder / name, policy)
                continue
            report.change("images", "became files of their own")
            if policy != "none":
                _make_parent(folder / name).write_bytes(inside)
        written = dict(names)
    else:
        written = {index: _png_name(name, index) for index, name in names.items()}
        for index, name in written.items():
            if policy != "none":
                _write_png(_make_parent(folder / name), dataset, index)
        report.change("images", "saved as PNG, as they were no files", len(written))
    report.keep("images", len(written))
    return written


def write_options(folder: Path, options: Mapping[str, Any], report: LossReport | None = None) -> None:
    """Write ``saccade.yaml``, or check that it equals that of the splits written before.

    Args:
        folder: Data folder.
        options: Content of the file.
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
    """Count the attributes of objects and images as dropped, for formats without any."""
    for texts, kind in ((dataset.table.attributes, "object"), (dataset.table.image_attributes, "image")):
        for row in range(0 if texts is None else len(texts)):
            for name in texts.get(row) if texts is not None else ():
                report.drop(f"attribute {name}", f"the format has no attributes of an {kind}")


def _transfer(source: Path, target: Path, policy: ImagePolicy) -> None:
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
    """File name that begins with the image's number, since all images may come from one file."""
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
