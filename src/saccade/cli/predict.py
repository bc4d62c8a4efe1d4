"""``saccade predict``: a model over images, one by one, in bounded memory."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from saccade.api.options import PredictOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_json, print_line, printer
from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.results.base import Result

__all__ = ["PredictArguments", "run"]


@dataclass(kw_only=True)
class PredictArguments(PredictOptions):
    """Options of ``predict``, and where its results go."""

    on_error: Literal["raise", "skip"] = "skip"
    """What an image that cannot be read does: be named and left out (skip; the exit code is then 1), or end the
    prediction (raise)."""
    save: Path | None = None
    """Folder for the drawings."""
    save_as: str = "drawing"
    """What is written to --save: drawing; of label maps also labels (a palette PNG); of saliency also map (a grey PNG)
    and cutout (the foreground of the image, transparent around it); of translations also image (the output alone)."""
    json: bool = False
    """Print one JSON object an image instead of a line of text."""


def run(argv: Sequence[str]) -> int:
    """Parse, predict, print and save as it goes; 1 if an image was left out."""
    arguments = parse(PredictArguments, argv, "predict")
    from saccade import api
    from saccade.engine.predict.predict import SHOWN_SCORE
    from saccade.engine.predict.sources import count_source

    if arguments.save is None and arguments.save_as != "drawing":
        raise ConfigError(f"--save-as {arguments.save_as} needs a folder. Give --save.")
    options = options_of(arguments, PredictOptions) | {"keep_images": arguments.save is not None}
    images = 0
    used: Counter[str] = Counter()
    results = api.predict(**options)
    thresholds = getattr(results, "thresholds", arguments.score_threshold)
    for result in _watched(results, count_source(arguments.source)):
        shown = result.above(SHOWN_SCORE) if thresholds is None else result
        if arguments.save is not None:
            name = _file_name(result.path, used, arguments.save_as != "drawing")
            shown.save_as(arguments.save_as, arguments.save / name)
        if arguments.json:
            print_json(result.to_json())
        else:
            print_line(f"{result.path}: {shown.describe()}")
        images += 1
    skipped = len(getattr(results, "skipped", ()))
    left = f", {skipped} left out because {'they' if skipped != 1 else 'it'} cannot be read" if skipped else ""
    what = arguments.save_as.removesuffix("s")
    saved = f", {what}s in {arguments.save}" if arguments.save is not None else ""
    print_line(f"{images} image{'s' if images != 1 else ''}{left}{saved}", stderr=True)
    return 1 if skipped else 0


def _watched(results: Iterator[Result], total: int) -> Iterator[Result]:
    """The same results under a bar, where stderr is a terminal."""
    if total == 1 or not sys.stderr.isatty():
        yield from results
        return
    from rich.progress import Progress

    # On a terminal, printed lines go above the bar; what goes to a file or a pipe must not be caught.
    with Progress(console=printer(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        yield from progress.track(results, total=total, description="predict")


def _file_name(path: str, used: Counter[str], exact: bool) -> str:
    """``photo.jpg`` for ``somewhere/photo.jpg``, ``photo-2.jpg`` for the next image of that name.

    Args:
        path: Of the image.
        used: How often each name was given.
        exact: Whether every value has to be kept, which JPEG does not.
    """
    source = Path(path)
    kept = (".png",) if exact else (".jpg", ".jpeg", ".png")
    suffix = source.suffix.lower() if source.suffix.lower() in kept else ".png"
    name = source.stem + suffix
    used[name] += 1
    return name if used[name] == 1 else f"{source.stem}-{used[name]}{suffix}"
