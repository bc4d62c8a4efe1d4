"""Open any data set by its name in the catalogue or its path, with a split and a policy for faulty labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec

from saccade.data.catalogue.catalogue import CATALOGUE, locate
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.combine import ConcatDataset
from saccade.data.readers import detect_format, get_reader, option_types
from saccade.data.readers._common import UNSPLIT
from saccade.data.readers.archive import is_archive
from saccade.data.tables.faults import BadLabels, apply_policy
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import ConfigError, DataError, did_you_mean
from saccade.structures.dataset import VisionDataset

__all__ = ["OPTIONS_FILE", "Source", "open_dataset", "open_raw", "resolve_source", "split_names"]

OPTIONS_FILE = "saccade.yaml"


def open_dataset(
    source: str | Path,
    split: str = "train",
    format: str | None = None,
    task: str | None = None,
    bad_labels: BadLabels = "error",
    **options: Any,
) -> VisionDataset:
    r"""Open a data set for training or evaluation.

    A folder may hold ``saccade.yaml`` with ``format``, ``task`` and options of the reader (``class_names``, ``values``,
    ``ranges``, ...). Sources without splits have ``all``, ``train`` and ``val`` (every fifth image).

    Args:
        source: Name in the catalogue, a folder, or a zip of images.
        split: Name of the split; several are joined by ``+``.
        format: Name of the reader; found automatically if not given.
        task: Which ground truth to read, where the format has several.
        bad_labels: ``error``, ``drop`` or ``repair`` (:func:`saccade.data.tables.faults.apply_policy`).
        **options: Options of the reader.

    Returns:
        The data set; ``repairs`` counts by kind what the policy changed.

    Raises:
        DataError: If the source, the split or a file is missing or broken, or labels are faulty and the policy is
            ``error``.
        ConfigError: If the policy is unknown.

    Example:
        >>> data = open_dataset("digit_scenes", "train+val")
        >>> len(data), data.info.task, data.info.class_names[:3]
        (2200, 'detection', ('0', '1', '2'))
        >>> import cv2
        >>> _ = cv2.imwrite("a.png", np.zeros((40, 60, 3), np.uint8))
        >>> _ = Path("boxes.csv").write_text("file,label,x1,y1,x2,y2\na.png,cat,10,5,30,35")
        >>> sample = open_dataset(".", "all").read(0)
        >>> sample.image.shape, sample.target["boxes"]
        ((40, 60, 3), array([[10.,  5., 30., 35.]]))
    """
    policies = get_args(BadLabels)
    if bad_labels not in policies:
        raise ConfigError(f"bad_labels is '{bad_labels}'.{did_you_mean(bad_labels, policies)}")
    parts = [
        apply_policy(part, bad_labels) if isinstance(part, TableDataset) else part
        for part in _open_parts(source, split, format, task, options)
    ]
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


def open_raw(
    source: str | Path,
    split: str = "train",
    format: str | None = None,
    task: str | None = None,
    **options: Any,
) -> VisionDataset:
    r""":func:`open_dataset` with faulty labels left as they are, for :func:`saccade.data.check.check_dataset`.

    Example:
        >>> _ = Path("boxes.csv").write_text("file,label,x1,y1,x2,y2\na.png,cat,30,5,10,35")
        >>> open_raw(".", "all").target(0)["boxes"]
        array([[30.,  5., 10., 35.]])
    """
    parts = _open_parts(source, split, format, task, options)
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


@dataclass(frozen=True)
class Source:
    """Folder of a data set, and how it is read.

    Args:
        root: The folder.
        format: Name of the reader.
        task: Task it is opened for by default; None leaves it to the reader.
        options: Options of the reader.
    """

    root: Path
    format: str
    task: str | None
    options: Mapping[str, Any]


def resolve_source(source: str | Path, format: str | None = None, **options: Any) -> Source:
    r"""Find a data set and its reader.

    Args:
        source: Name in the catalogue, a folder, or a zip of images.
        format: Name of the reader; found automatically if not given.
        **options: Options of the reader; they override those of the catalogue and of ``saccade.yaml``.

    Raises:
        DataError: If there is no such source, format or option.

    Example:
        >>> _ = Path("boxes.csv").write_text("file,label,x1,y1,x2,y2\na.png,cat,10,5,30,35")
        >>> found = resolve_source(".", class_names=["cat", "dog"])
        >>> found.format, dict(found.options)
        ('csv', {'class_names': ['cat', 'dog']})
    """
    entry = CATALOGUE.get(source) if isinstance(source, str) else None
    known: dict[str, Any]
    if entry is not None:
        root = locate(entry.name)
        known = {"format": entry.reader, "task": entry.task, **entry.options}
    else:
        root = _folder(source)
        known = _read_options(root / OPTIONS_FILE)
    own_format = known.pop("format", None)
    own_task = known.pop("task", None)
    if format not in (None, own_format):
        known, own_task = {}, None  # the options found belong to another reader
    with _name_errors(root):
        name = format or own_format or detect_format(root)
        if root.is_file() and not getattr(get_reader(name), "READS_ARCHIVES", False):
            raise DataError(f"{root}: format '{name}' does not read zips. Unpack it, and open the folder.")
        known |= options
        _check_options(known, name, root)
    return Source(root, name, own_task, known)


def split_names(source: Source) -> tuple[str, ...]:
    r"""Splits that together are the whole data set.

    Example:
        >>> _ = Path("boxes.csv").write_text("file,label,split\na.jpg,cat,train\nb.jpg,dog,val")
        >>> split_names(resolve_source("."))
        ('train', 'val')
    """
    names = get_reader(source.format).splits(source.root)
    return ("all",) if names == UNSPLIT else names


def _open_parts(
    source: str | Path, split: str, format_name: str | None, task: str | None, options: Mapping[str, Any]
) -> list[VisionDataset]:
    names = [name.strip() for name in split.split("+")]
    if source == "digit_scenes":
        return [DigitScenes(task or "detection", name) for name in names]
    found = resolve_source(source, format_name, **options)
    reader = get_reader(found.format)
    with _name_errors(found.root):
        parts = [reader.read(found.root, name, task or found.task, **found.options) for name in names]
    for name, part in zip(names, parts, strict=True):
        if not len(part):
            raise DataError(
                f"{found.root}: split '{name}' has no images. It has splits: {', '.join(reader.splits(found.root))}."
            )
    return parts


@contextlib.contextmanager
def _name_errors(root: Path) -> Iterator[None]:
    """Add the data folder to errors that name no file, such as those of options and of the file system."""
    try:
        yield
    except DataError as error:
        if str(root) in str(error):
            raise
        raise DataError(f"{root}: {error}") from error
    except OSError as error:
        raise DataError(f"{root}: it cannot be read ({str(error)[:300]}). Check names and permissions.") from error


def _folder(source: str | Path) -> Path:
    root = Path(source).expanduser()
    if root.is_dir() or is_archive(root):
        return root
    if root.is_file():
        raise DataError(f"{root}: this is a file. Name the folder that holds images and annotations.")
    raise DataError(
        f"'{source}' is neither a folder nor a data set of the catalogue.{did_you_mean(str(source), CATALOGUE)}"
    )


def _read_options(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        return {}
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{path}: this is not valid YAML ({str(error)[:300]}). Correct it.") from error
    if not isinstance(options, dict):
        raise DataError(f"{path}: write options as 'name: value', such as 'format: masks'.")
    return options


def _check_options(options: Mapping[str, Any], reader_name: str, root: Path) -> None:
    """Check that names and types of options, which may come from a file, are those of the reader."""
    known = option_types(reader_name)
    for name, value in options.items():
        if name not in known:
            raise DataError(
                f"{root / OPTIONS_FILE}: format '{reader_name}' has no option '{name}'.{did_you_mean(str(name), known)}"
            )
        try:
            msgspec.convert(value, known[name])
        except (msgspec.ValidationError, RecursionError) as error:
            problem = str(error).replace("`", "")
            raise DataError(
                f"{root / OPTIONS_FILE}: option '{name}': {problem[:1].lower()}{problem[1:]}. Correct its value."
            ) from error
