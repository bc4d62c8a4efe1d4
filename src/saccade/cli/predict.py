"""``saccade predict``: a model over images, one by one, in bounded memory."""

from __future__ import annotations

import glob
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.cli._arguments import parse
from saccade.cli._console import printer
from saccade.cli._inference_options import InferenceOptions

if TYPE_CHECKING:
    from saccade.results.base import Result

__all__ = ["describe", "run"]


@dataclass(kw_only=True)
class PredictArguments(InferenceOptions):
    """Run a model over images: one line an image, and with --save the drawings."""

    model: str
    """Checkpoint or exported file."""
    source: str
    """Image, folder or pattern."""
    save: Path | None = None
    """Folder for the drawings."""
    json: bool = False
    """Print one JSON object an image instead of a line of text."""
    score_threshold: float = 0.25
    """Leave out answers below this score, where the task has any."""
    batch_size: int = 1
    """Images (or tiles) at a time."""
    device: str | None = None
    """Such as cuda; the processor through the fastest runtime installed if not given."""


def run(argv: Sequence[str]) -> int:
    """Parse, predict, print and save as it goes."""
    arguments = parse(PredictArguments, argv, "predict")
    from saccade import api

    results = api.predict(
        arguments.model,
        arguments.source,
        score_threshold=arguments.score_threshold,
        batch_size=arguments.batch_size,
        device=arguments.device,
        keep_images=arguments.save is not None,
        **arguments.options(),
    )
    images = 0
    used: Counter[str] = Counter()
    for result in _watched(results, _how_many(arguments.source)):
        values = result.to_json()
        if arguments.save is not None:
            result.save(arguments.save / _file_name(result.path, used))
        sys.stdout.write(f"{json.dumps(values) if arguments.json else f'{result.path}: {describe(values)}'}\n")
        images += 1
    saved = f", drawings in {arguments.save}" if arguments.save is not None else ""
    printer(stderr=True).print(f"{images} image{'s' if images != 1 else ''}{saved}", soft_wrap=True, markup=False)
    return 0


def describe(values: Mapping[str, Any]) -> str:
    """What was seen, on one line, from a result's plain values.

    Example:
        >>> describe({"objects": [{"name": "cat"}, {"name": "dog"}, {"name": "cat"}]})
        '2 cat, 1 dog'
        >>> describe({"name": "cat", "score": 0.913})
        'cat 0.91'
    """
    if "score" in values:
        return f"{values['name']} {values['score']:.2f}"
    if "classes" in values:
        shares = sorted(((entry["share"], entry["name"]) for entry in values["classes"]), reverse=True)
        return ", ".join(f"{name} {share:.1%}" for share, name in shares) or "nothing"
    objects = values.get("objects", ())
    names = Counter(entry["name"] if isinstance(entry, Mapping) else f"set of {len(entry)} points" for entry in objects)
    return ", ".join(f"{number} {name}" for name, number in names.most_common()) or "nothing"


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
    from saccade.engine.predict.sources import IMAGE_SUFFIXES

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
