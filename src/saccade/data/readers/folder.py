"""Images in one folder a class, in a folder or in a zip that is read in place.

- ``train/<class>/*.jpg``: classes are those of all splits together, so that one missing in a split shifts nothing.
- ``<class>/*.jpg`` with lists ``train.txt``, ``val.txt``: a name a line, relative to the folder (or to ``images/``),
  which may be followed by the class or its number; without either the first folder of the name is the class. Names of
  numbers come from ``class_names``, from ``classes.txt``, or are the class folders by name.
- ``<class>/*.jpg`` alone: ``all``; opening it holds a part of each class out for validation.

Classes are numbered in the order of their names. Images in folders of a class folder belong to that class; with
``nested`` each folder that holds images itself is a class, named by its path (``fish/trout``).

Since any folder of images looks like a class, the format is found by itself only where nothing speaks against it: there
are two classes or more, none called like a split or a part of another format (``images``, ``masks``, ``labels``, ...),
and no files of labels beside the images.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from saccade.data.images.decode import IMAGE_SUFFIXES
from saccade.data.readers import archive
from saccade.data.readers._common import (
    UNSPLIT,
    check_name,
    check_task,
    choose,
    has_images,
    is_split_name,
    resolve_split,
    split_order,
    subfolders,
)
from saccade.data.readers._formats import describe_folder
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError, did_you_mean
from saccade.structures.dataset import DatasetInfo
from saccade.structures.reading import is_archive
from saccade.structures.text import printable

__all__ = ["READS_ARCHIVES", "matches", "read", "splits", "why_not"]

READS_ARCHIVES = True
_CLASS_LIST = "classes.txt"
# Folders of other formats, in lower case: hardly a class.
_NO_CLASSES = frozenset(
    (
        *("image", "images", "img", "imgs", "pngimages", "jpegimages", "picture", "pictures", "photos", "frames"),
        *("mask", "masks", "pedmasks", "label", "labels", "annot", "annots", "annotation", "annotations", "gt"),
        *("groundtruth", "seg", "segmentation", "segmentations", "segmentationclass", "segmentationclasspng"),
        *("segmentationobject", "segmentationobjectpng", "segmentationclassvisualization", "imagesets", "xml", "xmls"),
        *("json", "txt", "csv", "bbox", "bboxes", "boxes", "data", "dataset", "datasets", "all", "trainval"),
    )
)
_LEAST_CLASSES, _MOST_BESIDE = 2, 100
_LABEL_WORDS = ("annot", "label", "instances", "bbox", "coco", "via_", "keypoints")
_SUFFIXES = "|".join(re.escape(suffix) for suffix in sorted(IMAGE_SUFFIXES))
_NAME_AND_CLASS = re.compile(rf"(.*?(?:{_SUFFIXES}))(?:\s*[,;\t]\s*|\s+)(.*)", re.IGNORECASE)


def matches(root: Path) -> bool:
    """Whether there are two class folders or more, and nothing speaks against them; or a list names an image."""
    tree = archive.open_tree(root)
    if _guessed_classes(tree) and not _objection(tree):
        return True
    lists = _split_lists(tree)
    return bool(lists) and not _split_folders(tree) and _start(tree, lists) is not None


def why_not(root: Path) -> str:
    """Why folders of images are not taken for classes, for messages; empty if there are none.

    Example:
        >>> for name in ("Images/1.png", "Masks/1.png"):
        ...     Path(name).parent.mkdir()
        ...     Path(name).touch()
        >>> why_not(Path())
        "a folder called 'Images' is hardly a class"
    """
    tree = archive.open_tree(root)
    return _objection(tree) if _guessed_classes(tree) else _folder_above(root)


def _folder_above(root: Path) -> str:
    """That images lie in the folder itself, and the one above holds several such folders; empty if not."""
    if not root.is_dir() or not has_images(root, recursive=False):
        return ""
    above = root.resolve().parent
    beside = [name for name in subfolders(above)[:_MOST_BESIDE] if has_images(above / name, recursive=False)]
    if len(beside) < _LEAST_CLASSES:
        return "the images lie in the folder itself, without labels"
    return f"the images lie in the folder itself; {above} holds several such folders ({', '.join(beside[:4])})"


def _guessed_classes(tree: archive.Tree) -> list[str]:
    """Folders, below the root or the split folders, that hold images."""
    return sorted(name for name, filled in _class_folders(tree, _split_folders(tree) or [""], False).items() if filled)


def _objection(tree: archive.Tree) -> str:
    """What speaks against taking folders of images for classes; empty if nothing does."""
    names = _guessed_classes(tree)
    strange = next((name for name in names if is_split_name(name) or _words(name) & _NO_CLASSES), None)
    if strange is not None:
        return f"a folder called '{printable(strange)}' is hardly a class"
    splits = _split_folders(tree) or [""]
    for split in splits:
        for name in names:
            below = f"{split}/{name}" if split else name
            inner = tree.folders(below)
            strange = next((folder for folder in inner if is_split_name(folder) or _words(folder) & _NO_CLASSES), None)
            if strange is not None:
                return f"'{printable(name)}' holds a folder '{printable(strange)}', as a data set does, not a class"
            for folder in (below, *(f"{below}/{folder}" for folder in inner)):
                file = _label_file(tree.files(folder))
                if file:
                    return (
                        f"{printable(folder)}/{printable(file)} looks like labels, so that folders are hardly classes"
                    )
    if len(names) == 1:
        return _lone_class(tree, splits, names[0])
    return ""


def _words(name: str) -> set[str]:
    """The name in lower case, and without a number or word of a split at its end (``images2``, ``images_train``)."""
    name = name.lower()
    parts = [part for part in re.split(r"[ _.-]+|(?<=[a-z])(?=\d)", name) if part]
    core = [part for part in parts if not part.isdecimal() and not is_split_name(part)]
    return {name, "".join(core)}


def _label_file(files: Sequence[str]) -> str:
    """A file of labels beside images: one with the name of an image, or that says it holds annotations."""
    stems = {PurePosixPath(name).stem for name in files if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES}
    for name in files:
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if suffix in (".txt", ".xml", ".json") and path.stem in stems:
            return name
        if suffix in (".xml", ".json", ".csv") and any(word in path.stem.lower() for word in _LABEL_WORDS):
            return name
    return ""


def _lone_class(tree: archive.Tree, splits: Sequence[str], name: str) -> str:
    """Why one class is none, and which folder inside holds several."""
    below = f"{splits[0]}/{name}" if splits[0] else name
    inside = [folder for folder in tree.folders(below) if tree.has_images(f"{below}/{folder}")]
    several = f"; {below}/ holds several folders ({', '.join(inside[:4])}): name that folder" if len(inside) > 1 else ""
    return f"there is one folder of images, '{printable(name)}', and a classifier needs two classes or more{several}"


def splits(root: Path) -> tuple[str, ...]:
    """Names of the split folders, or of the lists; ``all`` without either.

    Example:
        >>> for name in ("train/cat", "train/dog", "val/cat"):
        ...     Path(name).mkdir(parents=True)
        >>> splits(Path())
        ('train', 'val')
    """
    tree = archive.open_tree(root)
    return tuple(_split_folders(tree)) or tuple(_split_lists(tree)) or UNSPLIT


def read(
    root: Path,
    split: str,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    nested: bool = False,
    channels: int = 3,
    allow_16bit: bool = False,
) -> TableDataset:
    """Read one split of images in one folder a class.

    Args:
        root: Data folder, or zip.
        split: Name of the split.
        task: ``classification``.
        class_names: Folders in the order of their labels; by name if not given.
        nested: Each folder that holds images itself is a class.
        channels: 3 for RGB, 1 for grey, or the number that the files have.
        allow_16bit: Give the pixels of 16-bit files as they are.

    Raises:
        DataError: If there is no such split or no image in it, two classes differ only in upper and lower case, or a
            list names an unknown class.

    Example:
        >>> for name in ("train/cat/1.jpg", "train/cat/2.jpg", "train/dog/1.jpg"):
        ...     Path(name).parent.mkdir(parents=True, exist_ok=True)
        ...     Path(name).touch()
        >>> data = read(Path(), "train")
        >>> data.info.class_names, data.table.labels
        (('cat', 'dog'), array([0, 0, 1]))
    """
    check_task(task, ("classification",), "folder")
    tree = archive.open_tree(root)
    folders = _split_folders(tree)
    lists = {} if folders else _split_lists(tree)
    start = _start(tree, lists) or ""
    found = _class_folders(tree, folders or [start.rstrip("/")], nested)
    if class_names is None and not lists and len(found) == 1 and not nested:
        alone = _lone_class(tree, folders or [""], next(iter(found)))
        if "several" in alone:  # a folder too high
            raise DataError(f"{root}: {alone}, or give nested=True.")
    names = list(class_names) if class_names is not None else _class_names(tree, found, lists)
    if lists:
        rows = _listed(tree, lists[resolve_split(split, lists, root)], start, names)
    else:
        own = resolve_split(split, folders, root) if folders else ""
        rows = _in_folders(tree, own, split, [*names, *sorted(found.keys() - set(names))], nested)
    builder = TableBuilder(names, boxes=False)
    for path, name in rows:
        builder.add_image(path)
        builder.add_object(name)
    table = builder.build()
    if not len(table):
        where = lists.get(split, split if folders else "")
        raise DataError(
            f"{root / where}: there are no images in '<class>/*.jpg'; {describe_folder(root / where)}. Put one folder "
            "a class there."
        )
    empty = [name for name in names if name in found and not found[name]]
    if empty:
        warnings.warn(
            f"{root}: {len(empty)} classes have no image: {', '.join(empty[:5])}. "
            "They keep their labels; remove the folders if they are not meant.",
            stacklevel=2,
        )
    info = DatasetInfo(root.stem if is_archive(root) else root.name, "classification", tuple(names), split)
    return archive.make_dataset(info, tree, table, channels, allow_16bit)


def _in_folders(
    tree: archive.Tree, own: str, split: str, names: Sequence[str], nested: bool
) -> Iterator[tuple[str, str]]:
    """Image and class of each file, class by class."""
    for name in names:
        folder = f"{own}/{name}" if own else name
        files = tree.images(folder)
        if nested:
            files = [file for file in files if "/" not in file]
        for file in files if own else [files[index] for index in choose(len(files), split, None, tree.root)]:
            yield f"{folder}/{file}", name


def _split_folders(tree: archive.Tree) -> list[str]:
    return [name for name in tree.folders() if is_split_name(name) and tree.folders(name)]


def _class_folders(tree: archive.Tree, splits: Sequence[str], nested: bool) -> dict[str, bool]:
    """Whether a class has images in any split, by class."""
    found: dict[str, bool] = {}
    for split in splits:
        if nested:
            found |= {file.rpartition("/")[0]: True for file in tree.images(split) if "/" in file}
            continue
        for name in tree.folders(split):
            below = f"{split}/{name}" if split else name
            found[name] = found.get(name, False) or tree.has_images(below)
    return found


def _class_names(tree: archive.Tree, found: dict[str, bool], lists: dict[str, str]) -> list[str]:
    """Classes in the order of their labels, from the lists and the folders."""
    words: set[str] = set()
    if lists:
        if tree.contains(_CLASS_LIST):
            return [line for _, line in _lines(tree, _CLASS_LIST)]
        words = {word for file in lists.values() for _, line in _lines(tree, file) if (word := _parts(line)[1])}
    if words and all(word.isdecimal() for word in words):
        count = max(map(int, words)) + 1
        return [str(number) for number in range(count)] if count > len(found) else sorted(found)
    names = sorted(words or found)
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.setdefault(name.casefold(), name)
        if twin != name:
            raise DataError(
                f"{tree.root}: the classes '{twin}' and '{name}' differ only in upper and lower case. "
                "Rename one of them, or name all classes in class_names if both are meant."
            )
    return names


def _split_lists(tree: archive.Tree) -> dict[str, str]:
    """List of each split, ``train`` first."""
    files = [name for name in tree.texts() if is_split_name(name.removesuffix(".txt"))]
    files.sort(key=split_order)
    return {name.removesuffix(".txt"): name for name in files}


def _lines(tree: archive.Tree, file: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not empty."""
    try:
        text = tree.read(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{tree.root / file}: the list is not UTF-8 ({error}). Save it as UTF-8.") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _parts(line: str) -> tuple[str, str]:
    """Name of the image, and the class behind it."""
    match = _NAME_AND_CLASS.fullmatch(line)
    return (match[1], match[2].strip()) if match else (line, "")


def _start(tree: archive.Tree, lists: dict[str, str]) -> str | None:
    """Folder, with a slash, of the first image of the lists; None if it is not found."""
    for file in lists.values():
        for _, line in _lines(tree, file):
            name, _ = _parts(line)
            if Path(name).suffix.lower() not in IMAGE_SUFFIXES:
                break
            return next((folder for folder in ("", "images/") if tree.contains(folder + name)), None)
    return None


def _listed(tree: archive.Tree, file: str, start: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Image and class of each line of a list."""
    source = tree.root / file
    for number, line in _lines(tree, file):
        name, word = _parts(line)
        check_name(name, source, f"line {number}")
        if word.isdecimal() and word not in names:
            if int(word) >= len(names):
                raise DataError(
                    f"{source}: line {number} has class {word}, but there are {len(names)} classes. "
                    f"Name them in {_CLASS_LIST} or class_names."
                )
            word = names[int(word)]
        elif not word:
            word = next((part for part in (name.rpartition("/")[0], name.split("/")[0]) if part in names), "")
        if word not in names:
            given = f"class '{word}'" if word else "no class"
            raise DataError(
                f"{source}: line {number} ({name}) has {given}, which is none of the {len(names)}."
                f"{did_you_mean(word, names) if word else ' Write it behind the name.'}"
            )
        yield start + name, word
