"""``saccade export``: a checkpoint as a file for another runtime, and the proof that it gives the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from saccade.cli._arguments import parse
from saccade.cli._console import print_mapping, print_rows, printer

__all__ = ["run"]


@dataclass
class ExportArguments:
    """Write a model for another runtime."""

    model: str
    """Checkpoint."""
    format: Literal["onnx", "openvino", "torch"] = "onnx"
    """What to write."""
    path: Path | None = None
    """File to write; beside the checkpoint if not given."""
    verify: bool = False
    """Compare the exported model with the original: raw numbers, and the metric where data is known."""
    data: str | None = None
    """Data set for --verify, by catalogue name or path; that of the training run if not given."""
    split: str | None = None
    """Part of that data; the run's held-out part if not given."""


def run(argv: Sequence[str]) -> int:
    """Parse, export, print what was written and how close it is; 1 if it is not close enough."""
    arguments = parse(ExportArguments, argv, "export")
    from saccade import api

    result = api.export(
        arguments.model,
        format=arguments.format,
        path=arguments.path,
        verify=arguments.verify,
        data=arguments.data,
        split=arguments.split,
    )
    if result.parity is not None:
        print_mapping(asdict(result.parity), "parity with the checkpoint")
    changes = result.metric_change
    rows = [{"figure": name, "model": a, "file": b, "change": changes[name]} for name, (a, b) in result.metrics.items()]
    print_rows(rows, "figures")
    printer().print(f"written: {result.path}", soft_wrap=True)
    return 0 if result.parity is None or result.parity.passed else 1
