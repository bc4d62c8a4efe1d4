"""The documented figures are those that were measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
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
    assert "Broken in this run: prediction." in page
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "old" not in page
