from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from saccade.metrics.base import MetricReport
from saccade.metrics.plots import (
    plot_breakdown,
    plot_confusion,
    plot_curves,
    plot_history,
    plot_per_class,
    report_figures,
)


def report(names: tuple[str, ...] = ("cat", "dog")) -> MetricReport:
    x = np.linspace(0, 1, 11)
    count = len(names) + 1
    return MetricReport(
        values={"AP": 0.5},
        primary="AP",
        per_class=[{"class": name, "AP": 0.9 / (i + 1), "objects": i} for i, name in enumerate(names)]
        + [{"class": "never", "AP": math.nan, "objects": 0}],
        curves={
            "precision_recall": {
                "x": x.tolist(),
                "y": {name: (1 - x * i / count).tolist() for i, name in enumerate(names)},
                "xlabel": "recall",
                "ylabel": "precision at IoU 0.5",
            }
        },
        confusion={"labels": [*names, "background"], "matrix": (np.eye(count, dtype=int) * 12_345).tolist()},
    )


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "names",
    [("cat",), ("cat", "dog"), ("$a_1$", "_hidden", "красный", "红细胞"), tuple(f"class {i}" for i in range(60))],
    ids=["one", "two", "scripts", "sixty"],
)
def test_every_figure_is_drawn_for_any_names_without_a_warning(names: tuple[str, ...]) -> None:
    figures = report_figures(report(names))
    assert list(figures) == ["precision_recall", "confusion", "by class"]
    for figure in figures.values():
        assert isinstance(figure, Figure)
        assert png(figure)[:4] == b"\x89PNG"


def test_curves_carry_their_names_and_the_mean() -> None:
    (axes,) = plot_curves(report())["precision_recall"].axes
    assert axes.get_xlabel() == "recall"
    assert [line.get_label() for line in axes.lines] == ["cat", "dog", "mean of all"]
    assert np.array_equal(axes.lines[0].get_ydata(), np.ones(11))


def test_a_histogram_has_its_groups_in_colours_apart_and_no_mean() -> None:
    shares = {"same class": [0.7, 0.3, 0.0], "different classes": [0.0, 0.4, 0.6]}
    curve = {"x": [0, 1, 2], "y": shares, "xlabel": "distance", "ylabel": "share", "kind": "histogram"}
    (axes,) = plot_curves(MetricReport({}, "AUC", curves={"pairs": curve}))["pairs"].axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["same class", "different classes"]
    assert not axes.lines
    first, second = (area.get_facecolor()[0] for area in axes.collections)
    assert np.abs(first - second).max() > 0.5


def test_confusion_shows_counts_and_shares() -> None:
    figure = plot_confusion(report())
    assert figure is not None
    axes = figure.axes[0]
    assert np.array_equal(axes.images[0].get_array(), np.eye(3))
    assert [text.get_text() for text in axes.texts] == ["12k"] * 3
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "background"]
    assert plot_confusion(MetricReport({}, "AP")) is None


def test_bars_are_sorted_and_leave_out_the_undefined() -> None:
    figure = plot_per_class(report())
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert [bar.get_width() for bar in axes.patches] == [0.9, 0.45]
    assert plot_per_class(MetricReport({}, "AP")) is None


def test_kinds_of_errors_are_bars_with_gain_and_count() -> None:
    rows = [
        {"error": "localisation", "count": 12, "AP50_gained": 0.125},
        {"error": "missed", "count": 12_345, "AP50_gained": 0.0},
    ]
    figure = plot_breakdown(MetricReport({}, "AP", breakdown=rows))
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["localisation", "missed"]
    assert [bar.get_width() for bar in axes.patches] == [0.125, 0.0]
    assert [text.get_text() for text in axes.texts] == ["+0.125  (12)", "+0.000  (12k)"]
    assert axes.get_xlabel().startswith("AP50 gained")
    assert png(figure)[:4] == b"\x89PNG"
    assert list(report_figures(MetricReport({}, "AP", breakdown=rows))) == ["errors"]
    assert plot_breakdown(MetricReport({}, "AP")) is None
    assert plot_breakdown(MetricReport({}, "AP", breakdown=[{**rows[0], "AP50_gained": math.nan}])) is None


def test_a_curve_marks_the_value_to_choose() -> None:
    curve = {"x": [0, 0.5, 1], "y": {"cat": [0.1, 0.9, 0]}, "xlabel": "confidence", "ylabel": "F1", "mark": 0.42}
    (axes,) = plot_curves(MetricReport({}, "AP", curves={"F1_confidence": curve}))["F1_confidence"].axes
    assert axes.lines[-1].get_xdata()[0] == 0.42
    assert [text.get_text() for text in axes.texts] == ["0.42"]
    unknown = {**curve, "mark": math.nan}
    (axes,) = plot_curves(MetricReport({}, "AP", curves={"F1_confidence": unknown}))["F1_confidence"].axes
    assert len(axes.lines) == 1


def test_history_takes_numbers_and_the_text_of_a_csv() -> None:
    rows = [{"epoch": i, "train/loss": 1 / (i + 1), "train/box": 0.3, "val/AP": 0.1 * i, "lr": 0.1} for i in range(4)]
    del rows[0]["val/AP"]
    table = io.StringIO()
    writer = csv.DictWriter(table, ["epoch", "train/loss", "train/box", "val/AP", "lr"])
    writer.writeheader()
    writer.writerows(rows)
    table.seek(0)
    for source in (rows, list(csv.DictReader(table))):
        figure = plot_history(source)
        losses, scores = figure.axes
        assert [line.get_label() for line in losses.lines] == ["train/loss"]
        assert [line.get_label() for line in scores.lines] == ["val/AP"]
        assert scores.lines[0].get_xdata().tolist() == [1, 2, 3]
        assert png(figure)[:4] == b"\x89PNG"
    assert png(plot_history([]))[:4] == b"\x89PNG"
