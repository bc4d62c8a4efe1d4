"""Layouts of YOLO data sets: the folders of images and rows, and the class names.

Found, in this order: a YAML file with ``names`` and ``train``, ``val``, ... (Ultralytics, Roboflow); Darknet's
``obj.data`` with lists of images; bare folders ``images/`` + ``labels/`` (also one of each a split, in either order),
or images and rows side by side. The rows of an image are in ``labels/`` for one in ``images/``, or beside it.

Data sets move from machine to machine, and their files name folders of another machine. A name is accepted if it leads
to something inside the data folder: as written, without leading ``../`` (Roboflow writes ``../train/images``
for its own ``train/images``), or without its first folders; names may be patterns (``images/*.jpg``). Nothing outside
the data folder is opened.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saccade.data.notices import say_once
from saccade.data.readers._common import (
    LONGEST_NAME,
    SPLIT_NAMES,
    check_class_count,
    has_images,
    is_split_name,
    list_files,
    list_images,
    standard_split,
    subfolders,
)
from saccade.data.readers._faults import FieldError
from saccade.data.readers._find_images import ImageFinder, has_pattern, last_parts, match_pattern
from saccade.errors import DataError
from saccade.structures.reading import read_text
from saccade.structures.text import printable
from saccade.structures.yaml_files import read_yaml

__all__ = ["Layout", "Part", "PointRows", "find_layout", "list_part", "looks_like_yolo", "rows_without_image"]

_OPTIONS_FILE = "saccade.yaml"
_SPLIT_KEYS = (*SPLIT_NAMES, "all")
# Keys of data.yaml that are never a split, even if a folder has the name of their value.
_OTHER_KEYS = frozenset(
    {"path", "names", "nc", "kpt_shape", "kpt_names", "flip_idx", "download", "channels", "roboflow", "task"}
)
_NOTHING = ("", "null", "Null", "NULL", "~", "None")
_LISTS = tuple(f"{name}.txt" for name in SPLIT_NAMES)
_IMAGE_FOLDERS = ("images", "jpegimages")
_MOST_POINTS = 1000  # of an object
_YAML_BYTES = 4 << 20
_ROW = re.compile(r"\d+(\.0+)?(\s+[+-]?[0-9.]+(e[+-]?\d+)?){4,}", re.IGNORECASE)
_SAMPLED_FILES = 5


@dataclass(frozen=True)
class PointRows:
    """Layout of the rows of a keypoint data set.

    Args:
        names: Names of the K points.
        values: Numbers a point: 2 (x, y) or 3 (x, y, visibility).
        flip_pairs: Points that a mirror exchanges.
    """

    names: tuple[str, ...]
    values: int
    flip_pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Layout:
    """Classes and splits of a YOLO data set.

    Args:
        source: File that names the classes, or the folder itself.
        class_names: Name by class id; empty where nothing names them.
        parts: By split, folders of images, lists (``.txt``) and patterns of images, below the data folder.
        missing: By split, a folder or list that is named but not there.
        points: Layout of the rows of a keypoint data set.
    """

    source: Path
    class_names: Mapping[int, str]
    parts: Mapping[str, tuple[str, ...]]
    missing: Mapping[str, str] = field(default_factory=dict)
    points: PointRows | None = None


@dataclass(frozen=True)
class Part:
    """Images of a split.

    Args:
        pairs: Name of each image below the images' folder, and of the file of its rows below the data folder.
        faults: Lines of lists that lead to no image.
        unlabelled: How many images have no file of rows.
    """

    pairs: list[tuple[str, str]]
    faults: list[FieldError]
    unlabelled: int


def looks_like_yolo(root: Path) -> bool:
    r"""Whether one of the layouts is there; only the YAML file is read.

    Example:
        >>> _ = Path("data.yaml").write_text("train: images/train\nnames: [cat]")
        >>> looks_like_yolo(Path())
        True
    """
    return _yaml_file(root) is not None or _darknet_names(root) is not None or bool(_bare_parts(root))


def find_layout(root: Path, elsewhere: bool = False) -> Layout:
    r"""Layout of a folder.

    Args:
        root: Data folder.
        elsewhere: The images are in another folder: bare folders of rows are enough.

    Raises:
        DataError: If there is none, or the file that describes it is malformed.

    Example:
        >>> Path("images/train").mkdir(parents=True)
        >>> _ = Path("data.yaml").write_text("train: images/train\nnames: [cat, dog]")
        >>> layout = find_layout(Path())
        >>> dict(layout.class_names), dict(layout.parts)
        ({0: 'cat', 1: 'dog'}, {'train': ('images/train',)})
    """
    source = _yaml_file(root)
    if source is not None:
        return _read_yaml(root, source)
    names_file = _darknet_names(root)
    if names_file is not None:
        return _read_darknet(root, names_file)
    parts = _bare_parts(root) or (_label_parts(root) if elsewhere else {})
    if not parts:
        raise DataError(
            f"{root}: there is no data.yaml, no obj.data, and no images/ beside labels/. Write a data.yaml, or name "
            "the images' folder by the option 'images'."
        )
    places = [root / "classes.txt", *(root / name / "classes.txt" for name in subfolders(root))]
    classes = next((file for file in places if file.is_file()), None)
    return Layout(classes or root, _numbered(_read_names(classes), classes) if classes else {}, parts)


def list_part(root: Path, layout: Layout, split: str, image_root: Path) -> Part:
    """Images of a split and the files of their rows, which need not exist.

    Args:
        root: Data folder.
        layout: Its layout.
        split: One of ``layout.parts``.
        image_root: Folder of the images, if it is not ``root``.

    Raises:
        DataError: If there are no images.

    Example:
        >>> Path("images").mkdir()
        >>> Path("images/a.jpg").touch()
        >>> list_part(Path(), Layout(Path(), {}, {"all": ("images",)}), "all", Path()).pairs
        [('images/a.jpg', 'labels/a.txt')]
    """
    found: list[tuple[str, str]] = []
    faults: list[FieldError] = []
    for part in layout.parts[split]:
        if (root / part).is_file():
            found += _from_list(root, root / part, image_root, split, faults)
        elif has_pattern(part) and not (root / part).is_dir():
            names = match_pattern(list_images(image_root, recursive=True), part)
            found += [(name, _label_name(root, name)) for name in names]
        elif image_root == root:
            found += [(name, _label_name(root, name)) for name in _images_below(root, part)]
        else:
            found += _from_labels(root, part, image_root)
    if not found:
        listed = "".join(f"\n  {fault}" for fault in faults[:5])
        where = ", ".join(printable(part, limit=80) for part in layout.parts[split])
        raise DataError(
            f"{image_root}: split '{split}' has no images in {where}. Put them there, or name another folder.{listed}"
        )
    found = list(dict.fromkeys(found))
    return Part(found, faults, sum(not (root / label).is_file() for _, label in found))


def rows_without_image(root: Path, layout: Layout, split: str, part: Part) -> list[str]:
    """Files of rows in the folders of a split for which there is no image, below the data folder."""
    used = {label for _, label in part.pairs}
    lost = []
    for images in layout.parts[split]:
        folders = [folder for folder in _label_folders(images) if folder != images and (root / folder).is_dir()]
        for folder in folders[:1]:
            names = (f"{folder}/{name}" for name in list_files(root / folder, [".txt"]))
            lost += [name for name in names if name not in used and posixpath.basename(name) != "classes.txt"]
    return lost


def _images_below(root: Path, part: str) -> list[str]:
    prefix = "" if part == "." else f"{part}/"
    return [prefix + name for name in list_images(root / part, recursive=True)]


def _label_name(root: Path, image: str) -> str:
    """File of an image's rows: ``labels/train/a.txt`` for ``images/train/a.jpg``, or beside it, if that is there."""
    folder, name = posixpath.split(image)
    name = f"{posixpath.splitext(name)[0]}.txt"
    names = [posixpath.join(where, name) for where in _label_folders(folder)]
    return next((label for label in names if (root / label).is_file()), names[0])


def _label_folders(images: str) -> list[str]:
    """Folders where the rows of a folder of images may be: the last part named ``images`` becomes ``labels``."""
    parts = images.split("/")
    positions = [position for position, part in enumerate(parts) if part.lower() in _IMAGE_FOLDERS]
    found = []
    for name in ("labels", "Labels") if positions else ():
        parts[positions[-1]] = name
        found.append("/".join(parts))
    return [*found, images]


def _from_labels(root: Path, part: str, image_root: Path) -> list[tuple[str, str]]:
    """Images elsewhere that have rows in a folder."""
    pairs = []
    for name in list_images(image_root, recursive=True):
        rows = f"{posixpath.splitext(name)[0]}.txt"
        label = next((f"{folder}/{rows}" for folder in _label_folders(part) if (root / folder / rows).is_file()), None)
        pairs += [(name, label)] if label is not None else []
    return pairs


def _from_list(
    root: Path, source: Path, image_root: Path, split: str, faults: list[FieldError]
) -> list[tuple[str, str]]:
    lines = [(number, line.strip()) for number, line in enumerate(_lines(source), 1) if line.strip()]
    beside = source.parent.relative_to(root).as_posix().removeprefix(".")
    finder = ImageFinder(image_root, source, ["", f"{beside}/"] if beside else [""], split)
    images = finder.find([line for _, line in lines])
    rows = _Finder(root, source)
    every: list[str] | None = None
    found = []
    for (number, line), image in zip(lines, images, strict=True):
        names = [image] if image is not None and (image_root / image).is_file() else []
        if not names and has_pattern(line):
            every = list_images(image_root, recursive=True) if every is None else every
            names = match_pattern(every, line)
        if not names:
            message = (
                f"it is '{printable(line, limit=200)}', which is not a file inside the data folder, and no image of "
                "that name is there. Restore the image, or write its name relative to the folder."
            )
            faults.append(FieldError("image.missing", f"{source}: line {number}", message))
        for name in names:
            label = _label_name(root, name)
            if image_root != root:
                written = posixpath.join(*last_parts(line)) if last_parts(line) else name
                label = rows.find(_label_name(root, written)) or label
            found.append((name, label))
    return found


def _lines(path: Path) -> list[str]:
    return read_text(path).splitlines()


class _Finder:
    """Finds listed files below a folder, whatever machine the list was made on.

    Args:
        folder: Folder of the files.
        source: The list; names may be relative to its folder too.
        loose: Each name may have other leading folders to remove; else the first name that is found decides.
    """

    def __init__(self, folder: Path, source: Path, loose: bool = False) -> None:
        self._folder = folder
        self._loose = loose
        whole, beside = (Path(os.path.normpath(path.absolute())) for path in (folder, source.parent))
        self._beside = beside.relative_to(whole) if beside.is_relative_to(whole) else Path()
        self._cut: int | None = None

    def find(self, name: str) -> str | None:
        """Name below the folder, with leading folders removed until a file is found; None if there is none."""
        if "\0" in name:
            return None
        parts = [part for part in posixpath.normpath(name.replace("\\", "/")).split("/") if part not in ("", ".")]
        first = () if self._cut is None else (self._cut,)
        cuts = first if first and not self._loose else dict.fromkeys((*first, *range(len(parts))))
        for cut in cuts:
            rest = "/".join(parts[cut:])
            if not rest or ".." in parts[cut:]:
                continue
            for candidate in dict.fromkeys((rest, (self._beside / rest).as_posix())):
                if (self._folder / candidate).is_file():
                    self._cut = cut
                    return candidate
        return None


def _yaml_file(root: Path) -> Path | None:
    """YAML file that describes a data set; ``data.yaml`` before others."""
    files = [root / name for name in list_files(root, [".yaml", ".yml"], recursive=False)]
    for file in sorted(files, key=lambda file: (file.stem != "data", file.stem != "dataset", file.name)):
        if file.name == _OPTIONS_FILE or not file.is_file():
            continue
        try:
            text = read_text(file, _YAML_BYTES)
        except DataError:
            continue
        if re.search(r"^(names|nc)\s*:", text, re.M) and re.search(rf"^({'|'.join(_SPLIT_KEYS)})\s*:", text, re.M):
            return file
    return None


def _read_yaml(root: Path, source: Path) -> Layout:
    content = read_yaml(source, text_only=True, limit=_YAML_BYTES)  # a class may be called "no" or "1"
    if not isinstance(content, dict):
        raise DataError(f"{source}: this is not a mapping. Write 'train:', 'val:' and 'names:'.")
    base = _inside(root, root, content["path"]) if isinstance(content.get("path"), str) else None
    if base is None or not base.is_dir():
        base = Path(os.path.normpath(root.absolute()))
    parts: dict[str, tuple[str, ...]] = {}
    missing: dict[str, str] = {}
    written: dict[str, tuple[str, ...]] = {}
    alone = len({str(value) for key, value in content.items() if key in _SPLIT_KEYS and value not in _NOTHING}) == 1
    for key, value in content.items():
        if key in _OTHER_KEYS or not isinstance(value, str | list):
            continue
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) for entry in entries) or entries in [[word] for word in _NOTHING]:
            continue
        written[key] = tuple(entries)
        locations = [_locate(root, base, entry, alone) for entry in entries]
        found = tuple(location for location in locations if location is not None)
        if len(found) == len(entries):
            parts[key] = found
        elif key in _SPLIT_KEYS:
            missing[key] = entries[locations.index(None)]
    for key, names in written.items():
        # Two names of another machine that end alike are not known to be the same folder.
        same = [other for other in parts if parts[other] == parts.get(key) and written[other] != names]
        if key in parts and same and not all((base / entry).exists() for entry in names):
            missing |= {other: written[other][0] for other in (key, *same)}
    parts = {key: found for key, found in parts.items() if key not in missing}
    if missing:
        bare = {standard_split(name): found for name, found in _bare_parts(root).items() if is_split_name(name)}
        for key, entry in missing.items():
            named = {standard_split(part) for part in last_parts(entry)[-2:] if is_split_name(part)}
            if standard_split(key) in named & bare.keys():
                parts[key] = bare[standard_split(key)]
        missing = {key: entry for key, entry in missing.items() if key not in parts}
    _say_what_was_found(source, written, parts, missing)
    if "all" in parts and set(parts.values()) == {parts["all"]}:
        parts = {"all": parts["all"]}  # as Saccade writes data sets without splits
    if not parts and not missing:
        raise DataError(f"{source}: it names no images. Write 'train:' and 'val:' with folders below {root}.")
    return Layout(source, _yaml_names(content, source), parts, missing, _point_rows(content, source))


def _say_what_was_found(
    source: Path, written: Mapping[str, Sequence[str]], parts: Mapping[str, Sequence[str]], missing: Mapping[str, str]
) -> None:
    """Log which folders are not those that are written, and which are not there."""
    for key, found in parts.items():
        for entry, location in zip(written[key], found, strict=False):
            if last_parts(location) != last_parts(entry) and location != ".":
                say_once(f"{source}: {key} is '{printable(entry, limit=120)}', for which '{location}' was found")
    for key, entry in missing.items():
        say_once(f"{source}: {key} is '{printable(entry, limit=120)}', which is not there; the split is missing")


def _inside(root: Path, base: Path, entry: str) -> Path | None:
    """A path as written in a file of ``root``, if it stays inside ``root``."""
    if "\0" in entry or max(len(part.encode()) for part in re.split(r"[/\\]", entry)) > LONGEST_NAME:
        return None
    whole = Path(os.path.normpath(root.absolute()))
    path = Path(os.path.normpath(base.absolute() / entry.replace("\\", "/")))
    return path if path.is_relative_to(whole) else None


def _locate(root: Path, base: Path, entry: str, alone: bool) -> str | None:
    """Path of an entry of ``train:`` below the data folder: a folder of images or rows, or a list.

    ``images`` alone, of a name of another machine, is only taken if it is ``alone``: if no other split is written.
    """
    whole = Path(os.path.normpath(root.absolute()))
    parts = last_parts(entry)
    tails = [(whole, "/".join(parts[first:])) for first in range(len(parts))]
    if len(parts) > 1 and parts[-1].lower() in _IMAGE_FOLDERS and not alone:
        tails.pop()
    for folder, name in ((base, entry), (whole, entry), (base, re.sub(r"^(\.\.[/\\])+", "", entry)), *tails):
        path = _inside(root, folder, name)
        if path is None:
            continue
        location = path.relative_to(whole).as_posix()
        rows = [where for where in _label_folders(location) if where != location and (root / where).is_dir()]
        if path.is_dir() or (path.suffix == ".txt" and path.is_file()) or rows:
            return location
    if has_pattern(entry) and match_pattern(list_images(root, recursive=True), entry):
        return entry
    return None


def _yaml_names(content: Mapping[str, Any], source: Path) -> dict[int, str]:
    names = content.get("names")
    if names is None:
        count = _whole(content.get("nc"), source, "nc")
        check_class_count(count, source, "nc")
        return {number: f"class_{number}" for number in range(count)}
    check_class_count(len(names) if isinstance(names, dict | list) else 0, source, "names")
    if isinstance(names, dict):
        texts = _texts(list(names.values()), source, "names")
        found = dict(zip((_whole(key, source, "names") for key in names), texts, strict=True))
        _check_unique(texts, source)
    else:
        found = _numbered(_texts(names, source, "names"), source)
    if "nc" in content and _whole(content["nc"], source, "nc") != len(found):
        raise DataError(f"{source}: nc is {content['nc']}, but there are {len(found)} names. Correct one of the two.")
    return dict(sorted(found.items()))


def _point_rows(content: Mapping[str, Any], source: Path) -> PointRows | None:
    if "kpt_shape" not in content:
        return None
    shape = _wholes(content["kpt_shape"], source, "kpt_shape")
    if len(shape) != 2 or not 1 <= shape[0] <= _MOST_POINTS or shape[1] not in (2, 3):
        raise DataError(f"{source}: kpt_shape is {shape[:9]}. Write '[points, 2]' or '[points, 3]'.")
    count = shape[0]
    names = [f"point_{number}" for number in range(count)]
    if "kpt_names" in content:
        given = content["kpt_names"]
        # Newer files list the points by class.
        names = _texts(next(iter(given.values()), []) if isinstance(given, dict) else given, source, "kpt_names")
        _check_unique(names, source)
        if len(names) != count:
            raise DataError(f"{source}: kpt_names has {len(names)} names, kpt_shape {count} points. Correct one.")
    mirrored = _wholes(content.get("flip_idx", []), source, "flip_idx")
    if mirrored and (sorted(mirrored) != list(range(count)) or any(mirrored[j] != i for i, j in enumerate(mirrored))):
        raise DataError(f"{source}: flip_idx does not exchange pairs of {count} points. Correct it.")
    pairs = tuple((first, second) for first, second in enumerate(mirrored) if first < second)
    return PointRows(tuple(names), shape[1], pairs)


def _texts(value: object, source: Path, key: str) -> list[str]:
    # Values other than text are not shown: aliases of YAML can make them endless.
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DataError(f"{source}: {key} is not a list of names. Write one name each.")
    return value


def _wholes(value: object, source: Path, key: str) -> list[int]:
    return [_whole(item, source, key) for item in (value if isinstance(value, list) else [value])]


def _whole(value: object, source: Path, key: str) -> int:
    shown = value if isinstance(value, str) else type(value).__name__
    if not isinstance(value, str) or not re.fullmatch(r"\s*\d{1,6}\s*", value):
        raise DataError(f"{source}: {key}: '{shown[:80]}' is not a whole number. Correct it.")
    return int(value)


def _darknet_names(root: Path) -> Path | None:
    """``obj.data``, or ``obj.names`` where there are lists of images beside it."""
    described = [root / name for name in list_files(root, [".data"], recursive=False)]
    if described:
        return described[0]
    if not any((root / name).is_file() for name in _LISTS):
        return None
    named = [*(root / name for name in list_files(root, [".names"], recursive=False)), root / "classes.txt"]
    return next((file for file in named if file.is_file()), None)


def _read_darknet(root: Path, source: Path) -> Layout:
    lists = {name.removesuffix(".txt"): name for name in _LISTS if (root / name).is_file()}
    missing: dict[str, str] = {}
    names_file = source
    if source.suffix == ".data":
        pairs = [line.split("=", 1) for line in _lines(source) if "=" in line]
        table = {key.strip(): value.strip() for key, value in pairs}
        finder = _Finder(root, source)
        lists = {}
        for key in _SPLIT_KEYS:
            if key in table:
                found = finder.find(table[key])
                lists |= {key: found} if found is not None else {}
                missing |= {key: table[key]} if found is None else {}
        named = finder.find(table.get("names", "obj.names"))
        if named is None:
            name = table.get("names", "")
            raise DataError(f"{source}: names is '{name}', which is not a file inside the data folder. Correct it.")
        names_file = root / named
    parts = {key: (name,) for key, name in lists.items()}
    return Layout(source, _numbered(_read_names(names_file), names_file), parts, missing)


def _bare_parts(root: Path) -> dict[str, tuple[str, ...]]:
    """Splits of folders that no file describes."""
    images = _named(root, "images")
    beside = [root / images, *(root / images / name for name in subfolders(root / images))] if images else []
    if images and (_has_rows(root / (_named(root, "labels") or "labels")) or any(map(_rows_beside, beside))):
        names = [name for name in subfolders(root / images) if has_images(root / images / name)]
        # Images directly in images/ belong to no split.
        split = bool(names) and not has_images(root / images, recursive=False)
        if has_images(root / images):
            return {name: (f"{images}/{name}",) for name in names} if split else {"all": (images,)}
    split_first: dict[str, tuple[str, ...]] = {}
    for name in subfolders(root):
        inner = _named(root / name, "images")
        labels = root / name / (_named(root / name, "labels") or "labels")
        if inner and has_images(root / name / inner) and (_has_rows(labels) or _rows_beside(root / name / inner)):
            split_first[name] = (f"{name}/{inner}",)
        elif is_split_name(name) and _rows_beside(root / name):
            split_first[name] = (name,)
    if split_first:
        return split_first
    return {"all": (".",)} if _rows_beside(root) else {}


def _named(root: Path, name: str) -> str:
    """A folder of that name in any case; empty if there is none."""
    return next((folder for folder in subfolders(root) if folder.lower() == name), "")


def _rows_beside(folder: Path) -> bool:
    """Whether files beside the images of a folder hold rows of numbers, or the folder lists its classes."""
    texts = [name for name in list_files(folder, [".txt"], recursive=False) if name != "classes.txt"]
    stems = {posixpath.splitext(name)[0] for name in list_images(folder)} if texts else set()
    own = [name for name in texts if name[: -len(".txt")] in stems]
    if own and (folder / "classes.txt").is_file():
        return True
    return any(_is_row(folder / name) for name in own[:_SAMPLED_FILES])


def _is_row(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            return _ROW.fullmatch(stream.readline(10_000).strip()) is not None
    except OSError:
        return False


def _label_parts(root: Path) -> dict[str, tuple[str, ...]]:
    """Splits of folders of rows whose images are in another folder, named as their folders of images would be."""
    if _has_rows(root / "labels"):
        direct = any(name != "classes.txt" for name in list_files(root / "labels", [".txt"], recursive=False))
        names = [] if direct else [name for name in subfolders(root / "labels") if _has_rows(root / "labels" / name)]
        return {name: (f"images/{name}",) for name in names} or {"all": ("images",)}
    return {"all": (".",)} if _has_rows(root) else {}


def _has_rows(folder: Path) -> bool:
    return any(posixpath.basename(name) != "classes.txt" for name in list_files(folder, [".txt"]))


def _read_names(path: Path) -> list[str]:
    lines = [line.strip() for line in _lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    check_class_count(len(lines), path, "class names")
    return [name or f"class_{number}" for number, name in enumerate(lines)]


def _numbered(names: Sequence[str], source: Path) -> dict[int, str]:
    _check_unique(names, source)
    return dict(enumerate(names))


def _check_unique(names: Iterable[str], source: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{source}: two classes or points are called '{name}'. Rename one of them.")
        seen.add(name)
