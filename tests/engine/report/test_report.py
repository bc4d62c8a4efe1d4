"""``report.html``: one file with everything in it, whatever is missing."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from saccade.engine.report.report import write_report
from saccade.metrics.base import MetricReport

HISTORY = [
    {"epoch": 1.0, "lr": 0.1, "train/loss": 2.0, "train/box": 1.0},
    {"epoch": 2.0, "lr": 0.05, "train/loss": 1.0, "train/box": 0.5, "val/loss": 1.5, "val/AP": 0.2, "val/AP50": 0.4},
]
REPORT = MetricReport(
    {"AP50": 0.9, "AP": 0.6123, "AP_small": float("nan")},
    "AP",
    per_class=[{"class": "<b>&cell", "AP": 0.5}],
    curves={
        "precision_recall": {
            "x": [0.0, 0.5, 1.0],
            "y": {"cell": [1.0, 0.9, 0.2]},
            "xlabel": "recall",
            "ylabel": "precision",
        }
    },
    confusion={"labels": ["cell", "background"], "matrix": [[3, 1], [0, 0]]},
)


class _Structure(HTMLParser):
    """Counts tags and follows that every one is closed."""

    VOID = frozenset({"meta", "img", "link", "br", "path", "use", "image", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def _read(path: Path) -> tuple[str, _Structure]:
    text = path.read_text(encoding="utf-8")
    structure = _Structure()
    structure.feed(text)
    assert structure.open == []
    return text, structure


@pytest.fixture
def full(tmp_path: Path) -> tuple[str, _Structure]:
    images = {
        "Hits": [np.full((40, 60, 3), (200, 20, 20), np.uint8)],
        "Misses": [np.zeros((1000, 2000, 3), np.uint8)],
    }
    tables = {"Speed": [{"runtime": "eager", "milliseconds": 23.125}, {"runtime": "other", "milliseconds": None}]}
    target = tmp_path / "new" / "report.html"
    path = write_report(target, "a <run>", HISTORY, REPORT, images, tables, "name: <x>\n")
    assert path == target
    return _read(path)


def test_everything_is_there(full: tuple[str, _Structure]) -> None:
    text, structure = full
    for title in (
        "Final figures",
        "Training",
        "By class",
        "Curves and confusion",
        "Hits",
        "Misses",
        "Speed",
        "Configuration",
    ):
        assert f"<h2>{title}</h2>" in text
    assert text.index("0.6123") < text.index("0.9000")  # the figure that counts comes first
    assert "23.12" in text
    assert structure.tags["svg"] == 6  # loss, terms, validation, rate; precision over recall, confusion
    assert structure.tags["img"] == 2


def test_nothing_comes_from_elsewhere(full: tuple[str, _Structure]) -> None:
    text, structure = full
    assert structure.references
    assert all(reference.startswith(("data:", "#")) for reference in structure.references)
    assert "script" not in structure.tags
    assert "link" not in structure.tags
    assert not re.search(r"@import|url\((?!#)", text)


def test_names_cannot_become_markup(full: tuple[str, _Structure]) -> None:
    text, _ = full
    assert "&lt;b&gt;&amp;cell" in text
    assert "<title>a &lt;run&gt;</title>" in text
    assert "name: &lt;x&gt;" in text


def test_images_keep_their_colours_and_are_limited(full: tuple[str, _Structure]) -> None:
    _, structure = full
    encoded = [
        reference.split(",", 1)[1] for reference in structure.references if reference.startswith("data:image/jpeg")
    ]
    small, large = (
        cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR_RGB) for data in encoded
    )
    assert small.shape == (40, 60, 3)
    assert np.abs(small.reshape(-1, 3).mean(0) - [200, 20, 20]).max() < 6
    assert large.shape == (450, 900, 3)


def test_drawings_take_the_pages_ink(full: tuple[str, _Structure]) -> None:
    text, _ = full
    assert "#010203" not in text
    assert text.count("currentColor") > 20
    assert "prefers-color-scheme: dark" in text


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    text, structure = _read(write_report(tmp_path / "report.html", "bare", [], None, {}, {}, ""))
    assert "<h1>bare</h1>" in text
    assert "section" not in structure.tags


def test_history_without_report(tmp_path: Path) -> None:
    _, structure = _read(
        write_report(tmp_path / "report.html", "x", HISTORY[:1], None, {"Hits": []}, {"Speed": []}, "")
    )
    assert structure.tags["section"] == 1
    assert structure.tags["svg"] == 3
