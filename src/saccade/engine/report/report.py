"""``report.html``: one file that shows a run, without a network, in light and in dark, on a desk and on a phone."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from saccade.metrics.base import MetricReport
from saccade.metrics.plots import plot_breakdown, plot_confusion, plot_curves
from saccade.results import page
from saccade.results.palette import CHART_COLORS
from saccade.structures.files import write_text

__all__ = ["write_report"]


def write_report(
    path: Path,
    title: str,
    history: Sequence[Mapping[str, float]],
    report: MetricReport | None,
    drawings: Mapping[str, Sequence[NDArray[Any]]],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    config_yaml: str,
) -> Path:
    """Write the report of a run as one self-contained HTML file; empty sections are left out.

    Args:
        path: File to write.
        title: Heading.
        history: Rows of ``metrics.csv``: ``epoch``, ``train/...``, ``val/...``.
        report: Final figures, with their curves and confusion matrix.
        drawings: Section title -> images, (H, W, 3) uint8 RGB; long sides above 900 pixels are reduced.
        tables: Section title -> rows; the columns are the keys.
        config_yaml: The run's configuration.

    Returns:
        ``path``.

    Example:
        >>> history = [{"epoch": 1.0, "train/loss": 2.3}, {"epoch": 2.0, "train/loss": 1.9}]
        >>> path = write_report(Path("report.html"), "digits", history, None, drawings={}, tables={}, config_yaml="")
        >>> "<svg" in path.read_text()
        True
    """
    primary = report.primary if report else None
    sections = [
        page.section("Final figures", _tiles(report)) if report else "",
        page.section("Training", page.plots(_history_figures(history, primary))),
        page.section("By class", page.table(report.per_class)) if report else "",
        page.section("Errors", page.table(report.breakdown)) if report else "",
        page.section("Curves and confusion", page.plots(_class_figures(report))) if report else "",
        *(page.section(name, page.images(shown)) for name, shown in drawings.items()),
        *(page.section(name, page.table(rows)) for name, rows in tables.items()),
        page.section(
            "Configuration", f"<details><summary>show</summary><pre>{html.escape(config_yaml)}</pre></details>"
        )
        if config_yaml
        else "",
    ]
    write_text(path, page.page(title, sections))
    return path


def _tiles(report: MetricReport) -> str:
    """The figure that counts, then the others in the evaluator's order."""
    return page.tiles({report.primary: report.values[report.primary]} | report.values)


def _class_figures(report: MetricReport) -> list[Any]:
    more = (plot_confusion(report), plot_breakdown(report))
    return [*plot_curves(report).values(), *(figure for figure in more if figure is not None)]


def _history_figures(history: Sequence[Mapping[str, float]], primary: str | None) -> list[Any]:
    """Losses, loss terms, metrics and learning rate over the epochs."""
    names = list(dict.fromkeys(key for row in history for key in row))
    losses = [name for name in ("train/loss", "val/loss") if name in names]
    terms = [name for name in names if name.startswith("train/") and name not in losses]
    scores = [name for name in names if name.startswith("val/") and name not in losses]
    # The figure that counts comes first; more lines than colours would be a tangle.
    scores.sort(key=lambda name: name != f"val/{primary}")
    groups: dict[str, Sequence[str]] = {
        "loss": losses,
        "loss terms": terms,
        "validation": scores[: len(CHART_COLORS)],
        "learning rate": [name for name in names if name.split("/")[0] == "lr"],
    }
    return [_lines(title, history, columns) for title, columns in groups.items() if columns]


def _lines(title: str, history: Sequence[Mapping[str, float]], columns: Sequence[str]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3.6))
    # Numbers of seven characters fit; a layout that measures all text takes as long as the drawing.
    figure.subplots_adjust(left=0.13, right=0.98, bottom=0.15, top=0.91)
    axes = figure.subplots()
    for number, name in enumerate(columns):
        points = [(row.get("epoch", index + 1), row[name]) for index, row in enumerate(history) if name in row]
        marker = "o" if len(points) < 3 else ""
        axes.plot(
            *zip(*points, strict=True),
            color=CHART_COLORS[number % len(CHART_COLORS)],
            label=name,
            linewidth=1.8,
            marker=marker,
        )
    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(columns) > 1:
        axes.legend(frameon=False, fontsize="small")
    return figure
