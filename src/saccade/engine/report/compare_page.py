"""``compare.html``: two models side by side on the images on which they differ most."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from saccade.engine.evaluate.compare import Comparison
from saccade.engine.report.errors_page import ImageSource
from saccade.metrics.base import Evaluator
from saccade.results import page
from saccade.results.base import Result
from saccade.results.images import montage
from saccade.results.palette import CHART_COLORS
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.files import write_text
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Target
from saccade.tasks import Task

__all__ = ["ResultKeeper", "write_compare_page"]

_ROWS = 60  # images in the table


class ResultKeeper:
    """Keeps the results and ground truths of an evaluation; an observer for a few images.

    Args:
        thresholds: Objects that score less are left out.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> from saccade.engine.evaluate.evaluate import evaluate
        >>> keeper, data = ResultKeeper(0.25), DigitScenes("classification", "val", count=2)
        >>> _ = evaluate(EagerRuntime(saccade.create_model("lenet5")), data, observer=keeper)
        >>> sorted(keeper.results)
        [0, 1]
    """

    task: Task
    data: DatasetInfo

    def __init__(self, thresholds: float | Sequence[float]) -> None:
        self.thresholds = thresholds
        self.results: dict[int, Result] = {}
        self.targets: dict[int, Target] = {}

    def begin(self, evaluator: Evaluator, task: Task, data: DatasetInfo) -> None:
        """Take what describes the images."""
        self.task, self.data = task, data

    def add(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Keep images."""
        for result, target in zip(results, targets, strict=True):
            self.results[int(result.image_id)] = result.above(self.thresholds)
            self.targets[int(result.image_id)] = target


def write_compare_page(
    path: str | Path, comparison: Comparison, keepers: tuple[ResultKeeper, ResultKeeper], dataset: VisionDataset
) -> Path:
    """Write the page: verdict, differences with their intervals, and drawings of images on which the models differ.

    Args:
        path: HTML file.
        comparison: What was found.
        keepers: Results of both models for the images to draw.
        dataset: Where these images are from.

    Returns:
        The file.
    """
    names = comparison.models
    rows = [
        {
            "figure": one.figure,
            names[0]: one.first,
            names[1]: one.second,
            "difference": one.difference,
            "from": one.low,
            "to": one.high,
            f"{names[1]} is greater": f"{100 * one.share_above:.0f} % of draws",
        }
        for one in comparison.figures
    ]
    about = (
        f"Second minus first on {comparison.images:,} images of {comparison.data}, with the 95 % interval of "
        f"{comparison.draws:,} data sets drawn from these images (paired bootstrap). An interval that holds 0 tells of "
        "no difference."
    )
    worst = [{**row, "path": Path(row["path"]).name} for row in comparison.per_image[:_ROWS] if row["difference"]]
    verdict = f"<p><b>{html.escape(comparison.verdict)}</b></p>"
    sections = [
        page.section("Verdict", f"{verdict}<p>{html.escape(about)}</p>{page.table(rows)}"),
        page.section("Differences", page.plots([_intervals(comparison)])),
        page.section("Images on which they differ most", _drawings(comparison, keepers, dataset)),
        page.section(f"{comparison.image_figure} of single images", page.table(worst)),
    ]
    target = Path(path)
    write_text(target, page.page(f"{names[0]} and {names[1]}", sections))
    return target


def _intervals(comparison: Comparison) -> Figure:
    """A line an interval, with the difference as a dot."""
    rows = comparison.figures[::-1]
    figure = Figure(figsize=(6.4, 1.2 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for number, one in enumerate(rows):
        axes.plot([one.low, one.high], [number, number], color=CHART_COLORS[0], linewidth=3, alpha=0.5)
        axes.plot([one.difference], [number], "o", color=CHART_COLORS[0])
    axes.axvline(0, color="#888888", linewidth=1)
    axes.set_yticks(range(len(rows)), [one.figure for one in rows])
    axes.set_xlabel(f"{comparison.models[1]} minus {comparison.models[0]}")
    return figure


def _drawings(comparison: Comparison, keepers: tuple[ResultKeeper, ResultKeeper], dataset: VisionDataset) -> str:
    first, second = keepers
    images, drawn, captions = ImageSource(dataset), [], []
    for row in comparison.per_image:
        result = first.results.get(row["image_id"])
        if result is None:
            continue
        image = images.read(row["image_id"], result.path, result.image_size)
        info = ImageInfo(result.image_id, result.path, Geometry.identity(result.image_size))
        truth = first.task.from_target(first.targets[row["image_id"]], info, first.data.class_names)
        shown: list[Any] = [replace(one, image=image) for one in (result, second.results[row["image_id"]], truth)]
        drawn.append(montage([one.plot() for one in shown], columns=3, cell=420))
        values = " -> ".join("-" if row[key] is None else f"{row[key]:.2f}" for key in ("first", "second"))
        captions.append(f"{Path(row['path']).name}: {comparison.image_figure} {values}")
    if not drawn:
        return ""
    about = f"<p>From left to right: {html.escape(' and '.join(comparison.models))}, ground truth.</p>"
    return about + page.images(drawn, captions, longest=1280, wide=True)
