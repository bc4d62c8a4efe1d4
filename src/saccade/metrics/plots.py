"""Plots of a report: curves, confusion matrix, classes, kinds of errors, and the history of a run.

Figures are made without pyplot, so nothing is global and no window opens; the caller owns them and saves them by
``figure.savefig``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.metrics.base import MetricReport
from saccade.results.fonts import font_file
from saccade.results.palette import CHART_COLORS, Color, class_color, ink_on
from saccade.structures.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_breakdown", "plot_confusion", "plot_curves", "plot_history", "plot_per_class", "report_figures"]

_MOST_LINES = 12  # more classes than this are drawn faint, with their mean in front
_MOST_CELLS = 16  # confusion matrices up to this many classes carry their numbers
_MOST_BARS = 40
_REFERENCE: dict[str, Any] = {
    "color": "#8a8f98",
    "linewidth": 1,
    "linestyle": "--",
}  # lines to compare with: perfect, chosen


def report_figures(report: MetricReport) -> dict[str, Figure]:
    """Draw every figure for which the report has data, by title.

    Example:
        >>> report = MetricReport({"AP": 0.5}, "AP", per_class=[{"class": "cat", "AP": 0.5}])
        >>> report_figures(report)
        {'by class': <Figure size 600x...>}
    """
    figures = plot_curves(report)
    if (confusion := plot_confusion(report)) is not None:
        figures["confusion"] = confusion
    if (errors := plot_breakdown(report)) is not None:
        figures["errors"] = errors
    if (bars := plot_per_class(report)) is not None:
        figures["by class"] = bars
    return figures


def plot_curves(report: MetricReport) -> dict[str, Figure]:
    """Draw one figure a curve of the report (precision over recall, calibration, cumulative error), by name.

    A line has the colour of its class. Undefined values leave gaps.

    Example:
        >>> curve = {"x": [0, 0.5, 1], "y": {"cat": [1, 0.9, 0.2]}, "xlabel": "recall", "ylabel": "precision"}
        >>> figures = plot_curves(MetricReport({"AP": 0.7}, "AP", curves={"precision_recall": curve}))
        >>> figures["precision_recall"].savefig("curve.png")
    """
    return {name: _curve(name.replace("_", " "), curve) for name, curve in report.curves.items() if curve["y"]}


def plot_confusion(report: MetricReport) -> Figure | None:
    """Draw the confusion matrix as a heat map: colours are shares of the row (the ground truth), numbers are counts.

    Args:
        report: With ``confusion``.

    Returns:
        The figure; None if the report has no confusion matrix.

    Example:
        >>> confusion = {"labels": ["cat", "dog"], "matrix": [[3, 1], [0, 4]]}
        >>> figure = plot_confusion(MetricReport({"top1": 0.875}, "top1", confusion=confusion))
        >>> figure.axes[0].images[0].get_array().tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    matrix = np.asarray(report.confusion.get("matrix", []), np.float64)
    if not matrix.size:
        return None
    labels = [_printable(label) for label in report.confusion["labels"]]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(12.0, 2.6 + 0.5 * len(labels))
    figure, axes = _figure(side + 0.6, side)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the ground truth")
    ticks = np.arange(len(labels))
    axes.set_xticks(ticks, labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="predicted", ylabel="ground truth")
    axes.spines[:].set_visible(False)
    if len(labels) <= _MOST_CELLS:
        for row, column in np.ndindex(matrix.shape):
            if matrix[row, column]:
                ink = "white" if shares[row, column] > 0.55 else "#1b2330"
                text = _count(matrix[row, column])
                axes.text(column, row, text, ha="center", va="center", color=ink, fontsize="small")
    _finish(figure)
    return figure


def plot_breakdown(report: MetricReport) -> Figure | None:
    """Draw one bar a kind of error: what would be gained without it, and how often it occurs.

    Args:
        report: With ``breakdown``.

    Returns:
        The figure; None if the report has no breakdown, or an undefined one.

    Example:
        >>> rows = [{"error": "localisation", "count": 12, "AP50_gained": 0.125}]
        >>> figure = plot_breakdown(MetricReport({"AP": 0.5}, "AP", breakdown=rows))
        >>> figure.axes[0].texts[0].get_text()
        '+0.125  (12)'
    """
    rows = report.breakdown
    keys = [key for row in rows[:1] for key, value in row.items() if isinstance(value, float)]
    if not keys or any(math.isnan(row[keys[0]]) for row in rows):
        return None
    figure, axes = _figure(6, 1.2 + 0.32 * len(rows))
    positions = np.arange(len(rows))
    values = [row[keys[0]] for row in rows]
    axes.barh(positions, values, color=[_hex(class_color(row["error"])) for row in rows], height=0.72)
    axes.set_yticks(positions, [_printable(row["error"]) for row in rows])
    axes.invert_yaxis()
    low, high = min(0.0, *values), max(0.01, *values)
    axes.set_xlim(1.05 * low, low + 1.35 * (high - low))
    for position, row, value in zip(positions, rows, values, strict=True):
        about: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": "small"}
        axes.annotate(f"{value:+.3f}  ({_count(row['count'])})", (max(value, 0.0), position), **about)
    axes.set_xlabel(f"{keys[0].replace('_', ' ')} if there were none (how many there are)")
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    _finish(figure)
    return figure


def plot_per_class(report: MetricReport, metric: str | None = None) -> Figure | None:
    """Draw one bar a class, best first.

    Args:
        report: With ``per_class`` rows.
        metric: Metric of the rows; the first one that is a fraction, if not given.

    Returns:
        The figure; None if there are no classes. Of more than 40 classes the 20 best and the 20 worst are shown.

    Example:
        >>> rows = [{"class": "cat", "AP": 0.4}, {"class": "dog", "AP": 0.9}]
        >>> figure = plot_per_class(MetricReport({"AP": 0.65}, "AP", per_class=rows))
        >>> [float(bar.get_width()) for bar in figure.axes[0].patches]
        [0.9, 0.4]
    """
    rows = report.per_class
    names = [key for row in rows[:1] for key, value in row.items() if isinstance(value, float)]
    if not names:
        return None
    key = metric or names[0]
    chosen = sorted((row for row in rows if not math.isnan(row[key])), key=lambda row: -row[key])
    if len(chosen) > _MOST_BARS:
        chosen = chosen[: _MOST_BARS // 2] + chosen[-(_MOST_BARS // 2) :]
    figure, axes = _figure(6, 1.2 + 0.28 * max(1, len(chosen)))
    values = [row[key] for row in chosen]
    positions = np.arange(len(chosen))
    axes.barh(positions, values, color=[_hex(class_color(row["class"])) for row in chosen], height=0.72)
    axes.set_yticks(positions, [_printable(row["class"]) for row in chosen])
    axes.invert_yaxis()
    top = max([1.0 if max(values, default=0) > 0.5 else 0.0, *(1.15 * value for value in values), 1e-6])
    axes.set_xlim(0, min(top, 1.0) if max(values, default=0) <= 1 else top)
    for position, value, row in zip(positions, values, chosen, strict=True):
        # Inside the bar, in the ink that reads on it; behind a bar that is too short.
        inside = value > 0.15 * axes.get_xlim()[1]
        ink = _hex(ink_on(class_color(row["class"]))) if inside else "black"
        about: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": "small"}
        axes.annotate(f"{value:.3f}", (0 if inside else value, position), color=ink, **about)
    axes.set_xlabel(key)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    _finish(figure)
    return figure


def plot_history(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw losses beside metrics over the epochs, from the rows of ``metrics.csv``.

    Args:
        rows: One an epoch: ``epoch``, ``train/loss``, ``val/AP``, ...; numbers or their text; what is empty is left
            out.

    Example:
        >>> figure = plot_history([{"epoch": 0, "train/loss": 2.0, "val/AP": 0.1}, {"epoch": 1, "train/loss": 1.2}])
        >>> [axes.get_title() for axes in figure.axes]
        ['loss', 'validation']
    """
    from matplotlib.ticker import MaxNLocator

    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if "/" in key]
    losses = [key for key in columns if "loss" in key.split("/")[-1]]
    scores = [key for key in columns if key not in losses and key.startswith("val/")]
    groups = [(title, keys) for title, keys in (("loss", losses), ("validation", scores)) if keys]
    figure, panels = _panels(max(1, len(groups)))
    for axes, (title, keys) in zip(panels, groups, strict=False):
        for key in keys:
            points = [
                (_number(row.get("epoch")), value) for row in rows if math.isfinite(value := _number(row.get(key)))
            ]
            axes.plot([x for x, _ in points], [y for _, y in points], label=key, marker="o" if len(points) < 3 else "")
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.legend(fontsize="small", frameon=False)
    _finish(figure)
    return figure


def _histogram(title: str, curve: Mapping[str, Any]) -> Figure:
    """Shares of groups that are no classes, one over the other."""
    figure, axes = _figure(6, 4.4)
    for color, (name, shares) in zip(itertools.cycle(CHART_COLORS), curve["y"].items(), strict=False):
        style: dict[str, Any] = {"step": "mid", "color": color}
        axes.fill_between(curve["x"], shares, alpha=0.45, linewidth=1.5, label=_printable(name), **style)
    axes.set(xlabel=curve["xlabel"], ylabel=curve["ylabel"], title=title)
    axes.set_ylim(0)
    axes.grid(alpha=0.25)
    axes.legend(fontsize="small", frameon=False)
    _finish(figure)
    return figure


def _curve(title: str, curve: Mapping[str, Any]) -> Figure:
    if curve.get("kind") == "histogram":
        return _histogram(title, curve)
    figure, axes = _figure(6, 4.4)
    lines = {str(name): np.asarray(values, np.float64) for name, values in curve["y"].items()}
    crowded = len(lines) > _MOST_LINES
    for name, values in lines.items():
        style: dict[str, Any] = {"color": _hex(class_color(name)), "linewidth": 1.8}
        if name == "perfect":
            style = _REFERENCE
        elif crowded:
            style = {**style, "alpha": 0.35, "linewidth": 1}
        axes.plot(curve["x"], values, label=_printable(name), **style)
    if len(lines) > 1 and "perfect" not in lines:
        mean = np.nanmean(np.stack(list(lines.values())), axis=0)
        axes.plot(curve["x"], mean, color="#737b87", linewidth=3, label="mean of all")
    axes.set(xlabel=curve["xlabel"], ylabel=curve["ylabel"], title=title)
    if "mark" in curve and math.isfinite(curve["mark"]):
        axes.axvline(curve["mark"], **_REFERENCE)
        axes.annotate(
            f"{curve['mark']:.2f}", (curve["mark"], 0), xytext=(4, 4), textcoords="offset points", fontsize="small"
        )
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.25)
    if len(lines) > 1:
        handles, names = axes.get_legend_handles_labels()
        shown = slice(-1, None) if crowded else slice(None)
        axes.legend(handles[shown], names[shown], fontsize="small", frameon=False)
    _finish(figure)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * count, 3.8), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _finish(figure: Figure) -> None:
    """Draw names literally: ``$`` starts no formula, and scripts that the standard font lacks get a font with them."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        words = text.get_text()
        if words.isascii():
            continue
        path = font_file(words)
        if path is not None and path != font_file(""):
            text.set_fontproperties(FontProperties(fname=str(path), size=text.get_fontsize()))


def _printable(name: str) -> str:
    """Replace what is no letter, and letters that no installed font has; an underscore first would hide the label."""
    name = printable(name, limit=60)
    if font_file(name) is None:
        name = "".join(letter if font_file(letter) == font_file("") else "?" for letter in name)
    return f" {name}" if name.startswith("_") else name


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _count(value: float) -> str:
    if value < 10_000:
        return str(int(value))
    return f"{value / 1000:.0f}k" if value < 1_000_000 else f"{value / 1_000_000:.1f}M"


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
