"""The table of ``docs/benchmarks.md``, from ``benchmarks/results.json``: no figure there is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results.json"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
START, END = "<!-- figures: made by python -m benchmarks --write-docs -->", "<!-- /figures -->"


def write_docs() -> None:
    """Put the present results into the page."""
    PAGE.write_text(updated(PAGE.read_text()))


def updated(text: str) -> str:
    """The page with the present results between its marks."""
    head, rest = text.split(START)
    _, tail = rest.split(END)
    return f"{head}{START}\n{tables()}\n{END}{tail}"


def tables() -> str:
    """Machine and figures of the last whole run; a sentence where there was none."""
    if not RESULTS.exists():
        return "No whole run has been kept yet."
    results = json.loads(RESULTS.read_text())
    machine = ["| machine | |", "|---|---|"]
    machine += [f"| {key.replace('_', ' ')} | {_words(value)} |" for key, value in results["machine"].items()]
    figures = ["| benchmark | figure | measured | promised | | note |", "|---|---|---:|---:|---|---|"]
    figures += [_row(figure) for figure in results["figures"]]
    runs = [f"`{name}` {run['minutes']} ({run['load_at_start']})" for name, run in sorted(results["runs"].items())]
    took = [f"Minutes of each, and the load when it began: {', '.join(runs)}."] if runs else []
    broken = [f"Broken in this run: {', '.join(results['broken'])}."] if results["broken"] else []
    return "\n\n".join(["\n".join(machine), "\n".join(figures), *took, *broken])


def _row(figure: dict[str, Any]) -> str:
    promised, verdict = "", ""
    if figure["bound"] is not None:
        promised = f"{'at least' if figure['at_least'] else 'at most'} {figure['bound']:g} {figure['unit']}"
        verdict = "met" if figure["met"] else "**missed**"
    measured = _number(figure["value"], figure["unit"])
    return f"| `{figure['benchmark']}` | {figure['name']} | {measured} | {promised} | {verdict} | {figure['note']} |"


def _number(value: float, unit: str) -> str:
    """Three digits that mean something."""
    return f"{value:#.3g}".rstrip(".") + f" {unit}" if abs(value) < 1000 else f"{value:,.0f} {unit}"


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
