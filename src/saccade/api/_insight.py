"""What ``evaluate`` writes beside its figures: a table of images, a page of errors, thresholds of classes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from saccade.api._open import ModelLike, run_config
from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.deploy.runtime import Runtime
    from saccade.engine.evaluate.inspection import Inspection
    from saccade.metrics.base import MetricReport
    from saccade.structures.dataset import VisionDataset

__all__ = ["Insight"]

logger = logging.getLogger("saccade")


@dataclass
class Insight:
    """What was asked for.

    Args:
        per_image: CSV file to write.
        errors: Folder to write.
        choose_thresholds: Whether to choose thresholds and write them into the model's file.
    """

    per_image: str | Path | None
    errors: str | Path | None
    choose_thresholds: bool
    _inspection: Inspection | None = None

    def refuse(self, what: str) -> None:
        """Refuse where no single images are predicted.

        Raises:
            ConfigError: If anything was asked for.
        """
        for name in ("per_image", "errors", "choose_thresholds"):
            if getattr(self, name):
                raise ConfigError(f"{name} is for models that predict image by image, not with {what}. Leave it out.")

    def split(self, model: ModelLike, data: str | Path | VisionDataset | None, split: str | None) -> str | None:
        """Split to evaluate on: thresholds are chosen on validation data.

        Raises:
            ConfigError: If the run of the model has no validation data and no split is named.
        """
        named = data is None or isinstance(data, str | Path)
        if not self.choose_thresholds or split is not None or not named:
            return split
        config = run_config(model) if data is None else None
        if config is None:
            return "val"
        if config.data.val is None:
            raise ConfigError(
                f"thresholds are chosen on validation data, and the run of '{model}' had none (data.val). Name a split "
                "(--split) that training did not see, and score the model on another."
            )
        return config.data.val

    def begin(self, runtime: Runtime) -> Inspection | None:
        """What looks at the images; None if nothing was asked for.

        Raises:
            ConfigError: If the task has no such thresholds.
        """
        from saccade.deploy.base import score_thresholds_of
        from saccade.engine.evaluate.inspection import Inspection
        from saccade.engine.predict.predict import SHOWN_SCORE

        if self.per_image is None and self.errors is None and not self.choose_thresholds:
            return None
        thresholds = score_thresholds_of(runtime) or SHOWN_SCORE
        self._inspection = Inspection(thresholds, faults=self.errors is not None)
        return self._inspection

    def finish(self, model: ModelLike, report: MetricReport, dataset: VisionDataset, trust: bool) -> None:
        """Write what was asked for, and name it in the notes of the report.

        Raises:
            ConfigError: If thresholds are asked for, and the task or the data have none.
        """
        inspection = self._inspection
        if inspection is None:
            return
        if self.per_image is not None:
            report.notes.append(f"the figures of each image are in {inspection.write_table(self.per_image)}.")
        if self.errors is not None:
            from saccade.engine.report.errors_page import write_errors_page

            name = str(model) if isinstance(model, str | Path) else model.builder_name
            title = f"{name} on {dataset.info.name}, {dataset.info.split}"
            path = write_errors_page(self.errors, inspection, report, dataset, title)
            report.notes.append(f"the errors are in {path}.")
        if self.choose_thresholds:
            self._write_thresholds(model, report, dataset, trust, inspection)

    def _write_thresholds(
        self, model: ModelLike, report: MetricReport, dataset: VisionDataset, trust: bool, inspection: Inspection
    ) -> None:
        import numpy as np

        from saccade.deploy import export
        from saccade.models import checkpoint

        choose = getattr(inspection.evaluator, "best_thresholds", None)
        if choose is None:
            raise ConfigError(
                f"{inspection.task.name} has no objects with scores to choose thresholds for. Leave "
                "choose_thresholds out."
            )
        thresholds = choose()
        if np.isnan(thresholds).any():
            raise ConfigError(f"data set '{dataset.info.name}' has no objects to choose thresholds on.")
        values = tuple(round(float(one), 6) for one in thresholds)
        for row, value in zip(report.per_class, values, strict=True):
            row["threshold"] = value
        if not isinstance(model, str | Path):
            model.score_thresholds = values
            return
        path = checkpoint.find_checkpoint(model)
        if not path.is_file():
            raise ConfigError(
                f"'{model}' is no file that could keep thresholds. Give a checkpoint or an exported file."
            )
        fields = {"score_thresholds": values}
        if path.suffix == ".safetensors":
            checkpoint.keep_fields(path, fields)
        else:
            export.keep_fields(path, fields, trust)
        report.notes.append(
            f"thresholds of {len(values)} classes, chosen on '{dataset.info.split}', are kept in {path}; predict "
            "leaves out what scores less (--score-threshold 0 switches them off)."
        )
