"""``report.html``: one file that shows a run, without a network, in light and in dark, on a desk and on a phone."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.base import MetricReport
from saccade.metrics.plots import plot_confusion, plot_curves
from saccade.weights.files import atomic_write

__all__ = ["write_report"]

_INK = "#010203"  # stands for the page's text colour inside a drawing; no drawing uses it otherwise
_LONGEST_SIDE = 900  # pixels of an embedded picture
_LINES = ("#3b82f6", "#f97316", "#10b981", "#ef4444", "#8b5cf6", "#ca8a04")

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b1f24; }
:root { --faint: #667080; --rule: #e1e5ea; --mark: #2563eb; }
@media (prefers-color-scheme: dark) {
  :root { --page: #111418; --card: #1a1f25; --ink: #e6e9ed; --faint: #98a2b0; --rule: #2c333c; --mark: #7aa7ff; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 1.25rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: .5rem 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 .75rem; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
section { padding: 1rem; margin: 0 0 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); gap: .75rem; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.tile:first-child b { color: var(--mark); }
.tile span { color: var(--faint); font-size: .85rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem .3rem 0; text-align: left; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--faint); font-weight: 600; }
.number { text-align: right; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 1rem; }
figure { margin: 0; }
figure svg { width: 100%; height: auto; max-height: 620px; display: block; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: .75rem; }
.pictures img { width: 100%; display: block; border-radius: 6px; }
pre { overflow-x: auto; font-size: .85rem; margin: .75rem 0 0; }
summary { cursor: pointer; font-weight: 600; }
@media print { body { background: none; } section { break-inside: avoid; } }
"""


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body><main>
<h1>{title}</h1>
{body}
</main></body>
</html>
"""


def write_report(
    path: Path,
    title: str,
    history: Sequence[Mapping[str, float]],
    report: MetricReport | None,
    pictures: Mapping[str, Sequence[NDArray[Any]]],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    config_yaml: str,
) -> Path:
    """Write one self-contained HTML file. What is empty is left out.

    Args:
        path: File to write.
        title: Heading.
        history: Rows of ``metrics.csv``: ``epoch``, ``train/...``, ``val/...``.
        report: Final figures, with their curves and confusion matrix.
        pictures: Section title -> pictures, (H, W, 3) uint8 RGB; long sides above 900 pixels are reduced.
        tables: Section title -> rows; the columns are the keys.
        config_yaml: The run's configuration.

    Returns:
        ``path``.
    """
    primary = report.primary if report else None
    sections = [
        _section("Final figures", _tiles(report)) if report else "",
        _section("Training", _plots(_history_figures(history, primary))),
        _section("By class", _table(report.per_class)) if report else "",
        _section("Curves and confusion", _plots(_class_figures(report))) if report else "",
        *(_section(name, _pictures(images)) for name, images in pictures.items()),
        *(_section(name, _table(rows)) for name, rows in tables.items()),
        _section("Configuration", f"<details><summary>show</summary><pre>{html.escape(config_yaml)}</pre></details>")
        if config_yaml
        else "",
    ]
    page = _PAGE.format(title=html.escape(title), style=_STYLE, body="\n".join(filter(None, sections)))
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(target: Path) -> None:
        target.write_text(page, encoding="utf-8")

    atomic_write(path, write)
    return path


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>" if body else ""


def _show(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "&ndash;"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        if value != 0 and abs(value) < 1e-3:
            return f"{value:.2e}"
        return f"{value:.4f}" if abs(value) <= 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.1f}"
    return html.escape(str(value))


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, (int, float, np.number))


def _tiles(report: MetricReport) -> str:
    """The figure that counts, then the others in the evaluator's order."""
    names = [report.primary, *(name for name in report.values if name != report.primary)]
    tiles = (
        f"<div class=tile><b>{_show(report.values[name])}</b><span>{html.escape(name)}</span></div>" for name in names
    )
    return f"<div class=tiles>{''.join(tiles)}</div>"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    kind = {
        name: "class=number" if all(_is_number(row.get(name)) for row in rows) else "class=text" for name in columns
    }
    head = "".join(f"<th {kind[name]}>{html.escape(name)}</th>" for name in columns)
    lines = ("".join(f"<td {kind[name]}>{_show(row.get(name))}</td>" for name in columns) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _pictures(images: Sequence[NDArray[Any]]) -> str:
    cells = (f'<figure><img alt="" loading="lazy" src="{_image_uri(image)}"></figure>' for image in images)
    return f'<div class="pictures">{"".join(cells)}</div>' if len(images) else ""


def _image_uri(image: NDArray[Any]) -> str:
    import cv2

    height, width = image.shape[:2]
    gain = min(1.0, _LONGEST_SIDE / max(height, width))
    if gain < 1.0:
        image = cv2.resize(
            image, (max(1, round(width * gain)), max(1, round(height * gain))), interpolation=cv2.INTER_AREA
        )
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _plots(figures: Iterable[Any]) -> str:
    cells = "".join(f"<figure>{_svg(figure)}</figure>" for figure in figures)
    return f'<div class="plots">{cells}</div>' if cells else ""


def _class_figures(report: MetricReport) -> list[Any]:
    confusion = plot_confusion(report)
    return [*plot_curves(report).values(), *([] if confusion is None else [confusion])]


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
        "validation": scores[: len(_LINES)],
        "learning rate": [name for name in names if name.split("/")[0] == "lr"],
    }
    return [_lines(title, history, columns) for title, columns in groups.items() if columns]


def _lines(title: str, history: Sequence[Mapping[str, float]], columns: Sequence[str]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(columns):
        points = [(row.get("epoch", index + 1), row[name]) for index, row in enumerate(history) if name in row]
        marker = "o" if len(points) < 3 else ""
        axes.plot(
            *zip(*points, strict=True), color=_LINES[number % len(_LINES)], label=name, linewidth=1.8, marker=marker
        )
    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(columns) > 1:
        axes.legend(frameon=False, fontsize="small")
    return figure


def _svg(figure: Any) -> str:
    """A drawing as inline SVG whose black is the page's text colour and whose background is the page's."""
    from matplotlib.text import Text

    figure.patch.set_alpha(0.0)
    for axes in figure.axes:
        axes.patch.set_alpha(0.0)
        on_colour = set(axes.texts) if axes.images else set()  # figures written over a heat map keep their contrast
        for text in axes.findobj(Text):
            if text not in on_colour and _is_black(text.get_color()):
                text.set_color(_INK)
        for spine in axes.spines.values():
            spine.set_edgecolor(_INK)
        axes.tick_params(which="both", color=_INK, labelcolor=_INK)
        legend = axes.get_legend()
        if legend is not None:
            legend.get_frame().set_alpha(0.0)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")


def _is_black(colour: Any) -> bool:
    from matplotlib.colors import to_rgb

    return max(to_rgb(colour)) < 0.2
