"""``saccade predict``: a model over images, one by one, in bounded memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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
    video: Path | None = None
    """Video file for the drawings: .mp4, .m4v, .mov, .mkv, .avi or .webm. It plays at the speed of the source."""
    table: Path | None = None
    """CSV file for a table: a row an object, class or neighbour."""
    json: bool = False
    """Print one JSON object an image instead of a line of text."""


def run(argv: Sequence[str]) -> int:
    """Parse, predict, print and save as it goes; 1 if an image was left out."""
    arguments = parse(PredictArguments, argv, "predict")
    from saccade import api
    from saccade.engine.predict.outputs import OutputNames, ResultTable, ResultVideo
    from saccade.engine.predict.predict import SHOWN_SCORE
    from saccade.engine.predict.sources import SourceOptions, count_source

    if arguments.save is None and arguments.save_as != "drawing":
        raise ConfigError(f"--save-as {arguments.save_as} needs a folder. Give --save.")
    drawn = arguments.save is not None or arguments.video is not None
    options = options_of(arguments, PredictOptions) | {"keep_images": drawn}
    names = OutputNames(arguments.source, arguments.save or Path())
    exact = arguments.save_as != "drawing"
    images = 0
    with ExitStack() as stack:
        video = stack.enter_context(ResultVideo(arguments.video)) if arguments.video is not None else None
        table = stack.enter_context(ResultTable(arguments.table)) if arguments.table is not None else None
        results = api.predict(**options)
        thresholds = getattr(results, "thresholds", arguments.score_threshold)
        expected = count_source(arguments.source, SourceOptions(arguments.recursive, arguments.every))
        for result in _watched(results, expected):
            shown = result.above(SHOWN_SCORE) if thresholds is None else result
            if arguments.save is not None:
                shown.save_as(arguments.save_as, names.file(result, exact))
            if video is not None:
                video.add(shown)
            if table is not None:
                table.add(shown)
            if arguments.json:
                print_json(result.to_json())
            else:
                print_line(str(shown))
            images += 1
    skipped = len(getattr(results, "skipped", ()))
    print_line(_summary(arguments, images, skipped, names.replaced), stderr=True)
    return 1 if skipped else 0


def _summary(arguments: PredictArguments, images: int, skipped: int, replaced: int) -> str:
    """``12 images, 1 left out because it cannot be read, drawings in out (3 replaced)``."""
    parts = [f"{images} image{'s' if images != 1 else ''}"]
    if skipped:
        parts.append(f"{skipped} left out because {'they' if skipped != 1 else 'it'} cannot be read")
    if arguments.save is not None:
        again = f" ({replaced} replaced)" if replaced else ""
        parts.append(f"{arguments.save_as.removesuffix('s')}s in {arguments.save}{again}")
    parts += [f"{name} in {file}" for name in ("video", "table") if (file := getattr(arguments, name)) is not None]
    return ", ".join(parts)


def _watched(results: Iterator[Result], total: int) -> Iterator[Result]:
    """The same results under a bar, where stderr is a terminal."""
    if total == 1 or not sys.stderr.isatty():
        yield from results
        return
    from rich.progress import Progress

    # On a terminal, printed lines go above the bar; what goes to a file or a pipe must not be caught.
    with Progress(console=printer(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        yield from progress.track(results, total=total or None, description="predict")
