"""Score a file of predictions: COCO's result format against any data set.

https://cocodataset.org/#format-results: a list of ``{image_id, category_id, score}`` with ``bbox`` (x, y, width,
height), ``segmentation`` (run lengths) or ``keypoints`` (x, y, anything, ... as indices of pixels). Category ids are
those of the data set; where it has none of its own, they are its labels. Numbers may be text, an image may be named by
its file, with or without folders and suffix, and a category by its name. The file is decoded some thousand entries at a
time into arrays. Run lengths are checked before the compiled code that trusts them sees them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from saccade.data.tables.run_lengths import EncodedMask
from saccade.errors import DataError
from saccade.metrics.base import MetricReport
from saccade.metrics.coco import CocoEvaluator
from saccade.metrics.coco_results import RESULT_FIELDS, result_evaluator
from saccade.metrics.overlaps import RunLengths
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.reading import read_bytes
from saccade.structures.text import printable

__all__ = ["evaluate_predictions", "find_iou_type"]

_AT_A_TIME = 20_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_Id = int | float | str


class _Entry(msgspec.Struct, gc=False):
    image_id: _Id
    category_id: _Id
    score: float


class _Box(_Entry, gc=False):
    bbox: tuple[float, float, float, float]


class _Mask(_Entry, gc=False):
    segmentation: EncodedMask


class _Points(_Entry, gc=False):
    keypoints: list[float]


def find_iou_type(path: str | Path) -> str | None:
    """Find what the entries of a result file compare; None of a file of several kinds or none.

    Raises:
        DataError: If the file is no list in JSON.

    Example:
        >>> _ = Path("masks.json").write_text('[{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": {}}]')
        >>> find_iou_type("masks.json")
        'segm'
    """
    entries = _entries(Path(path))
    if not entries:
        return None
    try:
        first = msgspec.json.decode(entries[0])
    except (msgspec.DecodeError, RecursionError):
        return None  # the reader names what is wrong with it
    kinds = [kind for field, kind in RESULT_FIELDS.items() if isinstance(first, dict) and first.get(field) is not None]
    return kinds[0] if len(kinds) == 1 else None


def evaluate_predictions(
    path: str | Path, dataset: VisionDataset, iou_type: str | None = None, max_detections: int | None = None
) -> MetricReport:
    """Score the predictions of a COCO result file against a data set.

    Images without an entry in the file count as images where nothing was found.

    Args:
        path: JSON file.
        dataset: Images with ground truth; for ``segm`` opened with ``masks=True``. The images themselves are not read.
        iou_type: ``bbox``, ``segm`` or ``keypoints``; boxes or keypoints, as the data set is read, if not given.
        max_detections: Of boxes and masks: detections that count in an image and class; COCO's 100 if not given.

    Raises:
        DataError: If the file is malformed, or names an image or a category that the data set does not have.
        ConfigError: If the data set is not read for ``iou_type``.

    Example:
        >>> import json
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.tasks import get_task
        >>> data = DigitScenes("detection", "val", count=1)
        >>> sample = data.read(0)
        >>> perfect = get_task("detection").from_target(sample.target, sample.info, data.info.class_names)
        >>> _ = Path("results.json").write_text(json.dumps(perfect.to_coco()))
        >>> round(evaluate_predictions("results.json", data).values["AP"], 3)
        1.0
    """
    source = Path(path)
    evaluator = result_evaluator(dataset.info, iou_type, max_detections)
    known = getattr(dataset, "image_ids", None)
    image_ids = np.arange(len(dataset)) if known is None else np.asarray(known, np.int64)
    file = _ResultFile(source, dataset, image_ids, has_ids=known is not None)
    if not isinstance(evaluator, CocoEvaluator):
        file.read(_Points)
    else:
        file.read(_Box if evaluator.iou_type == "bbox" else _Mask)
    for index, image_id in enumerate(image_ids.tolist()):
        rows = file.rows(index)
        about = dataset.path(index), image_id, file.scores[rows]
        target = dataset.target(index)
        if not isinstance(evaluator, CocoEvaluator):
            evaluator.add_points(*about, target, file.values[rows])
        elif evaluator.iou_type == "bbox":
            evaluator.add_boxes(*about, file.labels[rows], target, file.values[rows])
        else:
            evaluator.add_masks(*about, file.labels[rows], target, [file.masks[row] for row in rows.tolist()])
    return evaluator.compute()


class _ResultFile:
    """Entries as arrays; :meth:`read` once, then :meth:`rows` of any image.

    Args:
        source: The file.
        dataset: The data set.
        image_ids: Numbers of its images.
        has_ids: Whether these are its own, and not counted.
    """

    def __init__(self, source: Path, dataset: VisionDataset, image_ids: NDArray[np.int64], has_ids: bool) -> None:
        info = dataset.info
        self.source = source
        self._points = len(info.class_names)
        categories = info.category_ids or range(len(info.class_names))
        self._labels = _Numbers(categories, lambda: _class_names(info), bool(info.category_ids))
        self._images = _Numbers(image_ids.tolist(), lambda: _file_names(dataset), has_ids)
        self._position = 0
        self.scores = np.zeros(0)
        self.labels = np.zeros(0, np.int64)
        self.values = np.zeros(0)  # boxes (N, 4), or points (N, K, 2) in pixels
        self.masks: list[RunLengths] = []
        self._order = np.zeros(0, np.int64)
        self._bounds = np.zeros(len(image_ids) + 1, np.int64)

    def rows(self, index: int) -> NDArray[np.int64]:
        """Entries of an image, in the file's order."""
        return self._order[self._bounds[index] : self._bounds[index + 1]]

    def read(self, kind: type[_Entry]) -> None:
        """Decode the file; entries must have the fields of ``kind``."""
        chunks = self._chunks()
        images, labels, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
        values: list[NDArray[np.float64]] = [self._values([], kind)]
        for chunk in chunks:
            entries = self._decode(chunk, kind)
            images.append(self._look_up(entries, "image_id", self._images))
            labels.append(self._look_up(entries, "category_id", self._labels))
            scores.append(np.array([entry.score for entry in entries]))
            values.append(self._values(entries, kind))
            self._position += len(entries)
        image = np.concatenate(images)
        self.labels, self.scores, self.values = np.concatenate(labels), np.concatenate(scores), np.concatenate(values)
        self._order = np.argsort(image, kind="stable")
        np.cumsum(np.bincount(image, minlength=len(self._bounds) - 1), out=self._bounds[1:])

    def _chunks(self) -> list[list[msgspec.Raw]]:
        entries = _entries(self.source)
        return [entries[start : start + _AT_A_TIME] for start in range(0, len(entries), _AT_A_TIME)]

    def _decode(self, chunk: list[msgspec.Raw], kind: type[_Entry]) -> list[Any]:
        try:
            entries: list[Any] = msgspec.json.decode(b"[" + b",".join(chunk) + b"]", type=list[kind], strict=False)  # type: ignore[valid-type]
        except (msgspec.DecodeError, RecursionError) as error:
            problem, _, location = str(error).replace("`", "").partition(" - at $")
            match = re.match(r"\[(\d+)\]\.?(.*)", location)
            number, field = (int(match[1]), match[2]) if match else (0, "")
            raise self._fault(number, field, problem[:1].lower() + problem[1:]) from error
        return entries

    def _look_up(self, entries: list[Any], field: str, numbers: _Numbers) -> NDArray[np.int64]:
        found = np.array([numbers.find(getattr(entry, field)) for entry in entries], np.int64)
        if (found < 0).any():
            number = int(np.argmax(found < 0))
            wrong = getattr(entries[number], field)
            shown = f"'{printable(wrong, limit=80)}'" if isinstance(wrong, str) else wrong
            raise self._fault(number, field, f"{shown} is not in the data set; it has {numbers.some(wrong)}")
        return found

    def _values(self, entries: list[Any], kind: type[_Entry]) -> NDArray[np.float64]:
        """Boxes or points; masks go to their own list."""
        if kind is _Box:
            return np.array([entry.bbox for entry in entries], np.float64).reshape(-1, 4)
        if kind is _Points:
            for number, entry in enumerate(entries):
                if len(entry.keypoints) != 3 * self._points:
                    problem = f"there are {len(entry.keypoints)} numbers, not {3 * self._points}"
                    raise self._fault(number, _Points.__struct_fields__[-1], problem)
            points = np.array([entry.keypoints for entry in entries], np.float64).reshape(-1, self._points, 3)
            return points[..., :2] + 0.5  # from the index of a pixel to its centre
        for number, entry in enumerate(entries):
            self.masks.append(self._run_lengths(number, entry.segmentation))
        return np.zeros(len(entries))

    def _run_lengths(self, number: int, mask: EncodedMask) -> RunLengths:
        from faster_coco_eval.core import mask as codec

        field = _Mask.__struct_fields__[-1]
        height, width = mask.size
        try:
            counts = mask.run_lengths()
        except (ValueError, OverflowError) as error:
            raise self._fault(number, field, str(error)) from error
        if (counts < 0).any():
            raise self._fault(number, field, "a run is negative")
        if height < 1 or width < 1 or int(counts.sum()) != height * width:
            raise self._fault(number, field, f"the runs sum to {int(counts.sum())}, not to {height} x {width} pixels")
        if isinstance(mask.counts, str):
            return {"size": [height, width], "counts": mask.counts.encode()}
        plain = {"size": [height, width], "counts": mask.counts}
        encoded: RunLengths = codec.frPyObjects(plain, height, width)
        return encoded

    def _fault(self, number: int, field: str, problem: str) -> DataError:
        where = f"[{self._position + number}]" + (f".{field}" if field else "")
        return DataError(f"{self.source}: {where}: {problem}. Correct or remove the entry.")


class _Numbers:
    """Positions of images or classes, by number or by name.

    Args:
        numbers: One a position.
        names: Positions by name; asked for at the first text.
        own: Whether the numbers are the data set's own: text of digits is then a number before it is a name.
    """

    def __init__(self, numbers: Sequence[int], names: Callable[[], dict[str, list[int]]], own: bool) -> None:
        self._positions = {number: position for position, number in enumerate(numbers)}
        self._make_names = names
        self._own = own
        self._names: dict[str, list[int]] | None = None
        self._known: dict[str, int] = {}

    def find(self, wanted: _Id) -> int:
        """Position; -1 if there is none, or several of that name."""
        if isinstance(wanted, str):
            if wanted not in self._known:
                ways = (self._by_number, self._by_name) if self._own else (self._by_name, self._by_number)
                self._known[wanted] = next((found for way in ways if (found := way(wanted)) >= 0), -1)
            return self._known[wanted]
        return self._positions.get(int(wanted), -1) if wanted == wanted // 1 else -1

    def some(self, wanted: _Id) -> str:
        """The first few numbers, or names."""
        names = {positions[0]: name for name, positions in reversed(self._named().items())}  # the first of each
        known = [*names.values()][::-1] if isinstance(wanted, str) else list(map(str, self._positions))
        shown = printable(", ".join(known[:5]))
        return shown + (f", ... ({len(known)})" if len(known) > 5 else "")

    def _by_number(self, text: str) -> int:
        return self._positions.get(int(text), -1) if text.isascii() and text.strip().isdigit() else -1

    def _by_name(self, text: str) -> int:
        parts = PurePosixPath(text.replace("\\", "/")).parts
        # The longest end of the path that one image alone has.
        for start in range(len(parts)):
            found = self._named().get("/".join(parts[start:]), [])
            if len(found) == 1:
                return found[0]
        return -1

    def _named(self) -> dict[str, list[int]]:
        if self._names is None:
            self._names = self._make_names()
        return self._names


def _class_names(info: DatasetInfo) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(info.class_names):
        found[name].append(label)
    return found


def _file_names(dataset: VisionDataset) -> dict[str, list[int]]:
    """Images by the ends of their paths, with and without the suffix."""
    found: dict[str, list[int]] = defaultdict(list)
    for index in range(len(dataset)):
        path = PurePosixPath(str(dataset.path(index)).replace("\\", "/"))
        ends = ["/".join(path.parts[-count:]) for count in range(1, min(len(path.parts), 4) + 1)]
        stem_length = len(path.suffix)
        for end in dict.fromkeys([*ends, *(end[: len(end) - stem_length] for end in ends)]):
            found[end].append(index)
    return found


def _entries(source: Path) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(read_bytes(source).removeprefix(_BYTE_ORDER_MARK), type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        raise DataError(
            f"{source}: predictions are a list of entries, and this is none ({error}). "
            "Write it as in COCO's results format."
        ) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{source}: this is not valid JSON ({error}). Write or copy the file again.") from error
