"""The documented figures are those that were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import __main__ as benchmarks
from benchmarks import docs_table
from benchmarks.common import Figure


def test_page_of_benchmarks_is_current() -> None:
    text = docs_table.PAGE.read_text()
    assert docs_table.updated(text) == text, "run: python -m benchmarks --write-docs"


def test_table_shows_what_was_promised_and_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = [
        Figure("engine over bare step", 6.25, "%", 5.0, note="nano"),
        Figure("default step", 1.75, "x", 1.7, at_least=True),
        Figure("rate", 12345.6, "images/s"),
    ]
    results = {
        "machine": {"computes_in": ["avx2", "amx_bf16"], "cores": 2},
        "runs": {"training_step": {"load_at_start": 0.1, "minutes": 7.5}},
        "figures": [{"benchmark": "training_step", **figure.to_dict()} for figure in figures],
        "broken": ["prediction"],
    }
    monkeypatch.setattr(docs_table, "RESULTS", tmp_path / "results.json")
    docs_table.RESULTS.write_text(json.dumps(results))
    page = docs_table.updated(f"before\n{docs_table.START}\nold\n{docs_table.END}\nafter\n")
    assert "| computes in | avx2, amx_bf16 |" in page
    assert "| `training_step` | engine over bare step | 6.25 % | at most 5 % | **missed** | nano |" in page
    assert "| `training_step` | default step | 1.75 x | at least 1.7 x | met |  |" in page
    assert "| `training_step` | rate | 12,346 images/s |  |  |  |" in page
    assert "when it began: `training_step` 7.5 (0.1)." in page
    assert "Broken in this run: prediction." in page
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "old" not in page


def test_a_stopped_run_keeps_what_it_measured_and_measures_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (docs_table, benchmarks):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(docs_table, "PAGE", tmp_path / "benchmarks.md")
    docs_table.PAGE.write_text(f"{docs_table.START}\n{docs_table.END}\n")
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.py").touch()
    monkeypatch.setattr(benchmarks, "FOLDER", folder)
    asked: list[str] = []

    def measure(name: str) -> list[dict[str, Any]] | None:
        asked.append(name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return None if name == "b" and len(asked) == 2 else [Figure(f"figure of {name}", len(asked), "x").to_dict()]

    monkeypatch.setattr(benchmarks, "_run_apart", measure)
    with pytest.raises(KeyboardInterrupt):
        benchmarks.main([])
    assert [row["name"] for row in json.loads(benchmarks.RESULTS.read_text())["figures"]] == ["figure of a"]
    assert benchmarks.main([], resume=True) == 0
    assert asked == ["a", "b", "c", "b", "c"]  # a broken one is tried again
    kept = json.loads(benchmarks.RESULTS.read_text())
    assert [row["name"] for row in kept["figures"]] == ["figure of a", "figure of b", "figure of c"]
    assert kept["broken"] == []
    assert "| figure of c | 5.00 x |" in docs_table.PAGE.read_text()

    benchmarks.RESULTS.write_text(json.dumps(kept | {"machine": {"processor": "another"}}))
    assert benchmarks.main([], resume=True) == 2
    assert "of another machine" in capsys.readouterr().err
