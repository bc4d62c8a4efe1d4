"""Classes of label maps that come without names: the values that occur in all of them, or why they are none.

What the values can mean:

- 0 and 1, 0 and 255, or 0 and 65535: ``background`` and ``foreground``. Maps of the first two kinds may be mixed; a 255
  beside a 1 in one map is ignored.
- Two peaks, at 0 and at the largest value, that hold nearly all pixels, and edges between them (smoothed masks, JPEG):
  the same, divided at half.
- Other values: each that occurs is a class, ``class_V``; values in between that occur nowhere are no classes. 255 is
  ignored, unless the values are a few greys spread over the range (0, 85, 170, 255).
- Photographs, blurred label maps, label maps in JPEG and depth of 16 bits are refused as what they are.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saccade.data.images.decode import read_label_map
from saccade.data.notices import say_once
from saccade.errors import DataError
from saccade.structures.sample import IGNORE_LABEL

__all__ = ["BINARY_NAMES", "CLASS_FILE", "MapClasses", "MapValues", "binary_values", "infer_classes", "scan_maps"]

logger = logging.getLogger("saccade")

CLASS_FILE = "class_names.txt"
BINARY_NAMES = ("background", "foreground")

_MANY_MAPS = 2000  # above, the log says that they are being read
_FULL16 = (1 << 16) - 1
_PEAK = 1 / 8  # share of the range that belongs to a peak of a mask
_IN_PEAKS = 0.9  # share of the pixels of a mask that lie there
_MOST = 254  # classes of a label map
_FEW = 16  # values that maps may have without looking at how they lie
_LEAST_FLAT = 0.6  # share of the pixels of a label map that equal their right and lower neighbours
_SOFT = 3  # values between the peaks from which on they are edges, not a class
_SPREAD = 64  # largest value from which on few labels are greys spread over the range
_MAIN = 8  # values that a blurred map may have had before
_LEAST_FLAT_REST = 0.2  # share of the pixels of other values that equal their neighbours; edges have hardly any
_REMEDY = (
    f"Write the classes into {CLASS_FILE} (line 1 is value 0), or class_names and values into saccade.yaml, if they "
    "are meant otherwise."
)


@dataclass(frozen=True)
class MapValues:
    """What occurs in the label maps of a data set.

    Args:
        counts: Pixels by value.
        kinds: How many maps have only 0 and 1, only 0 and 255, both 1 and 255, or others; none counts maps of 0 alone.
        flat: Pixels that equal their right and lower neighbours, by value.
        jpeg: How many maps are JPEG.
        example: A map with values other than 0, 1 and 255, or the first.
        maps: Number of maps.
    """

    counts: dict[int, int]
    kinds: dict[str, int]
    flat: dict[int, int]
    jpeg: int
    example: Path
    maps: int

    @property
    def values(self) -> list[int]:
        """Values that occur, rising."""
        return sorted(self.counts)


@dataclass(frozen=True)
class MapClasses:
    """Classes of label maps, and the label of each stored value.

    Args:
        names: Name of each label.
        values: Label by stored value; values that are not listed are ignored (255) or none.
    """

    names: tuple[str, ...]
    values: dict[int, int]


_SCANNED: dict[tuple[object, ...], MapValues] = {}  # of the last data sets, by their files
_MOST_SCANNED = 16


def scan_maps(files: Sequence[Path]) -> MapValues:
    """Read all label maps of a data set once; the result is kept in memory while the files stay as they are.

    Args:
        files: Label maps of all splits.

    Raises:
        DataError: If none of them can be read. Others that cannot are passed over; reading them says why.

    Example:
        >>> import cv2
        >>> _ = cv2.imwrite("a.png", np.array([[0, 0, 3]], np.uint8))
        >>> scan_maps([Path("a.png")]).counts
        {0: 2, 3: 1}
    """
    key = tuple((str(file), *_state(file)) for file in files)
    if key in _SCANNED:
        return _SCANNED[key]
    if len(files) > _MANY_MAPS:
        say_once(
            f"{files[0].parent}: {len(files)} label maps are read to find the classes; a list of them in {CLASS_FILE} "
            "or saccade.yaml saves this"
        )
    counts: dict[int, int] = {}
    kinds = dict.fromkeys(("ones", "full", "both", "other"), 0)
    flat: dict[int, int] = {}
    jpeg = 0
    example: Path | None = None
    broken: list[DataError] = []
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        for number, (file, found) in enumerate(zip(files, pool.map(_scan, files), strict=True), 1):
            if isinstance(found, DataError):
                broken.append(found)
                continue
            values, own_counts, own_flat, is_jpeg = found
            for value, count, same in zip(values, own_counts, own_flat, strict=True):
                counts[value] = counts.get(value, 0) + count
                flat[value] = flat.get(value, 0) + same
            kind = _kind(set(values))
            if kind:
                kinds[kind] += 1
            if kind == "other" and example is None:
                example = file
            jpeg += is_jpeg
            if number % _MANY_MAPS == 0:
                logger.info("%s: %d of %d label maps are read", files[0].parent, number, len(files))
    if len(broken) == len(files):
        raise broken[0]
    result = MapValues(dict(sorted(counts.items())), kinds, flat, jpeg, example or files[0], len(files))
    while len(_SCANNED) >= _MOST_SCANNED:
        del _SCANNED[next(iter(_SCANNED))]
    _SCANNED[key] = result
    return result


def infer_classes(found: MapValues, root: Path, ignore: Collection[int] = ()) -> MapClasses:
    """Classes of label maps without names, said once in the log.

    Args:
        found: Values of all maps.
        root: Data folder, for messages.
        ignore: Values that are no class.

    Raises:
        DataError: If the values cannot be labels, or there is only one.

    Example:
        >>> import cv2
        >>> _ = cv2.imwrite("a.png", np.array([[0, 0, 255]], np.uint8))
        >>> infer_classes(scan_maps([Path("a.png")]), Path("cells"))
        MapClasses(names=('background', 'foreground'), values={0: 0, 255: 1})
        >>> _ = cv2.imwrite("b.png", np.array([[0, 1, 4]], np.uint8))
        >>> infer_classes(scan_maps([Path("b.png")]), Path("roads")).names
        ('class_0', 'class_1', 'class_4')
    """
    values = set(found.values) - set(ignore)
    if len(values) == 1 or not values:
        only = f"hold nothing but {min(values)}" if values else "hold nothing but values that are ignored"
        raise DataError(f"{root}: all {found.maps} label maps {only}, so there is nothing to learn. Check label_dir.")
    binary = binary_values(found, root, ignore)
    if binary is not None:
        return MapClasses(BINARY_NAMES, binary)
    _refuse(found, values)
    labels = sorted(values - {IGNORE_LABEL})
    if IGNORE_LABEL in values and _SPREAD <= labels[-1] >= 4 * len(labels):
        labels.append(IGNORE_LABEL)  # one of a few greys, such as 0, 85, 170, 255
    names = tuple(f"class_{value}" for value in labels)
    missing = sorted(set(range(labels[-1])) - set(labels) - set(ignore))
    gaps = f" (no map has {_ranges(missing)}, so that labels are fewer than values)" if missing else ""
    ignored = "; 255 is ignored" if IGNORE_LABEL in values - set(labels) else ""
    say_once(
        f"{root}: the classes of the label maps have no names and are taken from the values that occur: "
        f"{_ranges(labels)}{gaps}{ignored}. {_REMEDY}"
    )
    return MapClasses(names, {value: label for label, value in enumerate(labels)})


def binary_values(
    found: MapValues, root: Path, ignore: Collection[int] = (), named: bool = False
) -> dict[int, int] | None:
    """Label of each value of masks, 0 for background and 1 for foreground; None if the maps are no masks.

    Args:
        found: Values of all maps.
        root: Data folder, for messages.
        ignore: Values that are no class.
        named: The classes have names, so that 0 and 1 need no word in the log.

    Raises:
        DataError: If maps of 0 and 1 are mixed with smoothed ones.

    Example:
        >>> import cv2
        >>> _ = cv2.imwrite("a.png", np.array([[0, 0, 255]], np.uint8)), cv2.imwrite("b.png", np.eye(3, dtype=np.uint8))
        >>> binary_values(scan_maps([Path("a.png"), Path("b.png")]), Path("cells"))
        {0: 0, 1: 1, 255: 1}
    """
    values = set(found.values) - set(ignore)
    said = f"{root}: the values of the label maps are taken for background and foreground"
    if values <= {0, 1, IGNORE_LABEL}:
        if IGNORE_LABEL not in values or found.kinds["both"]:
            ignored = "; 255 is ignored" if IGNORE_LABEL in values else ""
            if not named:
                say_once(f"{said}: 0 and 1{ignored}. {_REMEDY}")
            return {0: 0, 1: 1}
        if 1 in values:
            say_once(
                f"{said}: some maps have 0 and 1 ({found.kinds['ones']}), others 0 and 255 ({found.kinds['full']}); "
                f"both 1 and 255 are foreground. {_REMEDY}"
            )
            return {0: 0, 1: 1, IGNORE_LABEL: 1}
        say_once(f"{said}: 0 and 255. {_REMEDY}")
        return {0: 0, IGNORE_LABEL: 1}
    top = max(values)
    if values == {0, top} and top in (254, _FULL16):
        say_once(f"{said}: 0 and {top}. {_REMEDY}")
        return {0: 0, top: 1}
    full = IGNORE_LABEL if top <= IGNORE_LABEL else _FULL16
    total = sum(found.counts[value] for value in values)
    low = sum(found.counts[value] for value in values if value <= full * _PEAK)
    high = sum(found.counts[value] for value in values if value >= full * (1 - _PEAK))
    between = [value for value in values if full * _PEAK < value < full * (1 - _PEAK)]
    near = [value for value in values if value not in (0, full) and value not in between]
    if not (high and low and low + high >= _IN_PEAKS * total and (len(between) >= _SOFT or (near and found.jpeg))):
        return None
    if found.kinds["ones"]:
        raise DataError(
            f"{root}: {found.kinds['ones']} label maps hold 0 and 1, others have soft edges between 0 and {full} "
            f"({found.example.name}). Save all in the same way."
        )
    say_once(
        f"{said}: nearly all pixels are near 0 or {full}; the soft edges between them are divided at half. {_REMEDY}"
    )
    return {value: int(value > full // 2) for value in range(full + 1)}


def _refuse(found: MapValues, values: set[int]) -> None:
    """Refuse values that are no labels, as what they are."""
    labels = sorted(values - {IGNORE_LABEL})
    if found.jpeg:
        raise DataError(
            f"{found.example}: the label map is a JPEG, which changes the values of pixels ({len(labels)} occur). Save "
            "label maps as PNG."
        )
    if labels[-1] > IGNORE_LABEL:
        raise DataError(
            f"{found.example}: the label map has values up to {labels[-1]}, more than classes can have. If they "
            "number objects, name the format instance_masks, or give instance_divisor; if they are depth or the like, "
            "name another label_dir."
        )
    if len(labels) <= _FEW:
        return
    total = sum(found.counts[value] for value in labels)
    if sum(found.flat[value] for value in labels) < _LEAST_FLAT * total:
        raise DataError(
            f"{found.example}: {len(labels)} values change from pixel to pixel, as in a photograph, not in a label "
            "map. Name the folder of label maps by label_dir in saccade.yaml."
        )
    rest = sorted(labels, key=lambda value: found.counts[value])[:-_MAIN]
    if sum(found.flat[value] for value in rest) < _LEAST_FLAT_REST * sum(found.counts[value] for value in rest):
        raise DataError(
            f"{found.example}: {len(labels)} values occur, most of them only along edges: the label map is blurred, so "
            "that values between those of classes arise. Save it again without smoothing (nearest pixel), or give "
            "class_names and values in saccade.yaml."
        )
    if len(labels) > _MOST:
        raise DataError(
            f"{found.example}: {len(labels)} values occur in the label maps, and a label map holds {_MOST} classes. If "
            "they number objects, name the format instance_masks, or give instance_divisor."
        )


def _kind(values: set[int]) -> str:
    """What a single map may be; empty for one of 0 alone."""
    if not values <= {0, 1, IGNORE_LABEL}:
        return "other"
    if {1, IGNORE_LABEL} <= values:
        return "both"
    return "ones" if 1 in values else "full" if IGNORE_LABEL in values else ""


def _scan(file: Path) -> tuple[list[int], list[int], list[int], bool] | DataError:
    """Values of one map, their pixels, those that equal their right and lower neighbours; whether it is a JPEG."""
    try:
        pixels = read_label_map(file)
    except DataError as error:
        return error
    counts = np.bincount(pixels.reshape(-1))
    values = np.flatnonzero(counts)
    inner = pixels[:-1, :-1]
    same = inner[(inner == pixels[:-1, 1:]) & (inner == pixels[1:, :-1])]
    flat = np.bincount(same, minlength=len(counts))
    with file.open("rb") as stream:
        jpeg = stream.read(2) == b"\xff\xd8"
    return values.tolist(), counts[values].tolist(), flat[values].tolist(), jpeg


def _state(file: Path) -> tuple[int, int]:
    """Time and size by which a changed file is told."""
    try:
        state = file.stat()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}. Check its name and rights.") from error
    return state.st_mtime_ns, state.st_size


def _ranges(values: Sequence[int]) -> str:
    """Rising numbers, in short: ``0-3, 7``."""
    parts: list[list[int]] = []
    for value in values:
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
