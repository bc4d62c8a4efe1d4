"""``saccade explain``: what a prediction rests on, what a detector learns from an image, what a layer sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saccade.api.options import ExplainOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_line, print_mapping, print_rows

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, explain, print the classes, or the numbers of the assignment or the fields, and where the drawing is."""
    arguments = parse(ExplainOptions, argv, "explain")
    from saccade import api

    save = arguments.save or Path("explain.png")
    options = options_of(arguments, ExplainOptions) | {"save": save}
    if arguments.receptive_field:
        print_mapping(api.explain(**options).numbers())
    elif arguments.assign:
        assigned = api.explain(**options)
        print_rows(assigned.levels())
        print_rows(assigned.objects())
        for note in assigned.notes():
            print_line(note)
    else:
        explanation = api.explain(**options)
        print_rows([{"class": name, "probability": share} for name, share in explanation.result.top(5)])
    print_line(f"drawn in {save}")
    return 0
