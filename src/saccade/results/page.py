"""HTML building blocks of report pages: one file, no network access, light and dark, for desktop and phone.

Images are embedded, plots are inline SVG in the page's own colours, and every text is escaped.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.structures.text import printable

__all__ = ["images", "page", "plots", "section", "show", "table", "tiles"]

_INK = "#010203"  # stands for the page's text colour inside a plot; no plot uses it otherwise
_LONGEST_SIDE = 900  # pixels of an embedded image

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
.images { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: .75rem; }
.images.wide { grid-template-columns: 1fr; }
.images img { width: 100%; display: block; border-radius: 6px; }
figcaption { color: var(--faint); font-size: .85rem; overflow-wrap: anywhere; margin: .25rem 0 .5rem; }
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


def page(title: str, sections: Sequence[str]) -> str:
    """Build a whole HTML page.

    Args:
        title: Heading; plain text.
        sections: Markup of each section; empty ones are left out.

    Example:
        >>> html_text = page("Run 7", [section("Classes", table([{"class": "dog", "ap": 0.71}]))])
        >>> html_text.splitlines()[0], "<h1>Run 7</h1>" in html_text
        ('<!doctype html>', True)
    """
    return _PAGE.format(title=_escaped(title), style=_STYLE, body="\n".join(filter(None, sections)))


def _escaped(text: str) -> str:
    return html.escape(printable(text, lines=True))


def section(title: str, body: str) -> str:
    """Build a card with a heading; empty if there is no body.

    Args:
        title: Plain text.
        body: Markup.

    Example:
        >>> section("Errors", "<p>none</p>")
        '<section><h2>Errors</h2><p>none</p></section>'
    """
    return f"<section><h2>{_escaped(title)}</h2>{body}</section>" if body else ""


def show(value: Any) -> str:
    """Format a value as escaped text: shares to four digits, a dash for undefined values.

    Args:
        value: Number, text, bool or None.

    Example:
        >>> show(0.70715), show(12.345), show(None), show("a < b")
        ('0.7071', '12.35', '&ndash;', 'a &lt; b')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "&ndash;"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        if value != 0 and abs(value) < 1e-3:
            return f"{value:.2e}"
        return f"{value:.4f}" if abs(value) <= 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.1f}"
    return _escaped(str(value))


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, (int, float, np.number))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Build a table whose columns are the keys of the rows; numbers are right-aligned.

    Args:
        rows: Values by column.

    Example:
        >>> "<td class=text>dog</td><td class=number>0.7100</td>" in table([{"class": "dog", "ap": 0.71}])
        True
    """
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    kind = {
        name: "class=number" if all(_is_number(row.get(name)) for row in rows) else "class=text" for name in columns
    }
    head = "".join(f"<th {kind[name]}>{_escaped(name)}</th>" for name in columns)
    lines = ("".join(f"<td {kind[name]}>{show(row.get(name))}</td>" for name in columns) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def tiles(figures: Mapping[str, Any]) -> str:
    """Build a row of large figures; the first is marked.

    Args:
        figures: Values by name.

    Example:
        >>> tiles({"AP": 0.5})
        '<div class=tiles><div class=tile><b>0.5000</b><span>AP</span></div></div>'
    """
    cells = (
        f"<div class=tile><b>{show(value)}</b><span>{_escaped(name)}</span></div>" for name, value in figures.items()
    )
    return f"<div class=tiles>{''.join(cells)}</div>"


def images(
    images: Sequence[NDArray[Any]], captions: Sequence[str] = (), longest: int = _LONGEST_SIDE, wide: bool = False
) -> str:
    """Build a grid of embedded images.

    Args:
        images: (H, W, 3) uint8 RGB.
        captions: A line of plain text below each; none if empty.
        longest: Long sides above so many pixels are reduced.
        wide: One image a row.

    Example:
        >>> markup = images([np.zeros((48, 64, 3), np.uint8)], captions=["dog.jpg"])
        >>> "<figcaption>dog.jpg</figcaption>" in markup, "data:image/jpeg;base64," in markup
        (True, True)
    """
    texts = [f"<figcaption>{_escaped(caption)}</figcaption>" for caption in captions] or [""] * len(images)
    cells = (
        f'<figure><img alt="" loading="lazy" src="{_image_uri(image, longest)}">{text}</figure>'
        for image, text in zip(images, texts, strict=True)
    )
    kind = "images wide" if wide else "images"
    return f'<div class="{kind}">{"".join(cells)}</div>' if len(images) else ""


def _image_uri(image: NDArray[Any], longest: int) -> str:
    import cv2

    height, width = image.shape[:2]
    gain = min(1.0, longest / max(height, width))
    if gain < 1.0:
        image = cv2.resize(
            image, (max(1, round(width * gain)), max(1, round(height * gain))), interpolation=cv2.INTER_AREA
        )
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def plots(figures: Iterable[Any]) -> str:
    """Build a grid of matplotlib figures as inline SVG.

    Args:
        figures: They are changed: text, axes and background take the page's colours.

    Example:
        >>> from matplotlib.figure import Figure
        >>> figure = Figure()
        >>> lines = figure.subplots().plot([0, 1], [0.2, 0.7])
        >>> "<svg" in plots([figure])
        True
    """
    cells = "".join(f"<figure>{_svg(figure)}</figure>" for figure in figures)
    return f'<div class="plots">{cells}</div>' if cells else ""


def _svg(figure: Any) -> str:
    """Convert a figure to inline SVG whose black is the page's text colour and whose background is the page's."""
    from matplotlib.text import Text

    figure.patch.set_alpha(0.0)
    for axes in figure.axes:
        axes.patch.set_alpha(0.0)
        on_colour = set(axes.texts) if axes.images else set()  # numbers written over a heat map keep their contrast
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
