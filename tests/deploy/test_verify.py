from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.deploy.small import SmallClassifier, SmallDetector, pixels
from torch import Tensor, nn

from saccade.deploy.export import export_model
from saccade.deploy.verify import ParityReport, compare, verify_export

NOTHING = ParityReport("test", (3,), {}, {}, None, 0, 1e-3, True)


def _rows(count: int, padded: int = 60, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(1, count, 2, generator=generator) * 300
    boxes = torch.cat((corner, corner + 10 + torch.rand(1, count, 2, generator=generator) * 50), 2)
    scores = torch.rand(1, count, generator=generator).sort(descending=True).values
    labels = torch.randint(0, 3, (1, count), generator=generator)
    more = padded - count
    return {
        "boxes": nn.functional.pad(boxes, (0, 0, 0, more)),
        "scores": nn.functional.pad(scores, (0, more)),
        "labels": nn.functional.pad(labels, (0, more)),
        "count": torch.tensor([count]),
    }


def test_equal_answers_pass() -> None:
    report = compare(_rows(50), _rows(50), NOTHING)
    assert report.passed
    assert (report.rows, report.unmatched) == (50, 0)
    assert report.max_abs == {"boxes": 0.0, "scores": 0.0, "labels": 0.0}


def test_order_of_equal_scores_does_not_matter() -> None:
    first, second = _rows(50), _rows(50)
    for side in (first, second):
        side["scores"][0, 3] = side["scores"][0, 4]
    for name in ("boxes", "labels"):
        second[name][0, [3, 4]] = second[name][0, [4, 3]]
    assert compare(first, second, NOTHING).passed


@pytest.mark.parametrize("change", ["box", "score", "label", "dropped", "added", "nan"])
def test_differences_are_found(change: str) -> None:
    first, second = _rows(50), _rows(50)
    if change == "box":
        second["boxes"][0, 7] += 2.0
    elif change == "score":
        second["scores"][0, 7] += 0.01
    elif change == "label":
        second["labels"][0, 7] += 1
    elif change == "dropped":
        second["count"] -= 2
    elif change == "added":
        first["count"] -= 2
    else:
        second["boxes"][0, 7] = torch.nan
    report = compare(first, second, NOTHING)
    assert not report.passed
    assert "DIFFERENT" in str(report)


def test_a_row_at_the_threshold_may_differ() -> None:
    """One in a hundred rows: a score may cross the threshold by rounding."""
    first, second = _rows(200, padded=200), _rows(200, padded=200)
    second["count"] -= 1
    report = compare(first, second, NOTHING)
    assert report.passed
    assert "1 of 200 rows unmatched" in str(report)


def test_no_rows_at_all_prove_nothing() -> None:
    report = compare(_rows(0), _rows(0), NOTHING)
    assert not report.passed
    assert "NOTHING to compare" in str(report)
    assert not compare(_rows(0), _rows(2), NOTHING).passed


def test_dense_answers() -> None:
    a = {"probabilities": torch.rand(2, 3, 8, 8)}
    b = {"probabilities": a["probabilities"].clone()}
    b["probabilities"][0, 0, 0, 0] += 0.5
    report = compare(a, b, NOTHING)
    assert not report.passed
    assert report.max_abs["probabilities"] == pytest.approx(0.5)
    b["probabilities"][0, 0, 0, 0] = torch.nan
    assert not compare(a, b, NOTHING).passed


def test_file_of_another_network_does_not_pass(tmp_path: Path) -> None:
    path = export_model(SmallDetector(), tmp_path / "m.pt2", format="torch")
    other = SmallDetector()
    with torch.no_grad():
        other.head.weight += 0.05
    assert verify_export(SmallDetector(), path, pixels(other, 2), trust=True).passed
    assert not verify_export(other, path, pixels(other, 2), trust=True).passed


@pytest.mark.parametrize("network", [SmallClassifier, SmallDetector])
def test_images_are_made_where_none_are_given(network: type[SmallClassifier], tmp_path: Path) -> None:
    model = network()
    report = verify_export(model, export_model(model, tmp_path / "m.pt2", format="torch"), trust=True)
    assert report.passed
    assert "same numbers" in str(report)
    assert "batches of 1 and 3" in str(report)
