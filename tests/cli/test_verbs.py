"""What each verb hands to the library and prints; the library is a stand-in here, test_real.py has the real one."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import saccade.api
from saccade.api.data import DatasetRow
from saccade.api.networks import ModelRow
from saccade.api.options import CheckOptions, DatasetsOptions, EvaluateOptions
from saccade.cli import VERBS, main
from saccade.metrics.base import MetricReport
from saccade.results.base import Result


class _Calls:
    """What the verbs were called with, and what they give back."""

    def __init__(self) -> None:
        self.made: list[tuple[str, dict[str, Any]]] = []
        self.gives: dict[str, Any] = {}

    def verb(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.made.append((name, signature(options_by_verb[name]).bind(*args, **options).arguments))
            return self.gives[name]

        return call


options_by_verb = {name: getattr(saccade.api, name) for name in (*VERBS, "repair")}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> _Calls:
    recorded = _Calls()
    for name in options_by_verb:
        monkeypatch.setattr(saccade.api, name, recorded.verb(name))
    monkeypatch.setattr("saccade.cli._arguments.refuse_unknown_names", lambda arguments: None)
    monkeypatch.setenv("COLUMNS", "200")
    return recorded


class _Seen(Result):
    """A result of no particular task."""

    def __init__(self, path: str, names: list[str]) -> None:
        super().__init__(path=path, image_id=0, image_size=(4, 6), class_names=("cat", "dog"))
        self.seen = names

    def describe(self) -> str:
        return ", ".join(self.seen) or "nothing"

    def plot(self) -> Any:
        return np.zeros((4, 6, 3), np.uint8)

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "objects": [{"name": name} for name in self.seen]}

    def to_coco(self, category_ids: Any = ()) -> list[dict[str, Any]]:
        return []

    def to_supervision(self) -> Any:
        return None


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.jpg").touch()
    return tmp_path


def _seen(images: Path) -> Any:
    return iter([_Seen(str(images / "a/one.jpg"), ["cat", "dog", "cat"]), _Seen(str(images / "b/one.jpg"), [])])


def test_predict_prints_a_line_a_image(calls: _Calls, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls.gives["predict"] = _seen(images)
    words = ["predict", "--model", "m.onnx", "--source", f"{images}/*/*.jpg", "--score-threshold", "0.5"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out == f"{images}/a/one.jpg: cat, dog, cat\n{images}/b/one.jpg: nothing\n"
    assert err == "2 images\n"
    ((name, options),) = calls.made
    assert (name, options["model"], options["source"]) == ("predict", "m.onnx", f"{images}/*/*.jpg")
    assert options["score_threshold"] == 0.5
    assert options["keep_images"] is False


class _Scored(_Seen):
    def above(self, score: float) -> Result:
        return _Scored(self.path, [f"{name}>{score}" for name in self.seen])


def test_without_a_threshold_low_scores_are_only_in_the_json(
    calls: _Calls, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "--model", "m", "--source", str(images)]
    calls.gives["predict"] = iter([_Scored("one.jpg", ["cat"])])
    assert main(words) == 0
    assert capsys.readouterr().out == "one.jpg: cat>0.25\n"
    assert calls.made[0][1]["score_threshold"] is None
    calls.gives["predict"] = iter([_Scored("one.jpg", ["cat"])])
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["objects"] == [{"name": "cat"}]
    calls.gives["predict"] = iter([_Scored("one.jpg", ["cat"])])
    assert main([*words, "--score-threshold", "0.1"]) == 0
    assert capsys.readouterr().out == "one.jpg: cat\n"


def test_predict_saves_images_of_one_name_apart(
    calls: _Calls, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.gives["predict"] = _seen(images)
    out = tmp_path / "out"
    assert main(["predict", "--model", "m", "--source", f"{images}/*/*", "--save", str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["one-2.jpg", "one.jpg"]
    assert calls.made[0][1]["keep_images"] is True


def test_predict_json_is_one_object_a_line(calls: _Calls, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls.gives["predict"] = _seen(images)
    assert main(["predict", "--model", "m", "--source", str(images), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(line["objects"]) for line in lines] == [3, 0]


def test_evaluate_prints_figures_and_classes(calls: _Calls, capsys: pytest.CaptureFixture[str]) -> None:
    report = MetricReport({"AP": 0.5712, "AP_small": float("nan")}, "AP", per_class=[{"class": "[RBC]", "AP": 0.61}])
    calls.gives["evaluate"] = report
    assert main(["evaluate", "--model", "m", "--data", "d", "--split", "val"]) == 0
    out = capsys.readouterr().out
    assert "0.5712" in out
    assert "[RBC]" in out  # a name, not markup
    assert "0.6100" in out
    ((_, options),) = calls.made
    assert options == vars(EvaluateOptions(model="m", data="d", split="val"))


def test_evaluate_json(calls: _Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.gives["evaluate"] = MetricReport({"AP": 0.5}, "AP")
    assert main(["evaluate", "--model", "m", "--json"]) == 0
    expected = {"primary": "AP", "values": {"AP": 0.5}, "per_class": [], "breakdown": [], "notes": []}
    assert json.loads(capsys.readouterr().out) == expected


@dataclass
class _Parity:
    max_difference: float
    passed: bool


@dataclass
class _Exported:
    path: Path
    parity: _Parity | None
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    int8: None = None

    @property
    def metric_change(self) -> dict[str, float]:
        return {name: after - before for name, (before, after) in self.metrics.items()}


def test_export_shows_parity_and_change(calls: _Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.gives["export"] = _Exported(Path("m.xml"), _Parity(2e-5, True), {"AP": (0.5, 0.499)})
    assert main(["export", "--model", "m", "--format", "openvino", "--verify"]) == 0
    out = capsys.readouterr().out
    assert "2.00e-05" in out
    assert "-0.0010" in out
    assert "written: m.xml" in out


def test_export_that_differs_exits_1(calls: _Calls) -> None:
    calls.gives["export"] = _Exported(Path("m.onnx"), _Parity(0.3, False))
    assert main(["export", "--model", "m", "--verify"]) == 1


def test_export_to_an_unknown_format(calls: _Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--model", "m", "--format", "onx"]) == 2
    assert calls.made == []
    assert "onnx" in capsys.readouterr().err


def test_check_lists_faults_and_exits_1(calls: _Calls, capsys: pytest.CaptureFixture[str]) -> None:
    from saccade.data.check import CheckReport, Issue, SplitStatistics

    issues = [
        Issue(f"{name}.xml", "[bndbox]", "no area", "remove the box", "error", "zero-area", "train") for name in "ab"
    ]
    hint = Issue("b.jpg", "size", "tiny", "look at it", "warning", "tiny", "val")
    report = CheckReport("folder (train+val)", [*issues, hint], [SplitStatistics("train", images=2, objects=7)])
    calls.gives["check"] = report
    assert main(["check", "folder", "--limit", "1"]) == 1
    assert calls.made == [("check", vars(CheckOptions(data="folder")))]
    out = capsys.readouterr().out
    for word in ("a.xml: [bndbox]: no area (train). remove the box", "images: 2", "2 errors, 1 warnings", "and 1 more"):
        assert word in out
    assert "b.xml" not in out
    assert "b.jpg" in out


def test_check_writes_files_and_mends(calls: _Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from saccade.data.check import CheckReport, SplitStatistics

    calls.gives["check"] = CheckReport("folder (all)", [], [SplitStatistics("all", images=2)])
    calls.gives["repair"] = types.SimpleNamespace(out=tmp_path / "out", format="voc", counts={"zero area": 2})
    words = ["--html", str(tmp_path / "b" / "x.html"), "--repair", str(tmp_path / "out")]
    assert main(["check", "folder", "--no-images", *words, "--json"]) == 0
    assert calls.made[0][1]["images"] is False
    assert calls.made[1] == (
        "repair",
        {"data": "folder", "out": tmp_path / "out", "split": None, "format": None, "task": None},
    )
    out, err = capsys.readouterr()
    assert json.loads(out)["counts"]["images"] == 2
    assert "no faults found" in (tmp_path / "b" / "x.html").read_text()
    assert "(voc); changed: zero area: 2" in err


def test_check_of_sound_data_exits_0(calls: _Calls, capsys: pytest.CaptureFixture[str]) -> None:
    from saccade.data.check import CheckReport, SplitStatistics

    calls.gives["check"] = CheckReport("folder (all)", [], [SplitStatistics("all", images=2)])
    assert main(["check", "--data", "folder"]) == 0
    assert "no faults found" in capsys.readouterr().out


def test_datasets_shows_what_is_here(calls: _Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.gives["datasets"] = [
        DatasetRow("bccd", "boxes", "MIT", True, "blood"),
        DatasetRow("mnist", "names", "unstated", False, "digits"),
    ]
    assert main(["datasets", "--task", "boxes"]) == 0
    assert calls.made == [("datasets", vars(DatasetsOptions(task="boxes")))]
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["bccd", "boxes", "MIT", "yes", "blood"] in rows
    assert ["mnist", "names", "unstated", "no", "digits"] in rows
    assert main(["datasets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "bccd"


def test_models_prints_the_rows(calls: _Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.gives["models"] = [ModelRow("net", "boxes", 1_234_567, 89_000_000, "A paper", ("coco", "voc"))]
    assert main(["models"]) == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["net", "boxes", "1.23 M", "89 M", "A paper", "coco, voc"] in rows


def test_demo_says_where_the_report_is(calls: _Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.gives["demo"] = Path("runs/demo/report.html")
    assert main(["demo", "--minutes", "0.5"]) == 0
    assert "runs/demo/report.html" in capsys.readouterr().out
    assert calls.made == [("demo", {"minutes": 0.5, "out": Path("runs/demo")})]


def test_only_the_first_process_prints(
    calls: _Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    calls.gives["demo"] = Path("x")
    assert main(["demo"]) == 0
    assert capsys.readouterr().out == ""
