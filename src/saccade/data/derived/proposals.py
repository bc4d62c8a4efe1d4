"""Proposals of a data set: computed once by selective search and kept on disk, or read from a file of the user's own.

A network says by ``input_names`` that it takes proposals; they then travel with each sample, and move with its image,
as :class:`~saccade.structures.sample.Sample` ``inputs``: ``proposals`` (P, 4) and ``proposal_scores`` (P,).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.derived._proposal_cache import BoxFile, ProposalCache, digest_of
from saccade.data.derived._proposal_file import ProposalFile, read_proposals, repair_proposals
from saccade.data.derived.base import DerivedDataset, image_ids_of
from saccade.data.derived.combine import ConcatDataset
from saccade.data.derived.image_sizes import image_sizes
from saccade.data.derived.selective_search import Proposals, SelectiveSearch, falling_scores, selective_search
from saccade.data.loading.sampler import SampleKey
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import ConfigError, DataError, SaccadeError, did_you_mean
from saccade.structures.dataset import VisionDataset
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample

if TYPE_CHECKING:
    from saccade.structures.batch import Batch

__all__ = ["METHODS", "ProposalDataset", "ProposalSource", "add_proposals", "find_proposals", "propose"]

logger = logging.getLogger("saccade")

METHODS: dict[str, SelectiveSearch] = {
    "selective_search": SelectiveSearch("fast"),
    "selective_search_quality": SelectiveSearch("quality"),
}
"""Methods that need nothing but the image, by name."""

ProposalSource = SelectiveSearch | ProposalFile
Progress = Callable[[Iterable[Any], int], Iterable[Any]]

_NAMED = 3  # images that a message names


def find_proposals(text: str | Path = "") -> ProposalSource:
    """Where proposals come from, by name of the method or path of a file.

    Args:
        text: ``selective_search`` (also if empty), ``selective_search_quality``, or a JSON file in COCO's form.

    Raises:
        ConfigError: If it is neither a method nor a file.
        DataError: If the file cannot be read.

    Example:
        >>> find_proposals("selective_search_quality").mode
        'quality'
    """
    name = str(text) or "selective_search"
    if name in METHODS:
        return METHODS[name]
    if not Path(name).exists():
        raise ConfigError(
            f"proposals: '{name}' is neither a method nor a file.{did_you_mean(name, METHODS)} Or give a JSON file of "
            "proposals in COCO's form."
        )
    return read_proposals(name)


def propose(image: NDArray[Any], source: ProposalSource, path: str = "", image_id: int = 0) -> Proposals:
    """Proposals of one image, computed or looked up.

    Args:
        image: (H, W, C).
        source: Settings of a method, which uses all cores, or a file.
        path: Of the image, by which a file knows it.
        image_id: By which a file without names knows it.

    Raises:
        DataError: If the file does not have the image.

    Example:
        >>> propose(np.zeros((20, 30, 3), np.uint8), find_proposals()).boxes_xyxy.tolist()
        [[0.0, 0.0, 30.0, 20.0]]
    """
    if isinstance(source, SelectiveSearch):
        return selective_search(image, source, threads=os.cpu_count() or 1)
    number = source.find(path, image_id)
    if number is None:
        known = "no image of this name" if source.named else f"no image_id {image_id}"
        raise DataError(f"{path}: {source.path} has {known}. Add its proposals, or leave the file out.")
    return repair_proposals(source.rows(number), (image.shape[0], image.shape[1]))[0]


class ProposalDataset(DerivedDataset):
    """Data set whose samples carry proposals beside the image; made by :func:`add_proposals`.

    An image always has at least one.

    Args:
        dataset: Holds the images.
        files: Where boxes are.
        rows: (M, 3) of each image: number of its file, first row, number of rows.
        scores: Scores of the rows of the one file; falling by position if not given.
        repairs: What was done to proposals, by kind.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> data = add_proposals(DigitScenes("detection", "val", count=2, size=(64, 64)), workers=0)
        >>> sample = data.read(1)
        >>> sorted(sample.inputs), sample.inputs["proposals"].shape[1]
        (['proposal_scores', 'proposals'], 4)
    """

    def __init__(
        self,
        dataset: VisionDataset,
        files: Sequence[BoxFile],
        rows: NDArray[np.int64],
        scores: NDArray[np.float32] | None = None,
        repairs: dict[str, int] | None = None,
    ) -> None:
        super().__init__(dataset)
        self.repairs |= repairs or {}
        self._files, self._rows, self._scores = list(files), rows, scores

    @property
    def identity(self) -> str:
        """Digest of all proposals, hexadecimal: it changes with any box of any image, and with their order."""
        hashed = hashlib.blake2b(digest_size=16)
        for index in range(len(self)):
            boxes, scores = self.proposals(index)
            hashed.update(f"{len(boxes)} ".encode() + boxes.tobytes() + scores.tobytes())
        return hashed.hexdigest()

    def proposals(self, index: int) -> Proposals:
        """Proposals of image ``index``, best first, without decoding it; the arrays are the caller's own."""
        file, start, count = self._rows[index].tolist()
        boxes = self._files[file].rows(start, count)
        scores = falling_scores(count) if self._scores is None else self._scores[start : start + count].copy()
        return Proposals(boxes, scores)

    def changed(self, sample: Sample, index: int) -> Sample:
        """Image and ground truth of ``index`` with its proposals."""
        boxes, scores = self.proposals(index)
        return replace(sample, inputs={**sample.inputs, "proposals": boxes, "proposal_scores": scores})


def add_proposals(
    dataset: VisionDataset,
    source: ProposalSource | str | Path = "selective_search",
    *,
    folder: str | Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    others: Sequence[VisionDataset] | None = (),
) -> ProposalDataset:
    """Add proposals to the samples of a data set: computed where they are not kept yet, or read from a file.

    Args:
        dataset: Any data set.
        source: Name of a method, its settings, or a file of proposals.
        folder: Keeps computed proposals, keyed by the content of the images and all settings; a search that was killed
            goes on where it was. None keeps them in memory alone.
        workers: Processes that search; one a core if not given.
        progress: Wraps the images as they are searched, given their number, to show a bar.
        others: Other splits whose images a file may hold as well; None passes over whatever ``dataset`` lacks.

    Raises:
        ConfigError: If the source is unknown.
        DataError: If an image cannot be read, or the file has proposals of images that are in no data set.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> scenes = DigitScenes("detection", "val", count=2, size=(64, 64))
        >>> first = add_proposals(scenes, folder="proposals", workers=0)
        >>> again = add_proposals(scenes, folder="proposals", workers=0)  # nothing is computed
        >>> first.identity == again.identity
        True
    """
    if isinstance(source, str | Path):
        source = find_proposals(source)
    if isinstance(source, ProposalFile):
        return _from_file(dataset, source, others)
    return _searched(dataset, source, None if folder is None else Path(folder), workers, progress)


def _searched(
    dataset: VisionDataset,
    settings: SelectiveSearch,
    folder: Path | None,
    workers: int | None,
    progress: Progress | None,
) -> ProposalDataset:
    described = f"selective search {settings.mode}, {settings.count}, {settings.max_side}, OpenCV {cv2.__version__}"
    cache = ProposalCache(folder, f"selective_search_{settings.mode}", described)
    digests = _digests(dataset, folder is not None)
    missing = [index for index, digest in enumerate(digests) if digest not in cache]
    known = len(digests) - len(missing)
    # The same pixels twice are searched once.
    missing = list({digests[index]: index for index in reversed(missing)}.values())[::-1]
    if missing:
        if folder is not None:
            _tell(dataset, cache, folder, len(missing), known)
        count = (os.cpu_count() or 1) if workers is None else workers
        from saccade.data.loading.loader import make_eval_loader  # with torch

        loader = make_eval_loader(_Search(dataset, settings, missing), 1, min(count, len(missing)))
        batches: Iterable[Batch] = loader if progress is None else progress(loader, len(missing))
        try:
            for batch in batches:
                cache.add(digests[batch.infos[0].image_id], batch.inputs["proposals"].numpy())
        finally:
            cache.flush()
        cache.finish()
    files: dict[int, tuple[int, BoxFile]] = {}
    rows = np.zeros((len(digests), 3), np.int64)
    for index, digest in enumerate(digests):
        file, start, length = cache.find(digest)
        number, _ = files.setdefault(id(file), (len(files), file))
        rows[index] = number, start, length
    return ProposalDataset(dataset, [file for _, file in files.values()], rows)


def _tell(dataset: VisionDataset, cache: ProposalCache, folder: Path, missing: int, known: int) -> None:
    """Say why something is computed although there are files."""
    name = f"{dataset.info.name}, {dataset.info.split}"
    if known:
        logger.info("%s: proposals of %d images are in %s; %d are new or changed.", name, known, folder, missing)
    elif cache.others:
        logger.info(
            "%s: %s was made with other settings and is not used; proposals of %d images are computed.",
            name,
            cache.others[0] if len(cache.others) == 1 else f"{cache.others[0]} and {len(cache.others) - 1} more",
            missing,
        )


class _Search:
    """Pipeline of the loader that searches instead of resizing, so that its processes are those of every loader."""

    def __init__(self, dataset: VisionDataset, settings: SelectiveSearch, indices: Sequence[int]) -> None:
        self.dataset, self.settings, self.indices = dataset, settings, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: SampleKey) -> Sample:
        index = self.indices[key.index]
        try:
            image = self.dataset.read(index).image
            found = selective_search(image, self.settings)
        except SaccadeError:
            raise
        except Exception as error:
            raise DataError(
                f"{self.dataset.path(index)}: it cannot be searched for proposals ({type(error).__name__}: {error}). "
                "Repair the file, or remove it."
            ) from error
        info = ImageInfo(index, self.dataset.path(index), Geometry.identity((image.shape[0], image.shape[1])))
        return Sample(image[:0], {}, info, inputs={"proposals": found.boxes_xyxy})

    def collate(self, samples: Sequence[Sample]) -> list[Batch]:
        import torch

        from saccade.structures.batch import Batch

        return [
            Batch(torch.zeros(0), {}, [one.info], inputs={"proposals": torch.from_numpy(one.inputs["proposals"])})
            for one in samples
        ]


def _digests(dataset: VisionDataset, kept: bool) -> list[bytes]:
    """What each image is known by: the content of its file, or its pixels where it is no file of its own."""
    if not kept:
        return [index.to_bytes(16, "big") for index in range(len(dataset))]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda index: _digest(dataset, index), range(len(dataset))))


def _digest(dataset: VisionDataset, index: int) -> bytes:
    if isinstance(dataset, ConcatDataset):
        return _digest(*dataset.locate(index))
    if isinstance(dataset, TableDataset) and (type(dataset).read, type(dataset).pixels) == (
        TableDataset.read,
        TableDataset.pixels,
    ):
        path = dataset.path(index)
        try:
            return digest_of(Path(path).read_bytes(), f"{dataset.channels}".encode())
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}. Check its name and rights.") from error
    image = np.ascontiguousarray(dataset.read(index).image)
    return digest_of(image.data, f"{image.shape} {image.dtype}".encode())


def _from_file(dataset: VisionDataset, source: ProposalFile, others: Sequence[VisionDataset] | None) -> ProposalDataset:
    ids = image_ids_of(dataset).tolist()
    found = [source.find(dataset.path(index), ids[index]) for index in range(len(dataset))]
    _check_images(dataset, source, found, others)
    sizes = image_sizes(dataset)
    kept: list[Proposals] = []
    clipped = dropped = 0
    without: list[str] = []
    nothing = Proposals(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    for index, number in enumerate(found):
        listed = nothing if number is None else source.rows(number)
        repaired, here_clipped, here_dropped = repair_proposals(listed, (int(sizes[index, 0]), int(sizes[index, 1])))
        if here_dropped == len(listed.boxes_xyxy):
            without.append(dataset.path(index))
        kept.append(repaired)
        clipped, dropped = clipped + here_clipped, dropped + here_dropped
    repairs = {"proposals clipped": clipped, "proposals dropped": dropped, "images without proposals": len(without)}
    repairs = {name: count for name, count in repairs.items() if count}
    _tell_repairs(source, repairs, without)
    counts = np.array([len(one.boxes_xyxy) for one in kept], np.int64)
    rows = np.stack([np.zeros_like(counts), np.cumsum(counts) - counts, counts], axis=1)
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes_xyxy for one in kept)])
    scores = np.concatenate([np.zeros(0, np.float32), *(one.scores for one in kept)])
    return ProposalDataset(dataset, [BoxFile(boxes)], rows, scores, repairs)


def _check_images(
    dataset: VisionDataset,
    source: ProposalFile,
    found: Sequence[int | None],
    others: Sequence[VisionDataset] | None,
) -> None:
    """Raise an error where proposals are of no image, or of two."""
    where: dict[int, str] = {}
    for index, number in enumerate(found):
        if number is not None and where.setdefault(number, dataset.path(index)) != dataset.path(index):
            raise DataError(
                f"{source.path}: '{source.images[number]}' could be {where[number]} or {dataset.path(index)}. Give the "
                "names with their folders."
            )
    if not where:
        raise DataError(
            f"{source.path}: none of its images is in {dataset.info.name}, {dataset.info.split} ("
            f"{_few(source.images)}; there: {_few([dataset.path(index) for index in range(len(dataset))])}). Name the "
            "images as the data set does."
        )
    here = set(where)
    for other in others or ():
        ids = image_ids_of(other).tolist()
        for index, image_id in enumerate(ids):
            number = source.find(other.path(index), image_id)
            if number in here and not source.named and where[number] != other.path(index):
                raise DataError(
                    f"{source.path}: image_id {image_id} is {where[number]} in split {dataset.info.split} and "
                    f"{other.path(index)} in {other.info.split}. Give the file 'images' with file names."
                )
            if number is not None:
                where.setdefault(number, other.path(index))
    unknown = [image for number, image in enumerate(source.images) if number not in where]
    if not unknown:
        return
    if others is None or source.named:
        logger.info("%s: proposals of %d other images are not used (%s).", source.path, len(unknown), _few(unknown))
        return
    raise DataError(
        f"{source.path}: {len(unknown)} image ids are those of no image of {dataset.info.name} ({_few(unknown)}). "
        "Remove their proposals, or give the file 'images' with file names."
    )


def _tell_repairs(source: ProposalFile, repairs: dict[str, int], without: Sequence[str]) -> None:
    changed = [f"{count} {name.removeprefix('proposals ')}" for name, count in repairs.items() if "proposals " in name]
    if changed:
        logger.warning("%s: proposals that leave their image or have no area: %s.", source.path, ", ".join(changed))
    if without:
        logger.warning(
            "%s: %d images have no proposals; each has one, the whole image (%s).",
            source.path,
            len(without),
            _few(without),
        )


def _few(names: Sequence[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:_NAMED])
    return f"{shown}, ..." if len(names) > _NAMED else shown
