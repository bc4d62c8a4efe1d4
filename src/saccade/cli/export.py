"""``saccade export``: a checkpoint as a file for another runtime, and the proof that it gives the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal

from saccade.cli._arguments import parse
from saccade.cli._console import print_mapping, printer

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

    options: dict[str, Any] = {"data": arguments.data} | ({"split": arguments.split} if arguments.split else {})
    result = api.export(
        arguments.model, format=arguments.format, path=arguments.path, verify=arguments.verify, **options
    )
    if result.parity is not None:
        print_mapping(_plain(result.parity), "parity with the checkpoint")
    if result.metric_change:
        print_mapping(result.metric_change, "change of the metric")
    printer().print(f"written: {result.path}", soft_wrap=True)
    return 0 if result.parity is None or getattr(result.parity, "passed", True) else 1


def _plain(parity: Any) -> dict[str, Any]:
    return asdict(parity) if is_dataclass(parity) and not isinstance(parity, type) else dict(vars(parity))
