"""What each verb hands to the library and prints; the library is a stand-in here, test_real.py has the real one."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import saccade
from saccade.cli import main
from saccade.cli.predict import describe
from saccade.metrics.base import MetricReport
from saccade.results.base import Result


class _Api(types.ModuleType):
    """Answers every verb and remembers how it was called."""

    def __init__(self) -> None:
        super().__init__("saccade.api")
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            return self.answers[name]

        return call


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> _Api:
    module = _Api()
    monkeypatch.setitem(sys.modules, "saccade.api", module)
    monkeypatch.setattr(saccade, "api", module, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return module


class _Seen(Result):
    """A result of no particular task."""

    def __init__(self, path: str, names: list[str]) -> None:
        super().__init__(path=path, image_id=0, image_size=(4, 6), class_names=("cat", "dog"))
        self.seen = names

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


def test_predict_prints_a_line_a_image(api: _Api, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["predict"] = _seen(images)
    words = ["predict", "--model", "m.onnx", "--source", f"{images}/*/*.jpg", "--score-threshold", "0.5"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out == f"{images}/a/one.jpg: 2 cat, 1 dog\n{images}/b/one.jpg: nothing\n"
    assert err == "2 images\n"
    name, args, options = api.calls[0]
    assert (name, args) == ("predict", ("m.onnx", f"{images}/*/*.jpg"))
    assert options["score_threshold"] == 0.5
    assert options["keep_images"] is False


def test_predict_saves_images_of_one_name_apart(
    api: _Api, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.answers["predict"] = _seen(images)
    out = tmp_path / "out"
    assert main(["predict", "--model", "m", "--source", str(images), "--save", str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["one-2.jpg", "one.jpg"]
    assert api.calls[0][2]["keep_images"] is True


def test_predict_json_is_one_object_a_line(api: _Api, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["predict"] = _seen(images)
    assert main(["predict", "--model", "m", "--source", str(images), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(line["objects"]) for line in lines] == [3, 0]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"name": "cat", "score": 0.913}, "cat 0.91"),
        ({"classes": [{"name": "sky", "share": 0.25}, {"name": "road", "share": 0.5}]}, "road 50.0%, sky 25.0%"),
        ({"objects": [[{"name": "nose"}, {"name": "ear"}]]}, "1 set of 2 points"),
        ({"objects": []}, "nothing"),
    ],
)
def test_describe(values: dict[str, Any], line: str) -> None:
    assert describe(values) == line


def test_evaluate_prints_figures_and_classes(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    report = MetricReport({"AP": 0.5712, "AP_small": float("nan")}, "AP", per_class=[{"class": "[RBC]", "AP": 0.61}])
    api.answers["evaluate"] = report
    assert main(["evaluate", "--model", "m", "--data", "d", "--split", "val"]) == 0
    out = capsys.readouterr().out
    assert "0.5712" in out
    assert "[RBC]" in out  # a name, not markup
    assert "0.6100" in out
    assert api.calls[0][1:] == (
        ("m", "d"),
        {"split": "val", "format": None, "task": None, "batch_size": 16},
    )


def test_evaluate_json(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["evaluate"] = MetricReport({"AP": 0.5}, "AP")
    assert main(["evaluate", "--model", "m", "--json"]) == 0
    expected = {"primary": "AP", "values": {"AP": 0.5}, "per_class": [], "breakdown": []}
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

    @property
    def metric_change(self) -> dict[str, float]:
        return {name: after - before for name, (before, after) in self.metrics.items()}


def test_export_shows_parity_and_change(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["export"] = _Exported(Path("m.xml"), _Parity(2e-5, True), {"AP": (0.5, 0.499)})
    assert main(["export", "--model", "m", "--format", "openvino", "--verify"]) == 0
    out = capsys.readouterr().out
    assert "2.00e-05" in out
    assert "-0.0010" in out
    assert "written: m.xml" in out


def test_export_that_differs_exits_1(api: _Api) -> None:
    api.answers["export"] = _Exported(Path("m.onnx"), _Parity(0.3, False))
    assert main(["export", "--model", "m", "--verify"]) == 1


def test_export_to_an_unknown_format(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--model", "m", "--format", "onx"]) == 2
    assert api.calls == []
    assert "onnx" in capsys.readouterr().err


def test_check_lists_faults_and_exits_1(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    from saccade.data.check import CheckReport, Issue, SplitStatistics

    issues = [
        Issue(f"{name}.xml", "[bndbox]", "no area", "remove the box", "error", "zero-area", "train") for name in "ab"
    ]
    hint = Issue("b.jpg", "size", "tiny", "look at it", "warning", "tiny", "val")
    report = CheckReport("folder (train+val)", [*issues, hint], [SplitStatistics("train", images=2, objects=7)])
    api.answers["check"] = report
    assert main(["check", "folder", "--limit", "1"]) == 1
    assert api.calls[-1] == ("check", ("folder",), {"split": None, "format": None, "task": None, "images": True})
    out = capsys.readouterr().out
    for word in ("a.xml: [bndbox]: no area (train). remove the box", "images: 2", "2 errors, 1 warnings", "and 1 more"):
        assert word in out
    assert "b.xml" not in out
    assert "b.jpg" in out


def test_check_writes_files_and_mends(api: _Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from saccade.data.check import CheckReport, SplitStatistics

    api.answers["check"] = CheckReport("folder (all)", [], [SplitStatistics("all", images=2)])
    api.answers["repair"] = types.SimpleNamespace(out=tmp_path / "out", format="voc", counts={"zero area": 2})
    words = ["--json", str(tmp_path / "a" / "x.json"), "--html", str(tmp_path / "b" / "x.html")]
    assert main(["check", "folder", "--no-images", *words, "--fix", str(tmp_path / "out")]) == 0
    assert api.calls[0][2]["images"] is False
    assert api.calls[1][:2] == ("repair", ("folder", tmp_path / "out"))
    assert json.loads((tmp_path / "a" / "x.json").read_text())["counts"]["images"] == 2
    assert "no faults found" in (tmp_path / "b" / "x.html").read_text()
    assert "(voc); changed: zero area: 2" in capsys.readouterr().out


def test_check_needs_the_data_once(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert main(["check", "folder", "--data", "other"]) == 2
    assert capsys.readouterr().err.count("name the data once") == 2


def test_check_of_sound_data_exits_0(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    from saccade.data.check import CheckReport, SplitStatistics

    api.answers["check"] = CheckReport("folder (all)", [], [SplitStatistics("all", images=2)])
    assert main(["check", "--data", "folder"]) == 0
    assert "no faults found" in capsys.readouterr().out


def test_datasets_shows_what_is_here(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["datasets"] = [
        {"name": "bccd", "task": "boxes", "licence": "MIT", "present": True, "description": "blood"},
        {"name": "mnist", "task": "names", "licence": "unstated", "present": False, "description": "digits"},
    ]
    assert main(["datasets"]) == 0
    out = capsys.readouterr().out
    assert "bccd" in out
    assert "mnist" in out
    assert main(["datasets", "--task", "boxes"]) == 0
    assert "mnist" not in capsys.readouterr().out
    assert main(["datasets", "--task", "boxs"]) == 2
    assert "Did you mean 'boxes'" in capsys.readouterr().err


def test_demo_says_where_the_report_is(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["demo"] = Path("runs/demo/report.html")
    assert main(["demo", "--minutes", "0.5"]) == 0
    assert "runs/demo/report.html" in capsys.readouterr().out
    assert api.calls == [("demo", (), {"minutes": 0.5, "out": Path("runs/demo")})]


def test_only_the_first_process_prints(
    api: _Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    api.answers["demo"] = Path("x")
    assert main(["demo"]) == 0
    assert capsys.readouterr().out == ""
