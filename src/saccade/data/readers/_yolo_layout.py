"""Layouts of YOLO data sets: the folders of images and rows, and the class names.

Found, in this order: a YAML file with ``names`` and ``train``, ``val``, ... (Ultralytics, Roboflow); Darknet's
``obj.data`` with lists of images; bare folders ``images/`` + ``labels/`` (also one of each a split, in either order),
or images and rows side by side with ``classes.txt``.

Data sets move from machine to machine, and their files name folders of another machine. A name is accepted if it leads
to something inside the data folder: as written, without leading ``../`` (Roboflow writes ``../train/images``
for its own ``train/images``), and in lists of images also without its first folders. Nothing outside the data folder
is opened.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from saccade.data.readers._common import LONGEST_NAME, SPLIT_NAMES, has_images, list_images, subfolders
from saccade.errors import DataError

__all__ = ["Layout", "PointRows", "find_layout", "list_part", "looks_like_yolo"]

_OPTIONS_FILE = "saccade.yaml"
_SPLIT_KEYS = (*SPLIT_NAMES, "all")
# Keys of data.yaml that are never a split, even if a folder has the name of their value.
_OTHER_KEYS = frozenset(
    {"path", "names", "nc", "kpt_shape", "kpt_names", "flip_idx", "download", "channels", "roboflow", "task"}
)
_NOTHING = ("", "null", "Null", "NULL", "~", "None")
_LISTS = tuple(f"{name}.txt" for name in SPLIT_NAMES)


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
        parts: By split, folders of images and lists (``.txt``) of images, below the data folder.
        missing: By split, a folder or list that is named but not there.
        points: Layout of the rows of a keypoint data set.
    """

    source: Path
    class_names: Mapping[int, str]
    parts: Mapping[str, tuple[str, ...]]
    missing: Mapping[str, str] = field(default_factory=dict)
    points: PointRows | None = None


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
    classes = next((file for file in (root / "classes.txt", root / "labels" / "classes.txt") if file.is_file()), None)
    return Layout(classes or root, _numbered(_read_names(classes), classes) if classes else {}, parts)


def list_part(root: Path, layout: Layout, split: str, image_root: Path) -> list[tuple[str, str]]:
    """Images of a split and the files of their rows, which need not exist.

    Args:
        root: Data folder.
        layout: Its layout.
        split: One of ``layout.parts``.
        image_root: Folder of the images, if it is not ``root``.

    Returns:
        Name of the image below ``image_root`` and of its rows below ``root``.

    Raises:
        DataError: If there are no images, or a listed one is not there.

    Example:
        >>> Path("images").mkdir()
        >>> Path("images/a.jpg").touch()
        >>> list_part(Path(), Layout(Path(), {}, {"all": ("images",)}), "all", Path())
        [('images/a.jpg', 'labels/a.txt')]
    """
    found: list[tuple[str, str]] = []
    for part in layout.parts[split]:
        if (root / part).is_file():
            found += _from_list(root, root / part, image_root)
        elif image_root == root:
            found += [(name, _label_name(name)) for name in _images_below(root, part)]
        else:
            found += _from_labels(root, _label_folder(part), image_root)
    if not found:
        raise DataError(f"{image_root}: split '{split}' has no images. Put them there, or name another folder.")
    return found


def _images_below(root: Path, part: str) -> list[str]:
    prefix = "" if part == "." else f"{part}/"
    return [prefix + name for name in list_images(root / part, recursive=True)]


def _label_name(image: str) -> str:
    """File of an image's rows: ``labels/train/a.txt`` for ``images/train/a.jpg``; without such a folder, beside it."""
    folder, name = posixpath.split(image)
    return posixpath.join(_label_folder(folder), f"{posixpath.splitext(name)[0]}.txt")


def _label_folder(images: str) -> str:
    """Folder of the rows: the last folder named ``images`` becomes ``labels``."""
    parts = images.split("/")
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return "/".join(parts)


def _from_labels(root: Path, labels: str, image_root: Path) -> list[tuple[str, str]]:
    """Images elsewhere that have rows in a folder."""
    pairs = ((name, f"{labels}/{PurePosixPath(name).with_suffix('.txt')}") for name in list_images(image_root, True))
    return [(name, label) for name, label in pairs if (root / label).is_file()]


def _from_list(root: Path, source: Path, image_root: Path) -> list[tuple[str, str]]:
    images = _Finder(image_root, source, loose=image_root != root)
    rows = _Finder(root, source)
    found = []
    for number, line in enumerate(source.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        name = images.find(line.strip())
        if name is None:
            raise DataError(
                f"{source}: line {number} is '{line.strip()[:200]}', which is not a file inside the data folder. "
                "Restore the image, or write its name relative to the folder."
            )
        label = _label_name(name)
        if image_root != root:
            label = rows.find(_label_name(line.strip().replace("\\", "/"))) or label
        found.append((name, label))
    return found


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
    files = [*root.glob("*.yaml"), *root.glob("*.yml")]
    for file in sorted(files, key=lambda file: (file.stem != "data", file.stem != "dataset", file.name)):
        if file.name == _OPTIONS_FILE or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if re.search(r"^(names|nc)\s*:", text, re.M) and re.search(rf"^({'|'.join(_SPLIT_KEYS)})\s*:", text, re.M):
            return file
    return None


def _read_yaml(root: Path, source: Path) -> Layout:
    import yaml

    try:
        # Every scalar stays text: a class may be called "no" or "1".
        content = yaml.load(source.read_text(encoding="utf-8-sig"), yaml.BaseLoader)  # noqa: S506 makes text only
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{source}: this is not valid YAML ({error}). Correct it.") from error
    if not isinstance(content, dict):
        raise DataError(f"{source}: this is not a mapping. Write 'train:', 'val:' and 'names:'.")
    base = _inside(root, root, content["path"]) if isinstance(content.get("path"), str) else None
    if base is None or not base.is_dir():
        base = Path(os.path.normpath(root.absolute()))
    parts: dict[str, tuple[str, ...]] = {}
    missing: dict[str, str] = {}
    for key, value in content.items():
        if key in _OTHER_KEYS or not isinstance(value, str | list):
            continue
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) for entry in entries) or entries in [[word] for word in _NOTHING]:
            continue
        locations = [_locate(root, base, entry) for entry in entries]
        found = tuple(location for location in locations if location is not None)
        if len(found) == len(entries):
            parts[key] = found
        elif key in _SPLIT_KEYS:
            missing[key] = entries[locations.index(None)]
    if "all" in parts and set(parts.values()) == {parts["all"]}:
        parts = {"all": parts["all"]}  # as Saccade writes data sets without splits
    return Layout(source, _yaml_names(content, source), parts, missing, _point_rows(content, source))


def _inside(root: Path, base: Path, entry: str) -> Path | None:
    """A path as written in a file of ``root``, if it stays inside ``root``."""
    if "\0" in entry or max(len(part.encode()) for part in re.split(r"[/\\]", entry)) > LONGEST_NAME:
        return None
    whole = Path(os.path.normpath(root.absolute()))
    path = Path(os.path.normpath(base.absolute() / entry.replace("\\", "/")))
    return path if path.is_relative_to(whole) else None


def _locate(root: Path, base: Path, entry: str) -> str | None:
    """Path of an entry of ``train:`` below the data folder: a folder of images or rows, or a list."""
    whole = Path(os.path.normpath(root.absolute()))
    for folder, name in ((base, entry), (whole, entry), (base, re.sub(r"^(\.\.[/\\])+", "", entry))):
        path = _inside(root, folder, name)
        if path is None:
            continue
        location = path.relative_to(whole).as_posix()
        if path.is_dir() or (path.suffix == ".txt" and path.is_file()) or (root / _label_folder(location)).is_dir():
            return location
    return None


def _yaml_names(content: Mapping[str, Any], source: Path) -> dict[int, str]:
    names = content.get("names")
    if names is None:
        return {number: f"class_{number}" for number in range(_whole(content.get("nc"), source, "nc"))}
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
    if len(shape) != 2 or shape[0] < 1 or shape[1] not in (2, 3):
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
    described = sorted(file for file in root.glob("*.data") if file.is_file())
    if described:
        return described[0]
    if not any((root / name).is_file() for name in _LISTS):
        return None
    named = [*sorted(root.glob("*.names")), root / "classes.txt"]
    return next((file for file in named if file.is_file()), None)


def _read_darknet(root: Path, source: Path) -> Layout:
    lists = {name.removesuffix(".txt"): name for name in _LISTS if (root / name).is_file()}
    missing: dict[str, str] = {}
    names_file = source
    if source.suffix == ".data":
        pairs = [line.split("=", 1) for line in source.read_text(encoding="utf-8-sig").splitlines() if "=" in line]
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
    if _has_rows(root / "labels") and has_images(root / "images"):
        names = [name for name in subfolders(root / "images") if has_images(root / "images" / name)]
        # Images directly in images/ belong to no split.
        split = bool(names) and not has_images(root / "images", recursive=False)
        return {name: (f"images/{name}",) for name in names} if split else {"all": ("images",)}
    split_first = [
        name for name in subfolders(root) if _has_rows(root / name / "labels") and has_images(root / name / "images")
    ]
    if split_first:
        return {name: (f"{name}/images",) for name in split_first}
    if (root / "classes.txt").is_file():
        stems = {PurePosixPath(name).stem for name in list_images(root)}
        if any(file.stem in stems for file in root.glob("*.txt")):
            return {"all": (".",)}
    return {}


def _label_parts(root: Path) -> dict[str, tuple[str, ...]]:
    """Splits of folders of rows whose images are in another folder, named as their folders of images would be."""
    if _has_rows(root / "labels"):
        direct = any(file.name != "classes.txt" for file in (root / "labels").glob("*.txt"))
        names = [] if direct else [name for name in subfolders(root / "labels") if _has_rows(root / "labels" / name)]
        return {name: (f"images/{name}",) for name in names} or {"all": ("images",)}
    return {"all": (".",)} if _has_rows(root) else {}


def _has_rows(folder: Path) -> bool:
    return folder.is_dir() and any(file.name != "classes.txt" for file in folder.rglob("*.txt"))


def _read_names(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the class names cannot be read ({error}). Write one name a line.") from error
    while lines and not lines[-1]:
        lines.pop()
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
