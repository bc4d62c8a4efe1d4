"""``saccade demo``: from nothing to a trained, evaluated, drawn and exported detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.cli._arguments import parse
from saccade.cli._console import printer

__all__ = ["run"]


@dataclass
class DemoArguments:
    """Train a small detector on generated scenes of real handwriting, score, draw and export it, and write a report."""

    minutes: float = 4.0
    """Training stops after this long."""
    out: Path = Path("runs/demo")
    """Folder to write."""


def run(argv: Sequence[str]) -> int:
    """Parse, run the demonstration, say where the report is."""
    arguments = parse(DemoArguments, argv, "demo")
    from saccade import api

    path = api.demo(minutes=arguments.minutes, out=arguments.out)
    printer().print(f"done; open {path}", soft_wrap=True)
    return 0
