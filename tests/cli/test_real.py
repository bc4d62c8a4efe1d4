"""Verbs that need no training, on the real registry and catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from saccade.cli import main


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_models_lists_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    from saccade.models.registry import list_models

    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in list_models())


def test_models_of_a_task_with_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--task", "keypoints"]) == 0
    out = capsys.readouterr().out
    assert "dsnt" in out
    assert "parameters" in out
    assert "lenet5" not in out


def test_models_of_an_unknown_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--task", "keypoint"]) == 2
    assert "Did you mean 'keypoints'" in capsys.readouterr().err


def test_summary_counts_the_papers_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "lenet5"]) == 0
    assert "61,706" in capsys.readouterr().out


def test_summary_of_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "lenet55"]) == 2
    assert "Did you mean 'lenet5'" in capsys.readouterr().err


def test_datasets_lists_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    assert "digit_scenes" in capsys.readouterr().out


@pytest.mark.data("bccd")
def test_check_finds_the_two_boxes_without_area(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "bccd", "--split", "train+val+test"]) == 1
    out = capsys.readouterr().out
    assert "BloodImage_00338" in out
    assert "BloodImage_00343" in out


@pytest.mark.data("bccd")
def test_check_of_a_path_looks_at_all_splits(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(data_root / "bccd"), "--no-images"]) == 1
    out = capsys.readouterr().out
    assert "boxes without area [boxes.zero-area]: 2" in out
    assert "BloodImage_00338" in out
    assert "BloodImage_00343" in out
