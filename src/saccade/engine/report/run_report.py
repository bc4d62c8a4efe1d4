"""``report.html`` of a run: curves, figures, sheets of samples, best and worst predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from saccade.deploy.runtime import EagerRuntime
from saccade.engine.report.drawings import hits_and_misses
from saccade.engine.report.report import write_report
from saccade.engine.report.samples import show_samples
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import load_config
from saccade.engine.train.fit import RunResult
from saccade.engine.train.progress import note
from saccade.engine.train.setup import Datasets, open_datasets
from saccade.models.checkpoint import load_model

__all__ = ["write_run_report"]


def write_run_report(
    result: RunResult, data: Datasets | None = None, tables: dict[str, list[dict[str, Any]]] | None = None
) -> Path:
    """Write the report of a finished run into its folder.

    The network predicts as it was trained: converting it for a few drawings would take longer than they do.

    Args:
        result: The run.
        data: Its data sets, where they are open already.
        tables: Further tables by title, rows as mappings.

    Returns:
        The HTML file.
    """
    config_path = result.folder / "config.yaml"
    config: TrainConfig = load_config(config_path)
    data = data or open_datasets(config)
    held_out = data.test or data.val
    drawings: dict[str, Any] = {}
    if held_out is not None:
        note("report: the best and the worst predictions are drawn")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        drawings = hits_and_misses(EagerRuntime(load_model(result.model_path), device), held_out)
    path = write_report(
        result.folder / "report.html",
        title=config.name,
        history=result.history,
        report=result.report,
        drawings={**show_samples(result.folder), **drawings},
        tables=tables or {},
        config_yaml=config_path.read_text(encoding="utf-8"),
    )
    note(f"report: {path}")
    return path
