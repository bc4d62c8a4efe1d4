"""Is one model better than another? Differences of their figures on the same images, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.engine.evaluate.inspection import Inspection
from saccade.errors import ConfigError, DataError
from saccade.metrics.base import MetricReport
from saccade.metrics.resample import draw_weights, resampled_values
from saccade.structures.files import to_json

__all__ = ["Comparison", "Difference", "compare_inspections"]

_LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """Figure of two models, and the interval of its difference.

    Args:
        figure: Its name.
        first: Value of the first model.
        second: Value of the second.
        difference: Second minus first.
        low: Lower end of the 95 % interval of the difference.
        high: Upper end.
        share_above: Share of the draws in which the second is greater, equal ones counted half.

    Example:
        >>> Difference("AP", 0.3, 0.5, 0.2, low=0.1, high=0.3, share_above=1.0).is_clear
        True
    """

    figure: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    share_above: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass
class Comparison:
    """Comparison of two models on the same images.

    Args:
        models: Names of the first and the second.
        data: Name and split of the data set.
        images: Number of images.
        draws: Number of resampled data sets behind the intervals.
        primary: Figure that decides.
        higher_is_better: Its direction.
        figures: Differences, that of ``primary`` first.
        image_figure: Figure of one image by which images are compared.
        per_image: A row an image: ``image_id``, ``path``, ``first``, ``second``, ``difference``; where the models
            differ most comes first.
        page: The page that was written.

    Example:
        >>> clear = Difference("AP", 0.3, 0.5, 0.2, low=0.1, high=0.3, share_above=1.0)
        >>> comparison = Comparison(("a", "b"), "pets, test", 80, 1000, "AP", True, [clear], "F1", [])
        >>> comparison.better, comparison.verdict
        ('b', 'b is better: AP 0.3000 -> 0.5000, difference +0.2000 (95 % interval +0.1000 to +0.3000, 80 images).')
    """

    models: tuple[str, str]
    data: str
    images: int
    draws: int
    primary: str
    higher_is_better: bool
    figures: list[Difference]
    image_figure: str
    per_image: list[dict[str, Any]]
    page: Path | None = field(default=None)

    @property
    def better(self) -> str | None:
        """Name of the model that is better, if the interval of the primary figure leaves out 0; else None."""
        first = self.figures[0]
        if not first.is_clear:
            return None
        return self.models[int((first.difference > 0) == self.higher_is_better)]

    @property
    def verdict(self) -> str:
        """One sentence: which is better, by how much, and how sure that is."""
        one = self.figures[0]
        who = "no difference can be told" if self.better is None else f"{self.better} is better"
        return (
            f"{who}: {self.primary} {one.first:.4f} -> {one.second:.4f}, difference {one.difference:+.4f} "
            f"(95 % interval {one.low:+.4f} to {one.high:+.4f}, {self.images:,} images)."
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        values = asdict(self) | {"better": self.better, "verdict": self.verdict}
        values["page"] = None if self.page is None else str(self.page)
        return values

    def __str__(self) -> str:
        return to_json(self.to_json(), indent=1)


def compare_inspections(
    names: tuple[str, str],
    inspections: tuple[Inspection, Inspection],
    reports: tuple[MetricReport, MetricReport],
    draws: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two evaluations of the same images by a paired bootstrap.

    Each draw takes as many images as there are, with replacement, and the same ones for both models; the figures of the
    data set are computed anew (:mod:`saccade.metrics.resample`). The interval is that between the 2.5th and the 97.5th
    percentile of their differences (Efron and Tibshirani 1993, section 13.3).

    Args:
        names: Of the models.
        inspections: What the evaluations found.
        reports: Their figures.
        draws: How many draws.
        seed: Of the draws.

    Raises:
        ConfigError: If there are fewer than 2 draws, or the models have no figure in common.
        DataError: If they were not evaluated on the same images, or there are fewer than 2.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> from saccade.engine.evaluate.evaluate import evaluate
        >>> seen, runtime = Inspection(), EagerRuntime(saccade.create_model("lenet5"))
        >>> report = evaluate(runtime, DigitScenes("classification", "val", count=8), observer=seen)
        >>> compare_inspections(("a", "a"), (seen, seen), (report, report), draws=50).figures[0].high
        0.0
    """
    if draws < 2:
        raise ConfigError(f"draws is {draws}; an interval needs at least 2, and some hundreds to be steady.")
    rows = [{row.image_id: row for row in one.rows} for one in inspections]
    images = sorted(rows[0])
    if rows[0].keys() != rows[1].keys():
        raise DataError("the models were not evaluated on the same images. Give both the same data and split.")
    if len(images) < 2:
        raise DataError("one image tells nothing about a difference. Give data with more images.")
    weights = draw_weights(len(images), draws, seed)
    first, second = (resampled_values(one.evaluator, images, weights) for one in inspections)
    common = [name for name in first if name in second and all(name in report.values for report in reports)]
    primary = next((report.primary for report in reports if report.primary in common), None)
    if primary is None:
        raise ConfigError(f"{names[0]} and {names[1]} have no main figure in common ({', '.join(common) or 'none'}).")
    values = (reports[0].values, reports[1].values)
    figures = [
        _difference(name, (values[0][name], values[1][name]), second[name] - first[name])
        for name in sorted(common, key=lambda name: name != primary)
    ]
    by_image = [_image_row(*(rows[which][image] for which in (0, 1))) for image in images]
    by_image.sort(key=lambda row: (-abs(row["difference"] or 0.0), row["path"]))
    data = inspections[0].data
    return Comparison(
        models=names,
        data=f"{data.name}, {data.split}",
        images=len(images),
        draws=draws,
        primary=primary,
        higher_is_better=next(report for report in reports if report.primary == primary).higher_is_better,
        figures=figures,
        image_figure=inspections[0].rows[0].findings.figure,
        per_image=by_image,
    )


def _difference(name: str, values: Sequence[float], drawn: NDArray[np.float64]) -> Difference:
    drawn = drawn[~np.isnan(drawn)]  # a draw may hold no object
    tail = 100 * (1 - _LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail]) if len(drawn) else (math.nan, math.nan)
    above = float((drawn > 0).mean() + (drawn == 0).mean() / 2) if len(drawn) else math.nan
    return Difference(name, values[0], values[1], values[1] - values[0], float(low), float(high), above)


def _image_row(first: Any, second: Any) -> dict[str, Any]:
    values = [float(row.findings.figures[row.findings.figure]) for row in (first, second)]
    a, b = (None if math.isnan(value) else value for value in values)
    difference = None if a is None or b is None else b - a
    return {"image_id": first.image_id, "path": first.path, "first": a, "second": b, "difference": difference}
