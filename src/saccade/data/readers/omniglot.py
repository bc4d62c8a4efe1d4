"""Omniglot: 1,623 handwritten characters of 50 alphabets, drawn by 20 people each (Lake, Salakhutdinov et al. 2015).

``images_background.zip`` is the train split, ``images_evaluation.zip`` the test split, with
``<alphabet>/<character>/<number>_<drawer>.png`` in them; both are read in place, or from folders of the same names. A
class is a character, ``Greek/character01``. The two splits have no class in common, so each has labels of its own.

``all_runs.zip`` holds the 20 official runs of one-shot classification: :func:`read_one_shot_runs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import read_image
from saccade.data.readers import archive
from saccade.data.readers._common import check_task, resolve_split
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["OneShotRun", "matches", "read", "read_one_shot_runs", "splits"]

_PARTS = {"train": "images_background", "test": "images_evaluation"}
_RUNS = "all_runs"
_CLASS_LIST = "class_labels.txt"


@dataclass(frozen=True)
class OneShotRun:
    """One run of 20-way one-shot classification: a drawing of each character, and 20 drawings by somebody else.

    Args:
        name: ``run01`` to ``run20``.
        training: Images of the characters, (20, H, W, 1) uint8, ink is 0.
        test: Images to be classified, (20, H, W, 1) uint8.
        labels: Index into ``training`` of each test image, (20,) int64.
    """

    name: str
    training: NDArray[np.uint8]
    test: NDArray[np.uint8]
    labels: NDArray[np.int64]


def matches(root: Path) -> bool:
    """Whether one of the two splits is there."""
    return bool(_part_roots(root))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the splits that are there, ``train`` and ``test``.

    Example:
        >>> Path("images_background").mkdir()
        >>> splits(Path())
        ('train',)
    """
    return tuple(_part_roots(root))


def read(root: Path, split: str, task: str | None = None, alphabets: tuple[str, ...] = ()) -> TableDataset:
    """Read one split of Omniglot.

    Args:
        root: Data folder.
        split: ``train`` or ``test``.
        task: ``classification``.
        alphabets: Names of the alphabets to read; all if empty.

    Raises:
        DataError: If the split is missing or damaged, or there is no such alphabet.

    Example:
        >>> for name in ("Greek/character01/0001_01.png", "Latin/character02/0002_01.png"):
        ...     file = Path("images_background", name)
        ...     file.parent.mkdir(parents=True)
        ...     file.touch()
        >>> read(Path(), "train", alphabets=("Greek",)).info.class_names
        ('Greek/character01',)
    """
    check_task(task, ("classification",), "omniglot")
    parts = _part_roots(root)
    tree = archive.open_tree(parts[resolve_split(split, parts, root)])
    there = tree.folders()
    strange = [name for name in alphabets if name not in there]
    if strange:
        raise DataError(f"{tree.root}: there is no alphabet '{strange[0]}'. It has: {', '.join(there)}.")
    found = [
        (f"{alphabet}/{PurePosixPath(image).parent}", f"{alphabet}/{image}")
        for alphabet in alphabets or there
        for image in tree.images(alphabet)
    ]
    names = sorted({name for name, _ in found})
    if not names:
        raise DataError(f"{tree.root}: there are no '<alphabet>/<character>/*.png' in it. Download it again.")
    builder = TableBuilder(names, boxes=False)
    for name, path in found:
        builder.add_image(path)
        builder.add_object(name)
    info = DatasetInfo(root.name, "classification", tuple(names), split)
    return archive.make_dataset(info, tree, builder.build(), channels=1)


def read_one_shot_runs(root: str | Path) -> list[OneShotRun]:
    """Official runs of one-shot classification.

    Args:
        root: Folder with ``all_runs.zip``, or with the folder ``all_runs``.

    Returns:
        The runs by name. Predictions are scored by the share of ``labels`` that they equal.

    Raises:
        DataError: If the runs are missing or damaged.
    """
    found = _find(Path(root), _RUNS)
    if found is None:
        raise DataError(f"{root}: there is no {_RUNS}.zip. Get it from https://github.com/brendenlake/omniglot.")
    tree = archive.open_tree(found)
    return [_read_run(tree, name) for name in tree.folders() if name.startswith("run")]


def _read_run(tree: archive.Tree, folder: str) -> OneShotRun:
    names = {part: tree.images(f"{folder}/{part}") for part in ("training", "test")}
    images = {part: list(_images(tree, [f"{folder}/{part}/{name}" for name in names[part]])) for part in names}
    index = {f"training/{name}": number for number, name in enumerate(names["training"])}
    labels: dict[str, int] = {}
    source = f"{tree.root}/{folder}/{_CLASS_LIST}"
    for number, line in enumerate(tree.read(f"{folder}/{_CLASS_LIST}").decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        item, character = (word.partition("/")[2] for word in words) if len(words) == 2 else ("", "")
        if character not in index:
            raise DataError(f"{source}: line {number} is not 'RUN/test/FILE RUN/training/FILE'. Download it again.")
        labels[item.removeprefix("test/")] = index[character]
    sizes = {image.shape for part in images.values() for image in part}
    if len(sizes) != 1 or not set(names["test"]) <= set(labels):
        raise DataError(f"{source}: images or labels are missing, or images differ in size. Download it again.")
    return OneShotRun(
        PurePosixPath(folder).name,
        np.stack(images["training"]),
        np.stack(images["test"]),
        np.array([labels[name] for name in names["test"]], np.int64),
    )


def _images(tree: archive.Tree, names: list[str]) -> Iterator[NDArray[Any]]:
    for name in names:
        yield read_image(tree.read(name), channels=1, name=f"{tree.root}/{name}")


def _part_roots(root: Path) -> dict[str, Path]:
    found = {split: _find(root, name) for split, name in _PARTS.items()}
    return {split: path for split, path in found.items() if path is not None}


def _find(root: Path, name: str) -> Path | None:
    """Zip or folder of a split."""
    if (root / f"{name}.zip").is_file():
        return root / f"{name}.zip"
    return root / name if (root / name).is_dir() else None
