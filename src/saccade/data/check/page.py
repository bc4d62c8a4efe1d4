"""The report of a check as one HTML file: counts, histograms, and the faults drawn on their images."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.check.report import CheckReport, Issue, describe_code
from saccade.data.images.decode import read_image
from saccade.errors import DataError
from saccade.results import page
from saccade.results.drawing import draw_boxes, montage
from saccade.results.palette import CHART_COLORS, class_color
from saccade.structures.files import write_text
from saccade.structures.text import printable

__all__ = ["write_page"]

_LISTED = 50  # faults of a code in a table
_SHOWN = 6  # faults of a code with their image
_SIDE = 480  # pixels of the longer side of such an image


def write_page(report: CheckReport, path: str | Path) -> Path:
    """Write the report of a check as one HTML file with counts, histograms and images of the faults.

    The file needs no network and no other file.

    Args:
        report: Outcome of a check.
        path: File to write.

    Returns:
        ``path``.

    Raises:
        SaccadeError: If the file cannot be written.

    Example:
        >>> from saccade.data.check import check_source
        >>> report = check_source("digit_scenes", "val", images=False)
        >>> "<h2>Boxes</h2>" in write_page(report, "page.html").read_text()
        True
    """
    path = Path(path)
    errors = sum(issue.severity == "error" for issue in report.issues)
    figures = {
        "errors": errors,
        "warnings": len(report.issues) - errors,
        "images": report.images,
        "objects": report.objects,
        "images without objects": report.empty_images,
    }
    tiles = "".join(f"<div class=tile><b>{value:,}</b><span>{name}</span></div>" for name, value in figures.items())
    sections = [
        page.section("Found", f"<div class=tiles>{tiles}</div>{_codes(report)}"),
        page.section("Counts by class and split", _class_table(report)),
        page.section("Boxes", page.plots(_histograms(report))),
        *(page.section(f"{describe_code(code)}: {len(issues)}", _group(issues)) for code, issues in report.groups()),
        page.section("Images without objects", _empty(report)),
    ]
    write_text(path, page.page(f"check of {printable(report.name)}", sections))
    return path


def _codes(report: CheckReport) -> str:
    if not report.issues:
        return "<p>no faults found</p>"
    rows = [
        {
            "fault": describe_code(code),
            "errors": sum(issue.severity == "error" for issue in issues),
            "warnings": sum(issue.severity == "warning" for issue in issues),
        }
        for code, issues in report.groups()
    ]
    return page.table(rows)


def _class_table(report: CheckReport) -> str:
    """Counts with a bar for each class, divided by split; markup rather than a figure, so that any script is shown."""
    rows = report.class_rows()
    totals = list(report.class_counts.values())
    if not rows:
        return ""
    largest = max(1, *totals)
    head = "".join(f"<th>{_escaped(name)}</th>" for name in [*rows[0], ""])
    lines = []
    for row, name in zip(rows, report.class_counts, strict=True):
        cells = "".join(
            f"<td class={'number' if isinstance(value, int) else 'text'}>{_escaped(str(value))}</td>"
            for value in row.values()
        )
        bars = "".join(
            f'<span style="display:inline-block;height:.8em;background:{CHART_COLORS[number % len(CHART_COLORS)]};'
            f'width:{240 * split.class_counts.get(name, 0) / largest:.1f}px"></span>'
            for number, split in enumerate(report.splits)
        )
        lines.append(f"<tr>{cells}<td>{bars}</td></tr>")
    body = "".join(lines)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _histograms(report: CheckReport) -> list[Any]:
    """One figure for each quantity, with a colour for each split."""
    names = dict.fromkeys(name for split in report.splits for name in split.histograms)
    return [_bars(name, report) for name in names]


def _bars(name: str, report: CheckReport) -> Any:
    from matplotlib.figure import Figure

    series = [(split.name, split.histograms[name]) for split in report.splits if name in split.histograms]
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    bins = list(series[0][1])
    positions, width = np.arange(len(bins)), 0.8 / len(series)
    for number, (split, counts) in enumerate(series):
        # Letters that the figure's font lacks, and signs that it would read as a formula, are replaced.
        label = split.encode("ascii", "replace").decode().replace("$", "S")
        offset = (number - (len(series) - 1) / 2) * width
        color = CHART_COLORS[number % len(CHART_COLORS)]
        axes.bar(positions + offset, list(counts.values()), width, color=color, label=label)
    axes.set_title(name, loc="left")
    axes.set_xticks(positions, bins, rotation=45, ha="right", rotation_mode="anchor", fontsize="small")
    axes.set_ylabel("boxes")
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize="small")
    return figure


def _group(issues: Sequence[Issue]) -> str:
    ordered = sorted(issues, key=lambda issue: issue.severity)
    columns = ("severity", "code", "split", "file", "field", "problem", "remedy")
    rows = [{name: printable(str(getattr(issue, name))) for name in columns} for issue in ordered[:_LISTED]]
    more = f"<p>... and {len(ordered) - _LISTED} more; all are in the JSON report</p>" if len(ordered) > _LISTED else ""
    shown = [(image, issue) for issue in ordered[:_LISTED] if (image := _image(issue)) is not None][:_SHOWN]
    images = page.images([image for image, _ in shown], [_caption(issue) for _, issue in shown])
    return f"{images}<details{'' if shown else ' open'}><summary>list</summary>{page.table(rows)}{more}</details>"


def _caption(issue: Issue) -> str:
    name = Path(issue.image).name
    return printable(f"{name} | {Path(issue.other).name}" if issue.other else f"{name}: {issue.field}: {issue.problem}")


def _image(issue: Issue) -> NDArray[np.uint8] | None:
    """The fault on its image, or the two images that are alike; None where there is nothing to draw."""
    paths = [issue.image, issue.other] if issue.other and issue.other != issue.image else [issue.image]
    if not all(path and Path(path).is_file() for path in paths):
        return None
    try:
        images = [read_image(path) for path in paths]
    except DataError:
        return None
    if issue.box is not None:
        height, width = images[0].shape[:2]
        x1, y1, x2, y2 = np.clip(issue.box, 0, (width, height, width, height)).tolist()
        box = np.array([[min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]])
        name = issue.field.partition("(")[2].partition(")")[0] or issue.field
        return montage([draw_boxes(images[0], box, [name], colors=[class_color(name)])], 1, _SIDE)
    return montage(images, len(images), _SIDE)


def _empty(report: CheckReport) -> str:
    rows = [
        {"split": printable(split.name), "file": printable(file)} for split in report.splits for file in split.empty
    ]
    if not rows:
        return ""
    more = f"<p>... and {len(rows) - _LISTED} more</p>" if len(rows) > _LISTED else ""
    return f"<details><summary>{len(rows)}</summary>{page.table(rows[:_LISTED])}{more}</details>"
