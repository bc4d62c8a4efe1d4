"""Hits and misses of a report: which image is which, and what is written below it."""

from __future__ import annotations

import numpy as np
import pytest

import saccade
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.deploy.runtime import EagerRuntime
from saccade.engine.report.drawings import _is_hit, hits_and_misses
from saccade.metrics.base import MetricReport
from saccade.models.base import Model


@pytest.fixture(scope="module")
def model() -> Model:
    network = saccade.create_model("lenet5", num_classes=10).eval()
    network.class_names = tuple("0123456789")
    return network


def test_a_hit_is_right_and_a_miss_is_wrong(model: Model) -> None:
    data = DigitScenes("classification", "val", count=12, size=(32, 32))
    results = list(saccade.predict(model, [data.read(index).image for index in range(12)]))
    right = sum(one.to_json()["label"] == int(data.target(i)["labels"]) for i, one in enumerate(results))
    drawn = hits_and_misses(EagerRuntime(model), data, image_count=12, show=6)
    assert len(drawn["hits"]) == min(right, 6)
    assert len(drawn["misses"]) == min(12 - right, 6)
    assert drawn["misses"][0].shape[0] > 100  # images and a caption


@pytest.mark.parametrize(
    ("values", "primary", "higher", "expected"),
    [
        ({"mIoU": 0.5}, "mIoU", True, True),
        ({"mIoU": 0.49}, "mIoU", True, False),
        ({"AP": 0.2, "AP50": 0.6}, "AP", True, True),  # found at IoU 0.5 and more
        ({"AP": 0.4, "AP50": 0.4}, "AP", True, False),
        ({"NME": 0.03}, "NME", False, None),
        ({"PSNR": 23.0}, "PSNR", True, None),
    ],
)
def test_a_hit_has_half_of_a_share(values: dict[str, float], primary: str, higher: bool, expected: bool | None) -> None:
    assert _is_hit(MetricReport(values, primary, higher)) is expected


def test_the_caption_names_file_and_score(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    def caption(image: np.ndarray, text: list[str]) -> np.ndarray:
        lines.extend(text)
        return image

    monkeypatch.setattr("saccade.engine.report.drawings.draw_caption", caption)
    hits_and_misses(EagerRuntime(model), DigitScenes("classification", "val", count=3, size=(32, 32)))
    assert len(lines) == 3
    assert all(line.endswith((": top1 0", ": top1 1")) for line in lines)
