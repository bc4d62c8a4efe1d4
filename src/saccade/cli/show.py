"""``saccade show``: training images as they reach the network, after augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saccade.api.options import ShowOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_line

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, draw, print where the drawing is."""
    arguments = parse(ShowOptions, argv, "show")
    from saccade import api

    save = arguments.save or Path("show.png")
    api.show(**options_of(arguments, ShowOptions) | {"save": save})
    print_line(f"drawn in {save}")
    return 0
