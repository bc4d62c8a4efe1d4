"""``saccade evaluate``: the figures of a model on a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from saccade.cli._arguments import parse
from saccade.cli._console import print_mapping, print_rows, printer
from saccade.cli._inference_options import InferenceOptions
from saccade.errors import ConfigError

__all__ = ["run"]


@dataclass(kw_only=True)
class EvaluateArguments(InferenceOptions):
    """Score a checkpoint or an exported model on a data set."""

    model: str | None = None
    """Checkpoint or exported file."""
    predictions: str | None = None
    """Score this file instead of a model: predictions in COCO's result format, whatever made them."""
    iou_type: str | None = None
    """What of the predictions is scored: bbox, segm or keypoints; told by the file if not given."""
    data: str | None = None
    """Name in the catalogue, or a path; that of the training run if not given, for a checkpoint in its run folder."""
    split: str | None = None
    """Part of the data; several are joined by "+". The run's held-out part if not given."""
    format: str | None = None
    """Reader; found by looking at the folder if not given."""
    task: str | None = None
    """Which ground truth to read, where the data has several; the model's own if not given."""
    batch_size: int = 16
    """Images (or tiles) at a time."""
    json: bool = False
    """Print the figures as one JSON object instead of tables."""


def run(argv: Sequence[str]) -> int:
    """Parse, evaluate, print."""
    arguments = parse(EvaluateArguments, argv, "evaluate")
    from saccade import api

    if arguments.predictions is not None:
        if arguments.data is None or arguments.model is not None:
            raise ConfigError("--predictions is scored on --data, without --model. Name the data, leave out the model.")
        report = api.evaluate_predictions(
            arguments.predictions, arguments.data, arguments.split or "val", arguments.format, arguments.iou_type
        )
    elif arguments.model is None:
        raise ConfigError("there is nothing to score. Name a model (--model PATH), or a file of --predictions.")
    else:
        report = api.evaluate(
            arguments.model,
            arguments.data,
            split=arguments.split,
            format=arguments.format,
            task=arguments.task,
            batch_size=arguments.batch_size,
            **arguments.options(),
        )
    if arguments.json:
        values = {
            "primary": report.primary,
            "values": report.values,
            "per_class": report.per_class,
            "breakdown": report.breakdown,
        }
        printer().print_json(json.dumps(values, default=float))
        return 0
    print_mapping(report.values, arguments.model or arguments.predictions)
    print_rows(report.per_class, "by class")
    print_rows(report.breakdown, "errors")
    return 0
