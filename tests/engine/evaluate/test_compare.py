"""Two models on the same images: the interval of the difference, the verdict, and the page."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saccade
from saccade.cli import main
from saccade.engine.evaluate.compare import Comparison, compare_inspections
from saccade.engine.evaluate.inspection import Inspection
from saccade.errors import ConfigError, DataError
from saccade.models.checkpoint import save_model
from saccade.results.classification import Classification
from saccade.structures.dataset import DatasetInfo
from saccade.tasks import get_task

NAMES = ("cat", "dog")


def judged(right: np.ndarray[Any, Any]) -> Inspection:
    """A classifier that is right on the images where it is said to be."""
    inspection, task, data = Inspection(), get_task("classification"), DatasetInfo("x", "classification", NAMES, "test")
    inspection.begin(task.evaluator(data), task, data)
    for number, correct in enumerate(right.tolist()):
        result = Classification(
            path=f"{number}.jpg",
            image_id=number,
            image_size=(8, 8),
            class_names=NAMES,
            probabilities=np.array([0.8, 0.2]) if correct else np.array([0.2, 0.8]),
        )
        inspection.evaluator.update([result], [{"labels": np.array(0)}])
        inspection.add([result], [{"labels": np.array(0)}])
    return inspection


def compared(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], **options: Any) -> Comparison:
    both = judged(first), judged(second)
    reports = both[0].evaluator.compute(), both[1].evaluator.compute()
    return compare_inspections(("a", "b"), both, reports, **options)


def test_the_interval_is_that_of_a_paired_difference() -> None:
    """Of an accuracy the interval is known: 1.96 standard errors of the mean of the images' differences."""
    rng = np.random.default_rng(0)
    first = rng.uniform(size=400) < 0.7
    second = np.where(rng.uniform(size=400) < 0.1, ~first, first)  # mostly right on the same images
    comparison = compared(first, second, draws=4000)
    top1 = comparison.figures[0]
    difference = second.astype(float) - first
    error = 1.96 * difference.std() / math.sqrt(400)
    assert top1.figure == "top1"
    assert top1.difference == pytest.approx(difference.mean())
    assert top1.low == pytest.approx(difference.mean() - error, abs=0.004)
    assert top1.high == pytest.approx(difference.mean() + error, abs=0.004)
    # Unpaired, the interval would be far wider.
    unpaired = 1.96 * math.sqrt(first.var() / 400 + second.var() / 400)
    assert top1.high - top1.low < 1.5 * unpaired


def test_the_verdict_follows_the_interval() -> None:
    right = np.arange(100) % 4 != 0
    better = np.arange(100) % 10 != 0
    assert compared(right, better).better == "b"
    assert compared(better, right).better == "a"
    assert compared(better, right).verdict.startswith("a is better: top1 0.9000 -> 0.7500, difference -0.1500 (95 %")
    moved = np.roll(right, 1)  # as good, on other images
    same = compared(right, moved)
    assert same.better is None
    assert same.verdict.startswith("no difference can be told: top1 0.7500 -> 0.7500")
    assert same.figures[0].low < 0 < same.figures[0].high
    assert compared(right, moved).to_json() == same.to_json()  # draws repeat


def test_images_on_which_the_models_differ_come_first() -> None:
    first, second = np.ones(20, bool), np.ones(20, bool)
    second[[4, 17]] = False
    rows = compared(first, second).per_image
    assert [row["image_id"] for row in rows[:2]] == [17, 4] or [row["image_id"] for row in rows[:2]] == [4, 17]
    assert rows[0]["difference"] == pytest.approx(-0.6)
    assert {row["difference"] for row in rows[2:]} == {0.0}


def test_other_images_and_too_few_are_refused() -> None:
    first, second = judged(np.ones(5, bool)), judged(np.ones(6, bool))
    reports = first.evaluator.compute(), second.evaluator.compute()
    with pytest.raises(DataError, match="not evaluated on the same images"):
        compare_inspections(("a", "b"), (first, second), reports)
    with pytest.raises(DataError, match="one image tells nothing"):
        compared(np.ones(1, bool), np.ones(1, bool))
    with pytest.raises(ConfigError, match="draws is 1"):
        compared(np.ones(5, bool), np.ones(5, bool), draws=1)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two networks with other random weights, in files of one name."""
    folder = tmp_path_factory.mktemp("compare")
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        paths.append(save_model(saccade.create_model("lenet5"), folder / str(seed) / "best.safetensors"))
    return paths[0], paths[1]


def test_the_shell_prints_the_verdict_and_writes_the_page(
    checkpoints: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = map(str, checkpoints)
    words = ["compare", first, second, "--data", "digit_scenes", "--split", "test", "--workers", "0", "--draws", "200"]
    assert main([*words, "--html", str(tmp_path / "c.html"), "--drawn", "3"]) == 0
    out = capsys.readouterr().out
    values = [saccade.evaluate(one, "digit_scenes", "test", workers=0).values["top1"] for one in checkpoints]
    assert f"top1 {values[0]:.4f} -> {values[1]:.4f}" in out.splitlines()[-1]
    text = (tmp_path / "c.html").read_text()
    assert text.count("data:image/jpeg") == 3
    assert "From left to right" in text
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == [first, second]
    assert len(found["per_image"]) == found["images"] == 200
    assert found["figures"][0]["first"] == pytest.approx(values[0])


def test_models_of_two_tasks_are_refused(checkpoints: tuple[Path, Path]) -> None:
    detector = saccade.create_model("tests.testing.networks:tiny_detector", num_classes=3)
    with pytest.raises(ConfigError, match=r"solves classification, .* detection\. Compare models of one task"):
        saccade.compare(checkpoints[0], detector, "digit_scenes")
