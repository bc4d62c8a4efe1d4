"""Proposals of the user's own, from a JSON file in COCO's form: [{"image_id", "bbox": [x, y, width, height], "score"}].

Where the file has ``images`` with file names, or each proposal a ``file_name``, names decide which image is meant; else
the ids of the data set do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.selective_search import Proposals, falling_scores
from saccade.data.readers._json_files import describe_error, read_json
from saccade.errors import DataError
from saccade.structures.text import printable

__all__ = ["ProposalFile", "read_proposals", "repair_proposals"]

_FURTHEST = 1e9  # pixels
_SLACK = 0.01  # pixels beyond the edge that rounding explains


class _Entry(msgspec.Struct, gc=False):
    bbox: tuple[float, float, float, float]
    image_id: int | str | None = None
    file_name: str | None = None
    score: float | None = None


class _Image(msgspec.Struct, gc=False):
    id: int | str
    file_name: str


class _Content(msgspec.Struct, gc=False):
    images: list[_Image] | None = None
    annotations: list[_Entry] | None = None
    proposals: list[_Entry] | None = None


class ProposalFile:
    """Proposals of many images, as a file holds them.

    Args:
        path: The file.
        images: What stands for each image: its name, or its id.
        owners: (N,) image of each proposal.
        boxes_xyxy: (N, 4).
        scores: (N,).
    """

    def __init__(
        self,
        path: Path,
        images: Sequence[str | int],
        owners: NDArray[np.int64],
        boxes_xyxy: NDArray[np.float32],
        scores: NDArray[np.float32],
    ) -> None:
        self.path, self.images = path, list(images)
        order = np.lexsort((-scores, owners))  # equal scores stay in the file's order
        self._boxes, self._scores = boxes_xyxy[order], scores[order]
        self._starts = np.searchsorted(owners[order], np.arange(len(self.images) + 1))
        self._ids = {image: number for number, image in enumerate(self.images) if isinstance(image, int)}
        self._names: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        for number, image in enumerate(self.images):
            if isinstance(image, str):
                parts = _parts(image)
                self._names.setdefault(parts[-1], []).append((parts, number))

    @property
    def named(self) -> bool:
        """Whether images are known by their names rather than by ids."""
        return bool(self._names)

    def find(self, path: str, image_id: int) -> int | None:
        """Number in ``images`` of the image with this path and id; None if it is not there.

        Raises:
            DataError: If several names could be meant.
        """
        if not self._names:
            return self._ids.get(image_id)
        parts = _parts(path)
        if parts[-1] not in self._names:  # VOC's way: the name without its suffix
            parts = (*parts[:-1], PurePosixPath(parts[-1]).stem)
        known = self._names.get(parts[-1], [])
        fitting = [(own, number) for own, number in known if parts[-len(own) :] == own]
        if not fitting:  # a path of another machine
            fitting = known
        longest = max((len(own) for own, _ in fitting), default=0)
        best = [number for own, number in fitting if len(own) == longest]
        if len(best) > 1:
            names = ", ".join(f"'{printable(str(self.images[number]))}'" for number in best[:3])
            raise DataError(f"{self.path}: images: {names} could all be {path}. Give the names with their folders.")
        return best[0] if best else None

    def rows(self, number: int) -> Proposals:
        """Proposals of an image as the file has them, by falling score."""
        part = slice(self._starts[number], self._starts[number + 1])
        return Proposals(self._boxes[part], self._scores[part])


def read_proposals(path: str | Path) -> ProposalFile:
    """Read proposals from a JSON file in COCO's form.

    Args:
        path: A list of proposals, or a mapping with ``images`` (``id``, ``file_name``) and ``annotations`` (or
            ``proposals``). Proposals without a score are taken in the file's order.

    Raises:
        DataError: If it cannot be read, or a field is missing, of a wrong kind or names an unknown image.

    Example:
        >>> _ = Path("p.json").write_text('[{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}]')
        >>> read_proposals("p.json").rows(0)
        Proposals(boxes_xyxy=array([[1., 2., 4., 6.]], dtype=float32), scores=array([0.5], dtype=float32))
    """
    path = Path(path)
    try:
        content: Any = read_json(path, list[_Entry] | _Content)  # type: ignore[arg-type]
    except msgspec.ValidationError as error:
        raise DataError(
            f"{path}: {describe_error(str(error))}. Proposals are a list of "
            '{"image_id": 1, "bbox": [x, y, width, height], "score": 0.9}, or such a list as "annotations" beside '
            '"images".'
        ) from error
    listed = None
    if isinstance(content, list):
        field, entries = "", content
    else:
        field = "annotations" if content.annotations is not None else "proposals"
        found = content.annotations if content.annotations is not None else content.proposals
        if found is None:
            raise DataError(f"{path}: neither annotations nor proposals are in the file. Add one of them.")
        entries, listed = found, content.images
    if not entries:
        raise DataError(f"{path}: there is no proposal in the file. Leave it out, or write it again.")
    names = _names_of(path, listed)
    keys = [_key(path, field, number, entry, names) for number, entry in enumerate(entries)]
    images = list(dict.fromkeys([*(() if names is None else names.values()), *keys]))
    if len({type(image) for image in images}) > 1:
        raise DataError(f"{path}: some proposals name their file and others do not. Give all a file_name, or none.")
    numbers = {image: number for number, image in enumerate(images)}
    boxes = np.array([entry.bbox for entry in entries], np.float64)
    boxes[:, 2:] += boxes[:, :2]
    scores = np.array([np.nan if entry.score is None else entry.score for entry in entries], np.float64)
    scores = falling_scores(len(entries)).astype(np.float64) if np.isnan(scores).all() else scores
    wrong = ~(np.abs(boxes) < _FURTHEST).all(axis=1) | np.isnan(scores)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path}: {field}[{row}]: bbox {list(entries[row].bbox)} is far from any image, or the score is missing. "
            "Write pixels, and a score for all or for none."
        )
    owners = np.array([numbers[key] for key in keys], np.int64)
    return ProposalFile(path, images, owners, boxes.astype(np.float32), scores.astype(np.float32))


def repair_proposals(found: Proposals, size: tuple[int, int]) -> tuple[Proposals, int, int]:
    """Clip proposals to their image and drop those without area; the whole image is the one proposal if none is left.

    Args:
        found: As they were read.
        size: (height, width) of the image.

    Returns:
        The proposals, and how many were clipped and how many dropped.

    Example:
        >>> boxes = np.array([[-5, 0, 10, 10], [3, 3, 3, 9], [90, 90, 95, 95]], np.float32)
        >>> kept, clipped, dropped = repair_proposals(Proposals(boxes, falling_scores(3)), (20, 30))
        >>> kept.boxes_xyxy.tolist(), clipped, dropped
        ([[0.0, 0.0, 10.0, 10.0]], 1, 2)
    """
    limit = np.array([size[1], size[0], size[1], size[0]], np.float32)
    boxes = np.clip(found.boxes_xyxy, 0, limit)
    kept = np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    clipped = int((kept & (np.abs(boxes - found.boxes_xyxy) > _SLACK).any(axis=1)).sum())
    dropped = len(kept) - int(kept.sum())
    if not kept.any():
        return Proposals(limit[None] * np.array([[0, 0, 1, 1]], np.float32), falling_scores(1)), clipped, dropped
    return Proposals(boxes[kept], found.scores[kept]), clipped, dropped


def _names_of(path: Path, listed: Iterable[_Image] | None) -> dict[int | str, str] | None:
    """File name by id, where the file lists its images."""
    if listed is None:
        return None
    names: dict[int | str, str] = {}
    for number, image in enumerate(listed):
        key = _number(image.id)
        if not image.file_name or names.setdefault(key, image.file_name) != image.file_name:
            raise DataError(f"{path}: images[{number}]: id {key!r} or its file_name is given twice or empty.")
    return names


def _key(path: Path, field: str, number: int, entry: _Entry, names: dict[int | str, str] | None) -> int | str:
    """What stands for the image of a proposal: its name where that is known, else its id."""
    if entry.file_name:
        return entry.file_name
    if entry.image_id is None:
        raise DataError(f"{path}: {field}[{number}]: neither image_id nor file_name is given. Add one of them.")
    key = _number(entry.image_id)
    if names is None:
        return key
    if key not in names:
        raise DataError(
            f"{path}: {field}[{number}]: image_id {key!r} is not among the images of the file. Add the image, or "
            "remove the proposal."
        )
    return names[key]


def _number(value: int | str) -> int | str:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path.replace("\\", "/")).parts or ("",)
