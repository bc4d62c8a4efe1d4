"""Drawings of predictions: boxes, masks, label maps, keypoints, captions and heat maps on an image of any size.

Line width and letters follow the size of the image, labels stay inside it and do not cover each other, and very small
images are enlarged first. Legends and captions are added below the image, so that they hide none of it. Shapes are
OpenCV's, letters Pillow's (``saccade.results.fonts``), so class names may be in any script. Every function takes any
image (H, W), (H, W, C), 8 or 16 bit or float, and returns a new (H, W, 3) uint8 RGB one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.ops.boxes_numpy import box_intersection
from saccade.results.fonts import render_text_within, stamp_text
from saccade.results.images import PAPER, Image, blank_paper, montage, to_rgb8, write_image
from saccade.results.palette import Color, class_color, ink_on, oklch_to_rgb
from saccade.structures.sample import IGNORE_LABEL

__all__ = [
    "class_color",
    "draw_boxes",
    "draw_caption",
    "draw_cutout",
    "draw_heat",
    "draw_keypoints",
    "draw_label_map",
    "heat_colors",
    "montage",
    "write_image",
]

_SMALL = 360  # images whose longer side is below this are enlarged ...
_ENLARGED = 512  # ... to about this
_INK: Color = (236, 237, 240)


def draw_boxes(
    image: NDArray[Any],
    boxes_xyxy: NDArray[Any],
    names: Sequence[str],
    scores: NDArray[Any] | None = None,
    masks: NDArray[Any] | None = None,
    colors: Sequence[Color] | None = None,
) -> Image:
    """Draw boxes with class names and scores, and masks if there are any.

    Args:
        image: The image.
        boxes_xyxy: (N, 4) in its pixels.
        names: N class names; an empty one draws no label.
        scores: (N,) 0..1, printed behind the names. Scores that are all 1, as those of ground truth, are not printed.
        masks: (N, H, W), true inside the object.
        colors: N colours, e.g. one for hits and one for misses; by name if not given.

    Example:
        >>> image = np.zeros((480, 640, 3), np.uint8)
        >>> boxes = np.array([[100.0, 100, 300, 400]])
        >>> drawn = draw_boxes(image, boxes, ["dog"], scores=np.array([0.87]))
        >>> drawn.shape, bool((drawn != image).any())
        ((480, 640, 3), True)
    """
    import cv2

    canvas, scale = _enlarge(image)
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4) * scale
    inks = list(colors) if colors is not None else [class_color(name) for name in names]
    line, size = _line_width(canvas), _font_size(canvas)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for index in np.argsort(-areas, kind="stable"):  # small ones on top
        if masks is not None:
            _tint(canvas, np.asarray(masks[index]), inks[index], line)
        # The outline lies inside the image even where the box touches its border.
        inset = line / 2
        x1, y1 = (max(inset, value) for value in boxes[index, :2])
        x2, y2 = min(canvas.shape[1] - 1 - inset, boxes[index, 2]), min(canvas.shape[0] - 1 - inset, boxes[index, 3])
        corners = (round(x1), round(y1)), (max(round(x1), round(x2)), max(round(y1), round(y2)))
        cv2.rectangle(canvas, *corners, _darker(inks[index]), line + max(2, line // 2), cv2.LINE_AA)
        cv2.rectangle(canvas, *corners, inks[index], line, cv2.LINE_AA)

    sure = scores is None or bool(np.all(np.asarray(scores) == 1))
    texts = [
        f"{name} {scores[i]:.2f}" if name and scores is not None and not sure else name for i, name in enumerate(names)
    ]
    order = range(len(texts)) if scores is None else np.argsort(-np.asarray(scores), kind="stable")
    _draw_labels(canvas, boxes, texts, inks, order, size, line)
    return canvas


def draw_label_map(
    image: NDArray[Any], label_map: NDArray[Any], class_names: Sequence[str], legend: bool = True, opacity: float = 0.5
) -> Image:
    """Draw a label map: every pixel tinted by its class, regions outlined, a legend with shares of the image below.

    Args:
        image: The image.
        label_map: (H, W) class of every pixel; 255 (ignored) and a class named ``background`` stay untinted.
        class_names: Name of each label.
        legend: Add the names below the image.
        opacity: Of the tint, 0..1.

    Example:
        >>> label_map = np.zeros((480, 640), np.uint8)
        >>> label_map[240:] = 1
        >>> image = np.full((480, 640, 3), 100, np.uint8)
        >>> drawn = draw_label_map(image, label_map, ("background", "road"), legend=False)
        >>> drawn[100, 100].tolist(), bool((drawn[400, 100] == 100).all())
        ([100, 100, 100], False)
    """
    import cv2

    canvas, _ = _enlarge(image)
    height, width = canvas.shape[:2]
    labels = np.asarray(label_map)
    present, counts = np.unique(labels, return_counts=True)
    names = {
        int(label): class_names[label] if label < len(class_names) else f"class {label}"
        for label in present
        if label != IGNORE_LABEL
    }
    resized = cv2.resize(labels.astype(np.int16), (width, height), interpolation=cv2.INTER_NEAREST)
    table = np.zeros((int(present.max(initial=0)) + 1, 4), np.float32)
    for label, name in names.items():
        if name.lower() != "background":
            table[label] = (*class_color(name), opacity)
    tint = table[resized]
    canvas[:] = np.rint(canvas * (1 - tint[..., 3:]) + tint[..., :3] * tint[..., 3:]).astype(np.uint8)
    edges = np.zeros((height, width), np.uint8)
    edges[:, 1:] |= resized[:, 1:] != resized[:, :-1]
    edges[1:] |= resized[1:] != resized[:-1]
    thick = _line_width(canvas) - 1
    edges = cv2.dilate(edges, np.ones((thick, thick), np.uint8)) > 0
    canvas[edges] = np.rint(0.45 * canvas[edges] + 0.55 * 255).astype(np.uint8)
    if not legend:
        return canvas
    shares = {int(label): count / max(1, labels.size) for label, count in zip(present, counts, strict=True)}
    entries = [
        (f"{names[label]}  {_percent(shares[label])}", class_color(names[label]))
        for label in sorted(names, key=lambda key: -shares[key])
    ]
    return _with_strip(canvas, _legend(entries, canvas))


def draw_keypoints(
    image: NDArray[Any],
    keypoints: NDArray[Any],
    scores: NDArray[Any] | None = None,
    names: Sequence[str] = (),
    colors: Sequence[Color] | None = None,
    skeleton: Sequence[tuple[int, int]] = (),
) -> Image:
    """Draw the keypoints of every object, and the limbs between them.

    Up to 20 named points have the colours of their names and a legend of those that are drawn; more are coloured by a
    rainbow over their index. Limbs are coloured by a rainbow of their own, each the same in every object.

    Args:
        image: The image.
        keypoints: (N, K, 2) x, y in its pixels; points that are not finite are left out.
        scores: (N, K) 0..1; points at 0 are left out, points below 0.3 are drawn hollow.
        names: K names of the points.
        colors: K colours instead.
        skeleton: Pairs of points that a limb joins; a limb is drawn where both its points score 0.3 or more.

    Example:
        >>> image = np.zeros((480, 640, 3), np.uint8)
        >>> points = np.array([[[100.5, 50.5], [300.5, 350.5]]])
        >>> drawn, joined = draw_keypoints(image, points), draw_keypoints(image, points, skeleton=[(0, 1)])
        >>> drawn.shape, bool(drawn[50, 100].any()), bool(drawn[200, 200].any()), bool(joined[200, 200].any())
        ((480, 640, 3), True, False, True)
    """
    import cv2

    canvas, scale = _enlarge(image)
    points = np.asarray(keypoints, np.float64)[..., :2] * scale
    named = 0 < len(names) <= 20 and not all(name.isdigit() for name in names)
    inks = list(colors) if colors is not None else _point_colors(points.shape[1], names if named else ())
    line = _line_width(canvas)
    radius = (2.2 if points.shape[1] <= 20 else 1.5) * line
    drawn: set[int] = set()
    fine = 16  # OpenCV draws at 1/16 pixel: coordinates are shifted by four bits
    limb_inks = [oklch_to_rgb(0.7, 0.15, 5.2 * number / max(1, len(skeleton))) for number in range(len(skeleton))]
    for person in range(points.shape[0]):
        centres: dict[int, tuple[int, int]] = {}
        for index, (x, y) in enumerate(points[person]):
            score = 1.0 if scores is None else float(scores[person, index])
            if math.isfinite(x) and math.isfinite(y) and score > 0 and abs(x) <= 1e6 and abs(y) <= 1e6:
                # Pixel centres lie at .5 here and at whole numbers in OpenCV.
                centres[index] = (round((x - 0.5) * fine), round((y - 0.5) * fine))
        drawn |= centres.keys()
        for (first, second), ink in zip(skeleton, limb_inks, strict=True):
            sure = scores is None or min(scores[person, first], scores[person, second]) >= 0.3
            if sure and first in centres and second in centres:
                cv2.line(canvas, centres[first], centres[second], ink, line, cv2.LINE_AA, 4)
        for index, centre in centres.items():
            score = 1.0 if scores is None else float(scores[person, index])
            cv2.circle(canvas, centre, round((radius + max(1, line / 2)) * fine), (16, 16, 20), -1, cv2.LINE_AA, 4)
            cv2.circle(canvas, centre, round(radius * fine), inks[index], -1, cv2.LINE_AA, 4)
            if score < 0.3:
                cv2.circle(canvas, centre, round(radius * 0.5 * fine), (16, 16, 20), -1, cv2.LINE_AA, 4)
    entries = [pair for index, pair in enumerate(zip(names, inks, strict=False)) if index in drawn]
    return _with_strip(canvas, _legend(entries, canvas)) if named and entries else canvas


def draw_caption(
    image: NDArray[Any], lines: Sequence[str], shares: Sequence[float] = (), colors: Sequence[Color] | None = None
) -> Image:
    """Write lines of text below an image, each with a bar if it has a share.

    Args:
        image: The image.
        lines: What to write, top to bottom.
        shares: 0..1, length of the bar and number behind the line; none if empty.
        colors: Of the bars; by the lines' text if not given.

    Example:
        >>> drawn = draw_caption(np.zeros((480, 640, 3), np.uint8), ["cat", "dog"], shares=[0.9, 0.1])
        >>> drawn.shape[0] > 480, drawn.shape[1:]
        (True, (640, 3))
    """
    canvas, _ = _enlarge(image)
    size = _font_size(canvas)
    width = max(canvas.shape[1], 14 * size)
    row, margin = round(1.9 * size), round(0.6 * size)
    strip = blank_paper(row * len(lines) + 2 * margin, width)
    inks = list(colors) if colors is not None else [class_color(line) for line in lines]
    for index, line in enumerate(lines):
        top = margin + index * row
        room = width - 2 * margin
        if index < len(shares):
            number = render_text_within(f"{100 * shares[index]:.1f} %", size, room)
            room -= number.shape[1] + margin
            full = max(1, round(room * min(1.0, max(0.0, float(np.nan_to_num(shares[index]))))))
            bar = strip[top + 2 : top + row - 2, margin : margin + full]
            bar[:] = np.rint(0.55 * np.asarray(inks[index]) + 0.45 * np.asarray(PAPER)).astype(np.uint8)
            stamp_text(strip, number, width - margin - number.shape[1], top + (row - number.shape[0]) // 2, _INK)
        text = render_text_within(line, size, max(1, room - margin), round(0.75 * size))
        stamp_text(strip, text, margin + margin // 2, top + (row - text.shape[0]) // 2, _INK)
    return _with_strip(canvas, strip)


def heat_colors(values: NDArray[Any]) -> Image:
    """Colour map of values 0..1: dark blue over green to dark red (Turbo).

    Args:
        values: (H, W); values that are not a number count as 0.

    Example:
        >>> heat_colors(np.array([[0.0, 1.0]])).tolist()
        [[[48, 18, 59], [122, 4, 3]]]
    """
    import cv2

    bytes_ = np.rint(255 * np.clip(np.nan_to_num(np.asarray(values, np.float32)), 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(bytes_, cv2.COLORMAP_TURBO)[..., ::-1])


def draw_heat(image: NDArray[Any], heat: NDArray[Any], opacity: float = 0.65) -> Image:
    """Draw a heat map over an image, the stronger the hotter: where the heat is 0, the image stays as it is.

    Args:
        image: The image.
        heat: (H, W) of the same size, 0..1.
        opacity: Of the hottest pixels, 0..1.

    Example:
        >>> heat = np.zeros((480, 640))
        >>> heat[100:200, 100:200] = 1
        >>> drawn = draw_heat(np.full((480, 640, 3), 100, np.uint8), heat)
        >>> drawn[400, 400].tolist(), drawn[150, 150].tolist()
        ([100, 100, 100], [114, 38, 37])
    """
    import cv2

    canvas, _ = _enlarge(image)
    height, width = canvas.shape[:2]
    enlarged = cv2.resize(np.asarray(heat, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    # Full strength from half the heat on, so that the colour and not the image below shows how hot a pixel is.
    alpha = opacity * np.clip(2 * np.nan_to_num(enlarged), 0, 1)[..., None]
    canvas[:] = np.rint(canvas * (1 - alpha) + heat_colors(enlarged) * alpha).astype(np.uint8)
    return canvas


def draw_cutout(rgba: NDArray[Any]) -> Image:
    """Draw a cut-out over a checkerboard of two greys, as image editors show transparency.

    Args:
        rgba: (H, W, 4) uint8; the last channel is the opacity.

    Example:
        >>> cutout = np.zeros((480, 640, 4), np.uint8)
        >>> cutout[:240] = (200, 0, 0, 255)
        >>> drawn = draw_cutout(cutout)
        >>> drawn[100, 100].tolist(), drawn[300, 0].tolist(), drawn[300, 20].tolist()
        ([200, 0, 0], [204, 204, 204], [153, 153, 153])
    """
    import cv2

    canvas, _ = _enlarge(rgba[..., :3])
    height, width = canvas.shape[:2]
    side = max(8, round(_extent(canvas) / 32))
    odd = (np.arange(height)[:, None] // side + np.arange(width) // side) % 2
    board = np.where(odd, 204, 153)[..., None]
    alpha = cv2.resize(rgba[..., 3], (width, height), interpolation=cv2.INTER_LINEAR)[..., None] / np.float32(255)
    canvas[:] = np.rint(canvas * alpha + board * (1 - alpha)).astype(np.uint8)
    return canvas


def _enlarge(image: NDArray[Any]) -> tuple[Image, int]:
    """Copy to draw on, and the whole factor by which it was enlarged."""
    import cv2

    enlarged = to_rgb8(image)
    longer = max(enlarged.shape[:2])
    factor = 1 if longer >= _SMALL else -(-_ENLARGED // max(1, longer))
    if factor == 1:
        return enlarged.copy(), 1
    return cv2.resize(enlarged, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), factor


def _extent(canvas: Image) -> float:
    return math.sqrt(canvas.shape[0] * canvas.shape[1])


def _line_width(canvas: Image) -> int:
    return max(2, round(_extent(canvas) / 320))


def _font_size(canvas: Image) -> int:
    return max(11, min(round(_extent(canvas) / 40), canvas.shape[0] // 3))


def _darker(color: Color) -> Color:
    red, green, blue = (round(0.35 * value) for value in color)
    return red, green, blue


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %"


def _point_colors(count: int, names: Sequence[str]) -> list[Color]:
    if names:
        return [class_color(name) for name in names]
    return [oklch_to_rgb(0.78, 0.17, 5.2 * index / max(1, count)) for index in range(count)]


def _tint(canvas: Image, mask: NDArray[Any], color: Color, line: int) -> None:
    import cv2

    inside = cv2.resize(
        (mask > 0).astype(np.uint8), (canvas.shape[1], canvas.shape[0]), interpolation=cv2.INTER_NEAREST
    )
    canvas[inside > 0] = np.rint(0.55 * canvas[inside > 0] + 0.45 * np.asarray(color)).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(canvas, contours, -1, color, max(1, line - 1), cv2.LINE_AA)


def _draw_labels(
    canvas: Image, boxes: NDArray[Any], texts: Sequence[str], inks: Sequence[Color], order: Any, size: int, line: int
) -> None:
    """Draw labels by falling score, each at the position beside its box that hides least."""
    height, width = canvas.shape[:2]
    letters = sum(len(text) for text in texts)
    # A crowd gets smaller letters: all labels together should cover at most a fifth of the image.
    crowd = math.sqrt(0.2 * height * width / max(1.0, letters * 0.6 * 1.5 * size * size))
    size = max(9, round(size * min(1.0, max(0.65, crowd))))
    pad = max(2, round(0.25 * size))
    taken = np.zeros((0, 4))
    for index in order:
        if not texts[index]:
            continue
        mask = render_text_within(texts[index], size, max(1, width - 2 * pad))
        mask = mask[: max(1, height)]
        label_width, label_height = min(width, mask.shape[1] + 2 * pad), min(height, mask.shape[0] + 2 * (pad // 3))
        left, top = _find_position(boxes[index], label_width, label_height, (height, width), taken, boxes, line)
        taken = np.concatenate([taken, [[left, top, left + label_width, top + label_height]]])
        canvas[top : top + label_height, left : left + label_width] = inks[index]
        stamp_text(canvas, mask, left + pad, top + pad // 3, ink_on(inks[index]))


def _find_position(
    box: NDArray[Any],
    width: int,
    height: int,
    size: tuple[int, int],
    taken: NDArray[Any],
    boxes: NDArray[Any],
    line: int,
) -> tuple[int, int]:
    """Left and top of a label (width, height) inside an image of ``size``, at the lowest cost of what it covers."""
    x1, y1, x2, y2 = box
    reach = line / 2
    corners = np.array(
        [
            (x1 - reach, y1 - height),  # above, the usual position
            (x1 - reach, y2),  # below
            (x2 + reach - width, y1 - height),
            (x2 + reach - width, y2),
            (x1, y1),  # inside
            (x1, y2 - height),
            (x2 - width, y1),
            (x2, y1),  # beside
            (x1 - width, y1),
        ]
    )
    inside = np.stack([np.clip(corners[:, 0], 0, size[1] - width), np.clip(corners[:, 1], 0, size[0] - height)], axis=1)
    rectangles = np.concatenate([inside, inside + np.array([width, height])], axis=1)
    area = width * height
    cost = 0.06 * np.arange(len(corners), dtype=np.float64)  # earlier positions are preferred
    cost += 12 * box_intersection(rectangles[:, None], taken).sum(axis=1) / area  # other labels
    cost += 0.25 * np.minimum(1, box_intersection(rectangles[:, None], boxes).sum(axis=1) / area)  # objects
    cost += np.abs(inside - corners).sum(axis=1) / height  # pushed back into the image, so off its box
    left, top = inside[int(np.argmin(cost))]
    return int(left), int(top)


def _legend(entries: Sequence[tuple[str, Color]], canvas: Image) -> Image:
    """Draw a legend: swatches with names, in as many columns as the width allows."""
    size = _font_size(canvas)
    width = max(canvas.shape[1], 12 * size)
    swatch, gap, row = size, round(0.6 * size), round(1.8 * size)
    masks = [render_text_within(text, size, width - swatch - 3 * gap, round(0.75 * size)) for text, _ in entries]
    column = max((mask.shape[1] for mask in masks), default=0) + swatch + 3 * gap
    columns = max(1, (width - gap) // column)
    strip = blank_paper(row * -(-len(entries) // columns) + gap, width)
    for index, ((_, color), mask) in enumerate(zip(entries, masks, strict=True)):
        left, top = gap + (index % columns) * column, gap // 2 + (index // columns) * row
        middle = top + row // 2
        strip[middle - swatch // 2 : middle + swatch // 2, left : left + swatch] = color
        stamp_text(strip, mask, left + swatch + gap, middle - mask.shape[0] // 2, _INK)
    return strip


def _with_strip(canvas: Image, strip: Image) -> Image:
    """Add a strip below the image; an image that is narrower than it is centred."""
    width = max(canvas.shape[1], strip.shape[1])
    sheet = blank_paper(canvas.shape[0] + strip.shape[0], width)
    left = (width - canvas.shape[1]) // 2
    sheet[: canvas.shape[0], left : left + canvas.shape[1]] = canvas
    sheet[canvas.shape[0] :, : strip.shape[1]] = strip
    return sheet
