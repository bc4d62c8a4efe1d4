"""What an evaluation found image by image: a row of figures for each, and the worst errors of each kind."""

from __future__ import annotations

import csv
import heapq
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from saccade.engine.predict.predict import SHOWN_SCORE
from saccade.metrics.base import Evaluator
from saccade.results.base import Result
from saccade.results.findings import Fault, ImageFindings
from saccade.structures.dataset import DatasetInfo
from saccade.structures.files import write_text
from saccade.structures.sample import Target
from saccade.tasks import Task

__all__ = ["ImageRow", "Inspection", "LocatedFault", "Observer"]


class Observer(Protocol):
    """Protocol of what looks at every image of an evaluation.

    Example:
        >>> observer: Observer = Inspection()
    """

    def begin(self, evaluator: Evaluator, task: Task, data: DatasetInfo) -> None:
        """Take what scores and describes the images, before the first of them."""
        ...

    def add(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take images: predictions and ground truths, both in original pixels."""
        ...


@dataclass(frozen=True)
class ImageRow:
    """Figures of one image.

    Args:
        image_id: The data set's number for it.
        path: Its file.
        findings: Figures; the faults are left out.

    Example:
        >>> ImageRow(3, "a.jpg", ImageFindings({"F1": 0.5}, "F1")).as_dict()
        {'image_id': 3, 'path': 'a.jpg', 'F1': 0.5}
    """

    image_id: int
    path: str
    findings: ImageFindings

    def as_dict(self) -> dict[str, Any]:
        """Row of a table, None for undefined figures."""
        figures = self.findings.figures.items()
        return {
            "image_id": self.image_id,
            "path": self.path,
            **{name: None if isinstance(value, float) and math.isnan(value) else value for name, value in figures},
        }


@dataclass(frozen=True)
class LocatedFault:
    """An error, and the image that it is in.

    Args:
        fault: The error.
        image_id: The data set's number for the image.
        path: Its file.
        image_size: (height, width), pixels.

    Example:
        >>> fault = Fault("missed", 0.3, "dog, 40 x 60 pixels", lambda image: image)
        >>> LocatedFault(fault, 3, "photos/a.jpg", (100, 100)).caption
        'a.jpg: dog, 40 x 60 pixels'
    """

    fault: Fault
    image_id: int
    path: str
    image_size: tuple[int, int]

    @property
    def caption(self) -> str:
        """Name of the image and what is wrong in it."""
        return f"{Path(self.path).name}: {self.fault.caption}"


class Inspection:
    """Collects the findings of an evaluation, in bounded memory: of each kind of error the worst are kept.

    Args:
        thresholds: Objects that score less are not looked at: one threshold, or one for each class.
        most: Errors of each kind that are kept.
        faults: Keep errors at all; without, figures only.

    Attributes:
        rows: One an image, in the order in which they came.
        counts: Number of errors of each kind, also of those that are not kept.
        evaluator: The evaluator, with the records of all images.
        task: The task.
        data: What is known of the data set.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> from saccade.engine.evaluate.evaluate import evaluate
        >>> inspection, data = Inspection(), DigitScenes("classification", "val", count=8)
        >>> report = evaluate(EagerRuntime(saccade.create_model("lenet5")), data, observer=inspection)
        >>> wrong = sum(not row.findings.figures["correct"] for row in inspection.rows)
        >>> len(inspection.rows), wrong == inspection.counts["misclassified"] == round(8 * (1 - report.score))
        (8, True)
    """

    task: Task
    data: DatasetInfo
    evaluator: Evaluator

    def __init__(self, thresholds: float | Sequence[float] = SHOWN_SCORE, most: int = 48, faults: bool = True) -> None:
        self.thresholds = thresholds
        self.rows: list[ImageRow] = []
        self.counts: Counter[str] = Counter()
        self._most = most
        self._keeps_faults = faults
        self._worst: dict[str, list[tuple[float, int, LocatedFault]]] = {}

    def begin(self, evaluator: Evaluator, task: Task, data: DatasetInfo) -> None:
        """Take what scores and describes the images."""
        self.evaluator, self.task, self.data = evaluator, task, data

    def add(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Look at images, in original pixels."""
        for result, target in zip(results, targets, strict=True):
            findings = self.task.inspect(result.above(self.thresholds), target, self.data)
            about = int(result.image_id), result.path
            alone = ImageFindings(findings.figures, findings.figure, findings.higher_is_better)
            self.rows.append(ImageRow(*about, alone))
            if self._keeps_faults:
                for fault in findings.faults:
                    self._keep(LocatedFault(fault, *about, result.image_size))

    def _keep(self, located: LocatedFault) -> None:
        kind = located.fault.kind
        self.counts[kind] += 1
        worst = self._worst.setdefault(kind, [])
        # Of equally bad ones the first stays; a heap compares no further than the number.
        entry = (located.fault.weight, -self.counts[kind], located)
        if len(worst) < self._most:
            heapq.heappush(worst, entry)
        else:
            heapq.heappushpop(worst, entry)

    def faults(self) -> dict[str, list[LocatedFault]]:
        """Errors of each kind, worst first."""
        return {kind: [entry[2] for entry in sorted(entries, reverse=True)] for kind, entries in self._worst.items()}

    def worst_first(self) -> list[ImageRow]:
        """Rows by rising score; images whose figure is undefined come last."""
        return sorted(self.rows, key=lambda row: (math.isnan(row.findings.score), row.findings.score, row.path))

    def write_table(self, path: str | Path) -> Path:
        """Write a row an image as CSV, worst first; undefined figures are empty.

        Args:
            path: The file.
        """
        rows = [row.as_dict() for row in self.worst_first()]
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, text.getvalue())
        return Path(path)
