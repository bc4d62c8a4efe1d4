"""``report.html`` of a run: curves, figures, sheets of samples, best and worst predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saccade.deploy.runtime import open_runtime
from saccade.engine.report.drawings import hits_and_misses
from saccade.engine.report.report import write_report
from saccade.engine.report.samples import show_samples
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import load_config
from saccade.engine.train.fit import RunResult
from saccade.engine.train.setup import Datasets, open_datasets

__all__ = ["write_run_report"]


def write_run_report(
    result: RunResult, data: Datasets | None = None, tables: dict[str, list[dict[str, Any]]] | None = None
) -> Path:
    """Write the report of a finished run into its folder.

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
    drawings = {} if held_out is None else hits_and_misses(open_runtime(result.model_path), held_out)
    return write_report(
        result.folder / "report.html",
        title=config.name,
        history=result.history,
        report=result.report,
        drawings={**show_samples(result.folder), **drawings},
        tables=tables or {},
        config_yaml=config_path.read_text(encoding="utf-8"),
    )
