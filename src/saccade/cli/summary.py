"""``saccade summary``: parameters, operations and shapes of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from saccade.cli._arguments import parse
from saccade.cli._console import printer

__all__ = ["run"]


@dataclass
class SummaryArguments:
    """Parameters, multiply-adds and shapes of a network, computed without allocating weights."""

    model: tyro.conf.Positional[str]
    """Name of a network, or a checkpoint."""
    num_classes: int | None = None
    """Classes without background; the paper's number if not given."""
    input_size: tuple[int, int] | None = None
    """Canvas (height, width); the network's own if not given."""


def run(argv: Sequence[str]) -> int:
    """Parse, count, print."""
    arguments = parse(SummaryArguments, argv, "summary")
    from saccade import api

    result = api.summary(arguments.model, num_classes=arguments.num_classes, input_size=arguments.input_size)
    printer().print(str(result), markup=False, soft_wrap=True)
    return 0
