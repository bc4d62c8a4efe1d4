"""Proposals of a data set shown: recall by their number and by overlap, and the best ones over the ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.combine import subset
from saccade.data.derived.further_inputs import inputs_folder
from saccade.data.derived.proposals import ProposalDataset, add_proposals, find_proposals
from saccade.data.open import open_dataset
from saccade.engine.report.show import training_split
from saccade.engine.train.progress import track
from saccade.engine.train.setup import worker_count
from saccade.errors import ConfigError
from saccade.metrics.base import MetricReport
from saccade.metrics.proposals import ProposalRecall, plot_recall
from saccade.ops.boxes_numpy import box_iou
from saccade.results import page
from saccade.results.drawing import draw_boxes, draw_caption, montage
from saccade.results.images import blank_paper, write_image
from saccade.results.palette import Color
from saccade.structures.dataset import VisionDataset
from saccade.structures.files import write_text

__all__ = ["ShownProposals", "show_proposals"]

_FOUND: Color = (60, 200, 90)
_MISSED: Color = (235, 60, 60)
_BEST: Color = (70, 150, 255)
_OVERLAP = 0.5  # from which an object counts as found in the drawings
_LEGEND = (
    f"green: ground truth that a proposal covers with an IoU of {_OVERLAP} or more; red: ground truth that none covers",
    "blue: the best proposal of each object; the number is its IoU",
)
_NUMBERS = (100, 300, 1000, 2000)


@dataclass(frozen=True)
class ShownProposals:
    """Recall of the proposals of a data set, with drawings.

    Args:
        title: Data set, split and number of images.
        report: Figures and curves.
        drawings: Images with their objects and the best proposal of each, (H, W, 3) uint8 RGB.
    """

    title: str
    report: MetricReport
    drawings: list[NDArray[Any]]

    def sheet(self) -> NDArray[Any]:
        """One image of it all, (H, W, 3) uint8 RGB: the curves, the figures, the drawings."""
        drawings = montage(self.drawings, columns=min(4, math.ceil(math.sqrt(len(self.drawings)))))
        curves = _pixels(self.report)
        width = max(curves.shape[1], drawings.shape[1])
        above = draw_caption(_widened(curves, width), [self.title, _figures(self.report)])
        below = draw_caption(_widened(drawings, above.shape[1]), _LEGEND)
        width = max(above.shape[1], below.shape[1])
        return np.concatenate([_widened(above, width), _widened(below, width)])

    def save(self, path: str | Path) -> Path:
        """Write a page (``.html``) or an image of it all.

        Raises:
            SaccadeError: If the suffix is neither, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            return write_image(path, self.sheet())
        values = {name: value for name, value in self.report.values.items() if "@" not in name}
        sections = [
            page.section("Recall", page.plots([plot_recall(self.report)])),
            page.section("By number of proposals", page.table(_rows(self.report))),
            page.section("By class", page.table(self.report.per_class) + page.table([values])),
            page.section("; ".join(_LEGEND), page.images(self.drawings)),
        ]
        write_text(path, page.page(self.title, sections))
        return path


def show_proposals(
    data: str,
    proposals: str = "selective_search",
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    count: int = 16,
    limit: int | None = None,
) -> ShownProposals:
    """Measure the recall of proposals on a data set with boxes, and draw the best of some images.

    Args:
        data: Catalogue name or path.
        proposals: Method or file (:func:`saccade.data.derived.proposals.find_proposals`). What a method computes is
            kept in the cache folder.
        split: That for training if not given.
        format: Reader; found automatically if not given.
        task: Which ground truth to read, where the data has several.
        count: How many images are drawn, evenly spaced.
        limit: Score so many images only, evenly spaced.

    Raises:
        ConfigError: If the data have no boxes, or a number is below 1.
        DataError: If the data or the file are missing or broken.
    """
    for name, number in (("count", count), ("limit", limit)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} must be at least 1; got {number}.")
    source = find_proposals(proposals)
    split = split or training_split(data, format)
    dataset = open_dataset(data, split, format=format, task=task, bad_labels="drop")
    if "boxes" not in dataset.target(0):
        raise ConfigError(
            f"{data} has no boxes where it is read for {dataset.info.task}. Give a task with boxes (--task detection)."
        )
    if limit is not None and limit < len(dataset):
        dataset = subset(dataset, _spaced(len(dataset), limit))
    found = add_proposals(
        dataset,
        source,
        folder=inputs_folder(),
        workers=worker_count(None),
        progress=partial(track, label=f"proposals of {dataset.info.name}, {dataset.info.split}"),
        others=None,
    )
    report, best = _score(found)
    drawn = [_draw(found, index, best[index]) for index in _spaced(len(found), min(count, len(found)))]
    images = f"{len(found):,} image{'s' if len(found) != 1 else ''}"
    return ShownProposals(f"{proposals} on {found.info.name}, {found.info.split} ({images})", report, drawn)


def _score(dataset: ProposalDataset) -> tuple[MetricReport, list[NDArray[np.float64]]]:
    """Figures, and the best overlap of every object of every image."""
    recall = ProposalRecall(_label_names(dataset.dataset))
    images = track(range(len(dataset)), len(dataset), "recall")
    best = [recall.update(dataset.proposals(index).boxes_xyxy, dataset.target(index)) for index in images]
    return recall.compute(), best


def _label_names(dataset: VisionDataset) -> tuple[str, ...]:
    """Names of the objects' labels, where class names are those of points."""
    names: Sequence[str] = getattr(dataset, "label_names", ()) or dataset.info.object_names or dataset.info.class_names
    return tuple(names)


def _draw(dataset: ProposalDataset, index: int, best: NDArray[np.float64]) -> NDArray[Any]:
    sample = dataset.read(index)
    boxes, proposals = np.asarray(sample.target["boxes"], np.float64).reshape(-1, 4), sample.inputs["proposals"]
    nearest = proposals[box_iou(boxes[:, None], proposals.astype(np.float64)).argmax(axis=1)]
    nearest = nearest[best > 0]
    names = [_label_names(dataset.dataset)[label] if label >= 0 else "" for label in sample.target["labels"].tolist()]
    colors = [_FOUND if overlap >= _OVERLAP else _MISSED for overlap in best] + [_BEST] * len(nearest)
    drawn = draw_boxes(
        sample.image,
        np.concatenate([boxes, nearest]),
        [*names, *[""] * len(nearest)],
        np.concatenate([best, np.zeros(len(nearest))]),
        colors=colors,
    )
    found = int((best >= _OVERLAP).sum())
    title = f"{Path(sample.info.path).name}: {found} of {len(boxes)}, {len(proposals):,} proposals"
    return draw_caption(drawn, [title])


def _figures(report: MetricReport) -> str:
    """The figures of the largest number of proposals as a line of text."""
    values, most = report.values, _NUMBERS[-1]
    return (
        f"{values['proposals']:,.0f} proposals an image; with {most:,}: recall {values[f'recall50@{most}']:.3f} at IoU "
        f"0.5, {values[f'recall70@{most}']:.3f} at 0.7, average recall {values[f'AR@{most}']:.3f}, mean average best "
        f"overlap {values['MABO']:.3f}"
    )


def _rows(report: MetricReport) -> list[dict[str, Any]]:
    names = {"recall50": "recall at IoU 0.5", "recall70": "recall at IoU 0.7", "AR": "average recall"}
    return [
        {"proposals": number} | {text: report.values[f"{name}@{number}"] for name, text in names.items()}
        for number in _NUMBERS
    ]


def _pixels(report: MetricReport) -> NDArray[Any]:
    """The curves as an image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = plot_recall(report)
    figure.set_dpi(150)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _widened(image: NDArray[Any], width: int) -> NDArray[Any]:
    """The image in the middle of a wider one."""
    wide = blank_paper(image.shape[0], max(width, image.shape[1]))
    left = (wide.shape[1] - image.shape[1]) // 2
    wide[:, left : left + image.shape[1]] = image
    return wide


def _spaced(length: int, count: int) -> Sequence[int]:
    return np.unique(np.linspace(0, length - 1, min(count, length)).astype(int)).tolist()
