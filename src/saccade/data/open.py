"""One entrance to every data set: a name of the catalogue or a path, a split, and a policy for faulty labels."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from saccade.data.annotations import TableDataset
from saccade.data.catalogue import CATALOGUE, locate
from saccade.data.combine import ConcatDataset
from saccade.data.dataset import VisionDataset
from saccade.data.digit_scenes import DigitScenes
from saccade.data.faults import BadLabels, apply_policy
from saccade.data.readers import detect_format, get_reader
from saccade.errors import ConfigError, DataError, did_you_mean

__all__ = ["OPTIONS_FILE", "open_dataset", "open_raw"]

OPTIONS_FILE = "saccade.yaml"


def open_dataset(
    source: str | Path,
    split: str = "train",
    format: str | None = None,
    task: str | None = None,
    bad_labels: BadLabels = "error",
) -> VisionDataset:
    """Open a data set for training or evaluation.

    A folder may hold ``saccade.yaml`` with ``format``, ``task`` and options of the reader (``class_names``, ``values``,
    ``ranges``, ...). Sources without splits have ``all``, ``train`` and ``val`` (every fifth picture).

    Args:
        source: Name in the catalogue, or a folder.
        split: Part of it; several are joined by ``+``.
        format: Reader; found by looking at the folder if not given.
        task: Which truth to read, where the format has several.
        bad_labels: ``error``, ``drop`` or ``repair`` (:func:`saccade.data.faults.apply_policy`).

    Returns:
        The data set; ``repairs`` counts by kind what the policy did.

    Raises:
        DataError: If the source, the split or a file is missing or broken, or labels are faulty and the policy is
            ``error``.
        ConfigError: If the policy is unknown.

    Example:
        >>> data = open_dataset("bccd", "train+val", bad_labels="drop")
        >>> data.read(0).target["boxes"].shape
    """
    policies = get_args(BadLabels)
    if bad_labels not in policies:
        raise ConfigError(f"bad_labels is '{bad_labels}'.{did_you_mean(bad_labels, policies)}")
    parts = [
        apply_policy(part, bad_labels) if isinstance(part, TableDataset) else part
        for part in _open_parts(source, split, format, task)
    ]
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


def open_raw(
    source: str | Path,
    split: str = "train",
    format: str | None = None,
    task: str | None = None,
) -> VisionDataset:
    """:func:`open_dataset` with faulty labels left as they are, for :func:`saccade.data.check.check_dataset`."""
    parts = _open_parts(source, split, format, task)
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


def _open_parts(source: str | Path, split: str, format_name: str | None, task: str | None) -> list[VisionDataset]:
    names = [name.strip() for name in split.split("+")]
    if source == "digit_scenes":
        return [DigitScenes(task or "detection", name) for name in names]
    entry = CATALOGUE.get(source) if isinstance(source, str) else None
    options: dict[str, Any]
    if entry is not None:
        root = locate(entry.name)
        options = {"format": entry.reader, **entry.options}
    else:
        root = _folder(source)
        options = _read_options(root / OPTIONS_FILE)
    own_format = options.pop("format", None)
    if format_name not in (None, own_format):
        options = {}  # they belong to the other reader
    reader_name = format_name or own_format or detect_format(root)
    reader = get_reader(reader_name)
    task = task or options.pop("task", None)
    options.pop("task", None)
    _check_options(options, reader_name, root)
    parts = [reader.read(root, name, task, **options) for name in names]
    for name, part in zip(names, parts, strict=True):
        if not len(part):
            raise DataError(f"{root}: split '{name}' has no pictures. It has splits: {', '.join(reader.splits(root))}.")
    return parts


def _folder(source: str | Path) -> Path:
    root = Path(source).expanduser()
    if root.is_dir():
        return root
    if root.is_file():
        raise DataError(f"{root}: this is a file. Name the folder that holds pictures and annotations.")
    raise DataError(
        f"'{source}' is neither a folder nor a data set of the catalogue.{did_you_mean(str(source), CATALOGUE)}"
    )


def _read_options(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        return {}
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: this is not valid YAML ({error}). Correct it.") from error
    if not isinstance(options, dict):
        raise DataError(f"{path}: write options as 'name: value', such as 'format: masks'.")
    return options


def _check_options(options: Mapping[str, Any], reader_name: str, root: Path) -> None:
    known = set(inspect.signature(get_reader(reader_name).read).parameters) - {"root", "split", "task"}
    for name in options:
        if name not in known:
            raise DataError(
                f"{root / OPTIONS_FILE}: format '{reader_name}' has no option '{name}'.{did_you_mean(str(name), known)}"
            )
