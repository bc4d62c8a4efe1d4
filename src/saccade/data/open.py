"""Open any data set by its name in the catalogue or its path, with a split and a policy for faulty labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np

from saccade.data.catalogue.catalogue import CATALOGUE, locate
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.combine import ConcatDataset, subset
from saccade.data.derived.splits import SEED, can_hold_out, divide
from saccade.data.derived.splits import hold_out as choose_held_out
from saccade.data.notices import say_once
from saccade.data.readers import LAYOUTS, describe_folder, detect_format, get_reader, option_types
from saccade.data.readers._common import UNSPLIT, resolve_split, say_what_is_unread, standard_split
from saccade.data.tables.bad_images import BadImages, apply_image_policy
from saccade.data.tables.content import require_content
from saccade.data.tables.faults import BadLabels, apply_policy
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import ConfigError, DataError, did_you_mean
from saccade.structures.dataset import VisionDataset
from saccade.structures.reading import is_archive
from saccade.structures.yaml_files import read_yaml

__all__ = [
    "GENERATED",
    "GENERATED_SPLITS",
    "OPTIONS_FILE",
    "Source",
    "apply_policies",
    "evaluation_split",
    "holds_out",
    "open_dataset",
    "open_raw",
    "resolve_source",
    "split_names",
    "training_split",
]

OPTIONS_FILE = "saccade.yaml"
GENERATED = "digit_scenes"  # made on the fly; it has splits, but no folder that could name them
GENERATED_SPLITS = ("train", "val", "test")


def open_dataset(
    source: str | Path,
    split: str = "train",
    format: str | None = None,
    task: str | None = None,
    bad_labels: BadLabels = "error",
    bad_images: BadImages = "error",
    folds: tuple[int, int] | None = None,
    hold_out: bool | None = None,
    **options: Any,
) -> VisionDataset:
    r"""Open a data set for training or evaluation.

    A folder may hold ``saccade.yaml`` with ``format``, ``task`` and options of the reader (``class_names``, ``values``,
    ``ranges``, ...). Where a source has no splits, ``val`` is a part of its images that is chosen by
    :func:`saccade.data.derived.splits.hold_out`, and ``train`` the rest; the log says so. Training and evaluation do
    the same with the ``train`` of a source without ``val`` (``hold_out``).

    Args:
        source: Name in the catalogue, a folder, its ``data.yaml``, or a zip of images.
        split: Name of the split; several are joined by ``+``.
        format: Name of the reader; found automatically if not given.
        task: Which ground truth to read, where the format has several.
        bad_labels: ``error``, ``drop`` or ``repair`` (:func:`saccade.data.tables.faults.apply_policy`).
        bad_images: ``error`` or ``drop`` (:func:`saccade.data.tables.bad_images.apply_image_policy`).
        folds: Cross-validation: how many folds, and which of them, from 0, is ``val``; ``train`` is the others. The
            source's ``train`` and ``val`` are divided together.
        hold_out: Whether ``val`` is held out of the training images where the source has no ``val``; if not given, only
            where it has no splits at all, so that a ``train`` of its own is whole.
        **options: Options of the reader.

    Returns:
        The data set; ``repairs`` counts by kind what the policies changed, ``left_out`` lists what they left out.

    Raises:
        DataError: If the source, the split or a file is missing or broken, there are no images, objects or classes to
            learn from, or labels are faulty and the policy is ``error``.
        ConfigError: If the policy is unknown.

    Example:
        >>> data = open_dataset("digit_scenes", "train+val")
        >>> len(data), data.info.task, data.info.class_names[:3]
        (2200, 'detection', ('0', '1', '2'))
        >>> [len(open_dataset("digit_scenes", part, folds=(10, 3))) for part in ("train", "val", "test")]
        [1980, 220, 200]
        >>> import cv2
        >>> _ = cv2.imwrite("a.png", np.zeros((40, 60, 3), np.uint8))
        >>> _ = Path("boxes.csv").write_text("file,label,x1,y1,x2,y2\na.png,cat,10,5,30,35")
        >>> sample = open_dataset(".", "all").read(0)
        >>> sample.image.shape, sample.target["boxes"]
        ((40, 60, 3), array([[10.,  5., 30., 35.]]))
    """
    for name, value, policies in (
        ("bad_labels", bad_labels, get_args(BadLabels)),
        ("bad_images", bad_images, get_args(BadImages)),
    ):
        if value not in policies:
            raise ConfigError(f"{name} is '{value}'.{did_you_mean(value, policies)}")
    parts = [
        apply_policies(part, bad_labels, bad_images)
        for part in _open_parts(_source_of(source, format, task, options), split, folds, hold_out)
    ]
    require_content(parts)
    return _join(parts)


def apply_policies(part: VisionDataset, bad_labels: BadLabels, bad_images: BadImages) -> VisionDataset:
    """Refuse, drop or repair faulty labels and images of an annotation table; other data sets stay as they are.

    Args:
        part: Any data set.
        bad_labels: ``error``, ``drop`` or ``repair``.
        bad_images: ``error`` or ``drop``.

    Raises:
        DataError: If there are faults and the policy is ``error``.

    Example:
        >>> from saccade.data.tables.annotations import TableBuilder
        >>> from saccade.structures.dataset import DatasetInfo
        >>> builder = TableBuilder(["cat"])
        >>> builder.add_image("a.png", size=(40, 60))
        >>> builder.add_object("cat", (30, 5, 10, 35))
        >>> data = TableDataset(DatasetInfo("cats", "detection", ("cat",)), Path("photos"), builder.build())
        >>> len(apply_policies(data, "drop", "error").target(0)["boxes"])
        0
    """
    if isinstance(part, ConcatDataset):
        return ConcatDataset([apply_policies(inner, bad_labels, bad_images) for inner in part.parts])
    if not isinstance(part, TableDataset):
        return part
    sound = apply_policy(apply_image_policy(part, bad_images), bad_labels)
    if sound.rectangles:
        say_once(
            f"{sound.info.name}: {sound.rectangles} of the {len(sound.table.labels)} objects of '{sound.info.split}' "
            "are boxes without an outline; their masks are rectangles"
        )
    return sound


def open_raw(
    source: str | Path,
    split: str = "train",
    format: str | None = None,
    task: str | None = None,
    folds: tuple[int, int] | None = None,
    hold_out: bool | None = None,
    **options: Any,
) -> VisionDataset:
    r""":func:`open_dataset` with faulty labels left as they are, for :func:`saccade.data.check.check_dataset`.

    Example:
        >>> _ = Path("boxes.csv").write_text("file,label,x1,y1,x2,y2\na.png,cat,30,5,10,35")
        >>> open_raw(".", "all").target(0)["boxes"]
        array([[30.,  5., 10., 35.]])
    """
    parts = _open_parts(_source_of(source, format, task, options), split, folds, hold_out)
    return _join(parts)


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


def resolve_source(source: str | Path, format: str | None = None, task: str | None = None, **options: Any) -> Source:
    r"""Find a data set and its reader.

    Args:
        source: Name in the catalogue, a folder, its ``data.yaml``, or a zip of images.
        format: Name of the reader; found automatically if not given.
        task: What the data are opened for, which helps to find the format: a detector never gets a class folder.
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
        root = locate(entry.name) / entry.folder
        known = {"format": entry.reader, "task": entry.task, **entry.options}
    else:
        root = _folder(source)
        known = _read_options(root / OPTIONS_FILE)
    own_format = known.pop("format", None)
    own_task = known.pop("task", None)
    if format not in (None, own_format):
        known, own_task = {}, None  # the options found belong to another reader
    with _name_errors(root):
        name = format or own_format or ("folder" if "nested" in options else detect_format(root, task or own_task))
        if root.is_file() and not getattr(get_reader(name), "READS_ARCHIVES", False):
            raise DataError(f"{root}: format '{name}' does not read zips. Unpack it, and open the folder.")
        known |= options
        _check_options(known, name, root)
    return Source(root, name, own_task, known)


def split_names(source: Source) -> tuple[str, ...]:
    r"""Splits that the source has and that together are the whole data set; ``all`` where it has none.

    Raises:
        DataError: If nothing of its format is there.

    Example:
        >>> _ = Path("boxes.csv").write_text("file,label,split\na.jpg,cat,train\nb.jpg,dog,val")
        >>> split_names(resolve_source("."))
        ('train', 'val')
    """
    names = _Splits(source).names
    return UNSPLIT if set(UNSPLIT) <= set(names) else names


def holds_out(
    source: str | Path,
    splits: Iterable[str | None],
    format: str | None = None,
    task: str | None = None,
    **options: Any,
) -> bool:
    r"""Whether one of some splits has to be held out of ``train``, because the source has no validation split.

    Training passes the answer as ``hold_out`` to each split it opens, so that ``train`` is whole where nothing is held
    out of it.

    Args:
        source: As for :func:`open_dataset`.
        splits: Splits of a run; None stands for one that is left out.
        format: Name of the reader.
        task: Which ground truth to read.
        **options: Options of the reader.

    Example:
        >>> _ = Path("boxes.csv").write_text("file,label,split\na.jpg,cat,train\nb.jpg,dog,test")
        >>> holds_out(".", ["train", "val", None]), holds_out(".", ["train", "test"])
        (True, False)
    """
    known = _Splits(_source_of(source, format, task, options))
    names = [name.strip() for split in splits if split is not None for name in split.split("+")]
    return any(standard_split(name) == "val" and known.find(name) is None for name in names)


def evaluation_split(source: str | Path, format: str | None = None, task: str | None = None, **options: Any) -> str:
    r"""Split that a model is scored on unless another is named: ``test``, else ``val``, which may be held out.

    Args:
        source: As for :func:`open_dataset`.
        format: Name of the reader.
        task: Which ground truth to read.
        **options: Options of the reader.

    Example:
        >>> evaluation_split("digit_scenes")
        'test'
        >>> _ = Path("boxes.csv").write_text("file,label\na.jpg,cat\nb.jpg,dog")
        >>> evaluation_split(".")
        'val'
    """
    known = _Splits(_source_of(source, format, task, options))
    if known.find("test") is not None:
        return "test"
    return "val" if known.find("val") is not None or known.training() else known.names[0]


def training_split(
    source: str | Path, format: str | None = None, task: str | None = None, **options: Any
) -> str | None:
    r"""Split that a model is trained on, ``train``, whatever the source calls it; None where it has no such images.

    Args:
        source: As for :func:`open_dataset`.
        format: Name of the reader.
        task: Which ground truth to read.
        **options: Options of the reader.

    Example:
        >>> _ = Path("boxes.csv").write_text("file,label,split\na.jpg,cat,trainval\nb.jpg,dog,test")
        >>> training_split(".")
        'train'
        >>> _ = Path("boxes.csv").write_text("file,label,split\na.jpg,cat,test")
        >>> training_split(".") is None
        True
    """
    known = _Splits(_source_of(source, format, task, options))
    return "train" if known.find("train") is not None or known.training() else None


class _Splits:
    """Names of the splits that a source has.

    Args:
        source: The source, whose files are looked through.

    Raises:
        DataError: If nothing of its format is there.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.names = GENERATED_SPLITS if source.format == GENERATED else self._list()

    def _list(self) -> tuple[str, ...]:
        root, reader = self.source.root, get_reader(self.source.format)
        options = self.source.options if getattr(reader, "SPLITS_BY_OPTIONS", False) else {}
        with _name_errors(root):
            names = tuple(reader.splits(root, **options))
        if not names:
            layout = LAYOUTS.get(self.source.format, "a format of your own")
            raise DataError(
                f"{root}: there is nothing in format '{self.source.format}', which is {layout}; "
                f"{describe_folder(root)}. Name another folder or format."
            )
        return names

    def find(self, name: str) -> str | None:
        """The source's own name of a split; None if it has none."""
        try:
            return resolve_split(name, self.names, self.source.root)
        except DataError:
            return None

    def training(self) -> tuple[str, ...]:
        """Splits whose images train and validate: ``train`` (and ``val``), ``trainval``, the only one but ``test``."""
        if self.find("train") is not None:
            return tuple(own for name in ("train", "val") if (own := self.find(name)) is not None)
        if self.find("val") is not None:
            return ()
        names = [name for name in self.names if standard_split(name) != "test"]
        joined = [name for name in names if name.lower() in ("trainval", "train_val", "train+val")]
        return tuple(joined[:1] or (names if len(names) == 1 else ()))


def _source_of(source: str | Path, format_name: str | None, task: str | None, options: Mapping[str, Any]) -> Source:
    if source == GENERATED:
        return Source(Path(GENERATED), GENERATED, task, options)
    found = resolve_source(source, format_name, task, **options)
    return replace(found, task=task or found.task)


def _open_parts(
    source: Source, split: str, folds: tuple[int, int] | None, hold_out: bool | None
) -> list[VisionDataset]:
    """Each of the splits that are joined by ``+``."""
    if folds is not None and not (folds[0] >= 2 and 0 <= folds[1] < folds[0]):
        raise ConfigError(
            f"folds is {folds[0]}, fold {folds[1]}. Ask for 2 folds or more, and for one of 0 to folds - 1."
        )
    known = _Splits(source)
    with _name_errors(source.root):
        return [_open_split(known, name.strip(), folds, hold_out) for name in split.split("+")]


def _open_split(known: _Splits, name: str, folds: tuple[int, int] | None, hold_out: bool | None) -> VisionDataset:
    """One split of the source, or a part of its training images."""
    own, part, root = known.find(name), standard_split(name), known.source.root
    if part in ("train", "val"):
        pool = known.training()
        if folds is not None and pool:
            return _open_fold(known, pool, folds, part)
        if hold_out is None:
            hold_out = known.find("train") is None
        if pool and known.find("val") is None and hold_out:
            return _hold_out(_read(known, pool[0]), root, pool[0], part)
        if pool and part == "train":
            own = pool[0]
    if own is None and known.source.format == GENERATED:
        return _read(known, name)  # scenes that are part of no whole, such as crowded ones
    if own is None:
        remedy = ""
        if part == "val" and known.training():
            remedy = (
                " Name another; training and evaluation hold a part of the training images out where none is named "
                "(in Python: hold_out=True)."
            )
        raise DataError(f"{root}: there is no split '{name}'; it has: {', '.join(known.names)}.{remedy}")
    return _read(known, own)


def _open_fold(known: _Splits, pool: Sequence[str], folds: tuple[int, int], part: str) -> VisionDataset:
    """A fold of the training and validation images, or the others."""
    parts = [_read(known, name) for name in pool]
    joined = _join(parts)
    chosen = divide(joined, folds[0]) == folds[1]
    say_once(
        f"{known.source.root}: fold {folds[1]} of {folds[0]} (seed {SEED}; classes alike, copies and series of images "
        f"together): {int(chosen.sum())} of the {len(joined)} images of {' and '.join(pool)} validate, the others train"
    )
    return subset(joined, np.flatnonzero(chosen == (part == "val")).tolist(), part)


def _hold_out(dataset: VisionDataset, root: Path, whole: str, part: str) -> VisionDataset:
    """The part that is held out for validation, or the rest, which is all where no image can be held out."""
    if part == "train" and not can_hold_out(dataset):
        return subset(dataset, range(len(dataset)), part)
    held = choose_held_out(dataset)
    say_once(
        f"{root}: it has no validation split, so {int(held.sum())} of the {len(dataset)} images of '{whole}' are held "
        f"out (seed {SEED}; classes alike, copies and series of images together). Choose otherwise by data.val, such "
        "as --data.val test, or by data.folds."
    )
    return subset(dataset, np.flatnonzero(held == (part == "val")).tolist(), part)


def _read(known: _Splits, split: str) -> VisionDataset:
    """One of the source's own splits."""
    source = known.source
    if source.format == GENERATED:
        return DigitScenes(source.task or "detection", split, masks=bool(source.options.get("masks")))
    part = get_reader(source.format).read(source.root, split, source.task, **source.options)
    say_what_is_unread(source.root)
    if not len(part):
        raise DataError(
            f"{source.root}: split '{split}' has no images. It has splits: {', '.join(known.names)}; format "
            f"'{source.format}' is {LAYOUTS.get(source.format, 'a format of your own')}."
        )
    return part


def _join(parts: Sequence[VisionDataset]) -> VisionDataset:
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


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
    if root.is_file() and root.suffix.lower() in (".yaml", ".yml"):
        return root.parent
    if root.is_file():
        raise DataError(f"{root}: this is a file. Name the folder that holds images and annotations.")
    raise DataError(
        f"'{source}' is neither a folder nor a data set of the catalogue.{did_you_mean(str(source), CATALOGUE)}"
    )


def _read_options(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    options = read_yaml(path)
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
