"""``saccade predict``: a model over images, one by one, in bounded memory."""

from __future__ import annotations

import glob
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from saccade.api.options import PredictOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import printer

if TYPE_CHECKING:
    from saccade.results.base import Result

__all__ = ["SHOWN_SCORE", "PredictArguments", "run"]

# What is printed and drawn where no threshold is given: models output far lower scores, of use to metrics alone.
SHOWN_SCORE = 0.25


@dataclass(kw_only=True)
class PredictArguments(PredictOptions):
    """Options of ``predict``, and where its results go."""

    save: Path | None = None
    """Folder for the drawings."""
    json: bool = False
    """Print one JSON object an image instead of a line of text."""


def run(argv: Sequence[str]) -> int:
    """Parse, predict, print and save as it goes."""
    arguments = parse(PredictArguments, argv, "predict")
    from saccade import api

    options = options_of(arguments, PredictOptions) | {"keep_images": arguments.save is not None}
    images = 0
    used: Counter[str] = Counter()
    for result in _watched(api.predict(**options), _how_many(arguments.source)):
        shown = result.above(SHOWN_SCORE) if arguments.score_threshold is None else result
        if arguments.save is not None:
            shown.save(arguments.save / _file_name(result.path, used))
        line = json.dumps(result.to_json()) if arguments.json else f"{result.path}: {shown.describe()}"
        sys.stdout.write(f"{line}\n")
        images += 1
    saved = f", drawings in {arguments.save}" if arguments.save is not None else ""
    printer(stderr=True).print(f"{images} image{'s' if images != 1 else ''}{saved}", soft_wrap=True, markup=False)
    return 0


def _watched(results: Iterator[Result], total: int) -> Iterator[Result]:
    """The same results under a bar, where stderr is a terminal."""
    if total == 1 or not sys.stderr.isatty():
        yield from results
        return
    from rich.progress import Progress

    # On a terminal, printed lines go above the bar; what goes to a file or a pipe must not be caught.
    with Progress(console=printer(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        yield from progress.track(results, total=total, description="predict")


def _how_many(source: str) -> int:
    from saccade.data.images.decode import IMAGE_SUFFIXES

    path = Path(source)
    if path.is_dir():
        return sum(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir())
    return 1 if path.exists() else len(glob.glob(source, recursive=True))  # noqa: PTH207 - absolute patterns


def _file_name(path: str, used: Counter[str]) -> str:
    """``photo.jpg`` for ``somewhere/photo.jpg``, ``photo-2.jpg`` for the next image of that name."""
    source = Path(path)
    suffix = source.suffix.lower() if source.suffix.lower() in (".jpg", ".jpeg", ".png") else ".png"
    name = source.stem + suffix
    used[name] += 1
    return name if used[name] == 1 else f"{source.stem}-{used[name]}{suffix}"
