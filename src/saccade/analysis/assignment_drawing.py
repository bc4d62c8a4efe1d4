"""Drawing of an assignment: one panel a level, and a table of the objects with their positives by level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.models.detection.base import Assignment
from saccade.ops.matching import IGNORED, NEGATIVE
from saccade.results.drawing import draw_boxes
from saccade.results.fonts import render_text_within, stamp_text
from saccade.results.images import Image, blank_paper
from saccade.results.palette import Color, oklch_to_rgb

__all__ = ["draw_assignment", "object_colors"]

_INK: Color = (236, 237, 240)
_FAINT: Color = (150, 152, 160)
_GREY: Color = (205, 205, 210)  # of what is ignored
_WARNING: Color = (255, 140, 110)
_TEXT = 15  # height of the font, pixels
_ROW = 23
_GAP = 10
_SIDES = {1: 1000, 2: 860}  # longer side of a panel, by panels in a row
_SIDE = 720
_CROWD = 40  # objects, above which panels are larger by a third
_LEAST_STEP = 5  # pixels between the dots of negatives, below which they are only counted
_MOST_OUTLINES = 300  # ignored anchors of a level, above which only their centres are drawn


def object_colors(count: int) -> list[Color]:
    """Colours of objects, each far from those of its neighbours in the list.

    Example:
        >>> len(set(object_colors(100)))
        100
    """
    # Steps of the golden angle never come back to a hue; three tones tell those apart that lie close.
    tones = ((0.78, 0.17), (0.68, 0.21), (0.88, 0.14))
    return [oklch_to_rgb(*tones[number % 3], 0.6 + number * math.pi * (3 - math.sqrt(5))) for number in range(count)]


def draw_assignment(
    canvas: Image,
    boxes_xyxy: NDArray[np.float32],
    assignment: Assignment,
    levels: Sequence[Mapping[str, Any]],
    objects: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> Image:
    """Draw the panels of all levels, a key to them, and the table of objects.

    Args:
        canvas: (H, W, 3) RGB as the network sees it.
        boxes_xyxy: (M, 4) objects, pixels of the canvas.
        assignment: Of this image alone.
        levels: One row a level: name and counts.
        objects: One row an object: number, class, sides, and counts by level.
        notes: What stands above the table; from the second on in the colour of a warning.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    colors = object_colors(len(boxes_xyxy))
    owners, own = assignment.owners[0].cpu().numpy(), assignment.levels.cpu().numpy()
    regions = assignment.regions_xyxy.cpu().numpy().astype(np.float64)
    count = len(assignment.level_names)
    columns = count if count <= 3 else 2 if count == 4 else 3
    side = round(_SIDES.get(columns, _SIDE) * (4 / 3 if len(boxes_xyxy) > _CROWD else 1))
    panels = []
    for number, row in enumerate(levels):
        here = own == number
        panels.append(_panel(canvas, boxes_xyxy, colors, regions[here], owners[here], row, side))
    sheet = _grid(panels, columns)
    strips = [_key(notes, sheet.shape[1]), _table(objects, assignment.level_names, colors, sheet.shape[1])]
    return np.concatenate([sheet, *strips])


def _panel(
    canvas: Image,
    boxes_xyxy: NDArray[np.float32],
    colors: Sequence[Color],
    regions: NDArray[np.float64],
    owners: NDArray[np.int64],
    counts: Mapping[str, Any],
    side: int,
) -> Image:
    """One level: the image in faint grey, what is assigned in colour, the objects outlined, counts above."""
    scale = side / max(canvas.shape[:2])
    size = (max(1, round(canvas.shape[1] * scale)), max(1, round(canvas.shape[0] * scale)))
    shown = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    grey = shown.mean(axis=2, keepdims=True)
    image = np.rint(0.6 * (0.4 * shown + 0.6 * grey) + 6).astype(np.uint8)
    placed = regions * scale
    _draw_negatives(image, placed, owners)
    cells = _are_cells(placed)
    _draw_ignored(image, placed[owners == IGNORED], cells)
    _draw_positives(image, placed[owners >= 0], [colors[owner] for owner in owners[owners >= 0]], cells)
    boxes = boxes_xyxy.astype(np.float64) * scale
    present = np.isin(np.arange(len(boxes)), owners)
    for number in np.flatnonzero(~present).tolist():
        _rectangle(image, boxes[number], _mixed(colors[number]), 1)
    inks = [color for color, is_here in zip(colors, present, strict=True) if is_here]
    names = [str(number + 1) for number in np.flatnonzero(present)]
    image = draw_boxes(image, boxes[present], names, colors=inks)
    return np.concatenate([_title(counts, image.shape[1]), image])


def _are_cells(regions: NDArray[np.float64]) -> bool:
    """Whether regions tile the plane, as the grid cells of points do; anchors overlap each other."""
    if not len(regions):
        return True
    extent = (regions[:, 2:].max(axis=0) - regions[:, :2].min(axis=0)).prod()
    return bool((regions[:, 2:] - regions[:, :2]).prod(axis=1).sum() <= 1.05 * extent)


def _draw_negatives(image: Image, regions: NDArray[np.float64], owners: NDArray[np.int64]) -> None:
    """A faint dot at the centre of each, where there is room for dots."""
    centres = (regions[:, :2] + regions[:, 2:]) / 2
    dots = np.unique(np.rint(centres[owners == NEGATIVE]).astype(int), axis=0)
    step = math.sqrt(image.shape[0] * image.shape[1] / max(1, len(np.unique(np.rint(centres), axis=0))))
    if step < _LEAST_STEP:
        return
    radius = 2 if step > 24 else 1
    layer = image.copy()
    for x, y in dots:
        cv2.circle(layer, (int(x), int(y)), radius, _INK, -1, cv2.LINE_AA)
    cv2.addWeighted(layer, 0.45, image, 0.55, 0, image)


def _draw_ignored(image: Image, regions: NDArray[np.float64], cells: bool) -> None:
    """Cells are hatched; anchors are outlined faintly, or marked at their centres where they are many."""
    if cells:
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        stripes = (x + y) % 5 < 2
        inside = np.zeros(image.shape[:2], np.uint8)
        for region in regions:
            _rectangle(inside, region, (255, 255, 255), -1)
        image[(inside > 0) & stripes] = _GREY
        return
    if len(regions) <= _MOST_OUTLINES:
        layer = image.copy()
        for region in regions:
            _rectangle(layer, region, _GREY, 1)
        cv2.addWeighted(layer, 0.3, image, 0.7, 0, image)
    for x, y in np.unique(np.rint((regions[:, :2] + regions[:, 2:]) / 2).astype(int), axis=0):
        cv2.drawMarker(image, (int(x), int(y)), _GREY, cv2.MARKER_TILTED_CROSS, 6, 1, cv2.LINE_AA)


def _draw_positives(image: Image, regions: NDArray[np.float64], inks: Sequence[Color], cells: bool) -> None:
    """Cells are filled; anchors are outlined, with a dot at their centres."""
    layer = image.copy()
    for region, ink in zip(regions, inks, strict=True):
        _rectangle(layer, region, ink, -1 if cells else 1)
    weight = 0.7 if cells else 0.55
    cv2.addWeighted(layer, weight, image, 1 - weight, 0, image)
    for region, ink in zip(regions, inks, strict=True):
        if cells:
            _rectangle(image, region, ink, 1)
            continue
        centre = (round((region[0] + region[2]) / 2), round((region[1] + region[3]) / 2))
        cv2.circle(image, centre, 4, (16, 16, 20), -1, cv2.LINE_AA)
        cv2.circle(image, centre, 3, ink, -1, cv2.LINE_AA)


def _rectangle(image: NDArray[np.uint8], box: NDArray[np.float64], color: Color, width: int) -> None:
    # Far outside nothing is to be seen, and OpenCV counts in 16 bits.
    x1, y1, x2, y2 = np.clip(np.rint(box), -10_000, 10_000).astype(int).tolist()
    cv2.rectangle(image, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), color, width)


def _mixed(color: Color) -> Color:
    red, green, blue = (round(0.6 * value + 0.1 * 255) for value in color)
    return red, green, blue


def _title(counts: Mapping[str, Any], width: int) -> Image:
    strip = blank_paper(_ROW + 12, width)
    name = render_text_within(str(counts["level"]), _TEXT + 4, width // 3)
    stamp_text(strip, name, 4, (strip.shape[0] - name.shape[0]) // 2, _INK)
    objects = "object" if counts["objects"] == 1 else "objects"
    words = [f"{counts['positive']:,} positive for {counts['objects']} {objects}"]
    words += [f"{counts[key]:,} {key}" for key in ("ignored", "negative") if counts[key]]
    text = render_text_within("   ·   ".join(words), _TEXT, width - name.shape[1] - 3 * _GAP)
    stamp_text(strip, text, name.shape[1] + 2 * _GAP, (strip.shape[0] - text.shape[0]) // 2 + 1, _FAINT)
    return strip


def _grid(panels: Sequence[Image], columns: int) -> Image:
    """All panels are of one size."""
    height, width = panels[0].shape[:2]
    rows = -(-len(panels) // columns)
    sheet = blank_paper(rows * (height + _GAP), columns * (width + _GAP) + _GAP)
    for number, panel in enumerate(panels):
        top, left = (number // columns) * (height + _GAP), _GAP + (number % columns) * (width + _GAP)
        sheet[top : top + height, left : left + width] = panel
    return sheet


def _key(notes: Sequence[str], width: int) -> Image:
    """What the colours mean, and the notes."""
    words = (
        "in the colour of an object: positive for it",
        "grey: ignored",
        "dots: negative (where there is room for them)",
        "thick outline: object with a positive at this level",
    )
    lines = [("   ·   ".join(words), _FAINT), *((note, _WARNING if row else _INK) for row, note in enumerate(notes))]
    strip = blank_paper(len(lines) * _ROW + _GAP, width)
    for row, (line, color) in enumerate(lines):
        stamp_text(strip, render_text_within(line, _TEXT, width - 2 * _GAP), _GAP, row * _ROW, color)
    return strip


def _table(
    objects: Sequence[Mapping[str, Any]], level_names: Sequence[str], colors: Sequence[Color], width: int
) -> Image:
    """One row an object, in as many columns of rows as fit beside each other."""
    if not objects:
        return blank_paper(_GAP, width)
    by_level = level_names if len(level_names) > 1 else ()  # one level is all there is
    header = ["", "class", "size", "positive", *by_level]
    rows = [
        [
            str(row["object"]),
            str(row["class"]),
            f"{row['width']:.0f} x {row['height']:.0f}",
            str(row["positive"]),
            *(str(row[name]) for name in by_level),
        ]
        for row in objects
    ]
    most = max(60, width // 3)
    masks = [[render_text_within(text, _TEXT, most) for text in line] for line in [header, *rows]]
    widths = [max(line[place].shape[1] for line in masks) + 14 for place in range(len(header))]
    swatch = _TEXT
    column = sum(widths) + swatch + 3 * _GAP
    columns = max(1, (width - _GAP) // column)
    per_column = -(-len(rows) // columns)
    columns = -(-len(rows) // per_column)
    strip = blank_paper((per_column + 1) * _ROW + 2 * _GAP, max(width, column + _GAP))
    for part in range(columns):
        left = _GAP + part * column
        _write_row(strip, masks[0], widths, left + swatch, 0, [_FAINT] * len(header))
        for place, number in enumerate(range(part * per_column, min(len(rows), (part + 1) * per_column))):
            top = (place + 1) * _ROW
            strip[top + 2 : top + 2 + swatch, left : left + swatch] = colors[number]
            inks = [_INK if text != "0" else _FAINT for text in rows[number]]
            if rows[number][3] == "0":
                inks[3] = _WARNING
            _write_row(strip, masks[number + 1], widths, left + swatch, top, inks)
    return strip[:, :width]


def _write_row(
    strip: Image, masks: Sequence[NDArray[np.uint8]], widths: Sequence[int], left: int, top: int, inks: Sequence[Color]
) -> None:
    """Words begin at the left of their column, numbers end at its right."""
    for place, (mask, room, ink) in enumerate(zip(masks, widths, inks, strict=True)):
        start = left + 8 if place == 1 else left + room - mask.shape[1]
        stamp_text(strip, mask, start, top, ink)
        left += room
