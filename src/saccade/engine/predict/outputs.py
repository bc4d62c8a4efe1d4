"""What is written for the results of a source: names of files that come from it, a video, a table."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.images.quiet import quiet_decoders
from saccade.engine.predict.streams import is_address
from saccade.errors import ConfigError
from saccade.results.base import Result
from saccade.results.images import blank_paper

__all__ = ["OutputNames", "ResultTable", "ResultVideo"]

_JPEG = (".jpg", ".jpeg")
_CODES = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP90"}
_STILLS = 1.0  # images a second, of sources without time


class OutputNames:
    """Files of the results of a source in a folder, named by their images, in the tree of the source.

    Names never collide: the second ``a.jpg`` becomes ``a-2.jpg``, and a frame has its number, ``clip-000012.jpg``.

    Args:
        source: Folder or zip below which names are kept with their folders; of other sources the name alone is.
        folder: Where the files go.

    Attributes:
        replaced: How many files were there before.

    Example:
        >>> about = dict(image_id=0, image_size=(4, 4), class_names=())
        >>> from saccade.results.classification import Classification
        >>> one, other = (Classification(path=f"p/{n}/a.jpg", probabilities=np.ones(1), **about) for n in "xy")
        >>> names = OutputNames("p", "out")
        >>> [names.file(result).as_posix() for result in (one, other, one)]
        ['out/x/a.jpg', 'out/y/a.jpg', 'out/x/a-2.jpg']
    """

    def __init__(self, source: Any, folder: str | Path) -> None:
        self.root = Path(source) if isinstance(source, str | Path) else None
        self.folder = Path(folder)
        self.replaced = 0
        self._taken: set[str] = set()

    def file(self, result: Result, exact: bool = False) -> Path:
        """File for a result.

        Args:
            result: Its path and frame give the name.
            exact: Whether every value has to be kept, which JPEG does not.

        Raises:
            ConfigError: If it would lie beside the image itself, and might replace it or another.
        """
        name = self._name(result)
        kept = (".png",) if exact else (*_JPEG, ".png")
        frame = "" if result.frame is None else f"-{result.frame:06d}"
        suffix = name.suffix.lower() if name.suffix.lower() in kept else ".jpg" if frame and not exact else ".png"
        stem, number = f"{name.stem}{frame}", 1
        target = self.folder / name.parent / f"{stem}{suffix}"
        while str(target).lower() in self._taken:
            number += 1
            target = target.with_name(f"{stem}-{number}{suffix}")
        self._taken.add(str(target).lower())
        if os.path.realpath(target.parent) == os.path.realpath(Path(result.path).parent) and Path(result.path).exists():
            raise ConfigError(f"{target}: this is the folder of the images themselves. Save to another one.")
        self.replaced += target.exists()
        return target

    def _name(self, result: Result) -> Path:
        """Name of the image, with its folders below the root of the source."""
        if is_address(result.path):
            parts = urlsplit(result.path)
            return Path(Path(parts.path).name or parts.hostname or "stream")
        path = Path(result.path)
        inside = self.root is not None and path != self.root and path.is_relative_to(self.root)
        return path.relative_to(self.root) if inside and self.root is not None else Path(path.name)


class ResultVideo:
    """Video of the drawings of results, written as they come; to be used in a ``with`` statement.

    It plays at the speed of the source, frames left out by ``every`` included; images without time last a second.
    There is no sound. The file has its name once it is whole.

    Args:
        path: ``.mp4``, ``.mov``, ``.mkv`` (MPEG-4), ``.avi`` (Motion JPEG) or ``.webm`` (VP9).

    Raises:
        ConfigError: If the suffix is another.

    Example:
        >>> ResultVideo("out.gif")
        Traceback (most recent call last):
        saccade.errors.ConfigError: out.gif: '.gif' is no video that is written. Use .mp4, .m4v, .mov, .mkv, .avi or
        .webm.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _CODES:
            kinds = f"{', '.join(list(_CODES)[:-1])} or {list(_CODES)[-1]}"
            raise ConfigError(f"{path}: '{self.path.suffix}' is no video that is written. Use {kinds}.")
        self._part = self.path.with_name(f".{self.path.stem}.part{self.path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._first: tuple[float | None, NDArray[np.uint8]] | None = None
        self._size = (0, 0)

    def add(self, result: Result) -> None:
        """Add the drawing of a result, on the canvas of the first.

        Raises:
            ConfigError: If the video would replace its own source, or cannot be written.
        """
        if os.path.realpath(result.path) == os.path.realpath(self.path):
            raise ConfigError(f"{self.path}: this is the video that is predicted. Name another file.")
        drawn = result.plot()
        if self._writer is not None:
            self._write(drawn)
        elif self._first is None:
            self._first = result.seconds, drawn
        else:  # the time between the first two is the rate
            before, now = self._first[0], result.seconds
            self._open(1 / (now - before) if before is not None and now is not None and now > before else _STILLS)
            self._write(drawn)

    def _open(self, rate: float) -> None:
        assert self._first is not None, "a drawing has come"
        drawn = self._first[1]
        # Codecs want even sides.
        self._size = drawn.shape[1] + drawn.shape[1] % 2, drawn.shape[0] + drawn.shape[0] % 2
        self.path.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter_fourcc(*_CODES[self.path.suffix.lower()])  # type: ignore[attr-defined]
        with quiet_decoders():
            self._writer = cv2.VideoWriter(str(self._part), code, rate, self._size)
        if not self._writer.isOpened():
            raise ConfigError(f"{self.path}: the video cannot be written. Check the folder's rights, or use .avi.")
        self._write(drawn)

    def _write(self, drawn: NDArray[np.uint8]) -> None:
        width, height = self._size
        canvas = blank_paper(height, width)
        if drawn.shape[0] > height or drawn.shape[1] > width:
            factor = min(height / drawn.shape[0], width / drawn.shape[1])
            size = max(1, int(drawn.shape[1] * factor)), max(1, int(drawn.shape[0] * factor))
            drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
        canvas[: drawn.shape[0], : drawn.shape[1]] = drawn
        assert self._writer is not None, "it was opened"
        self._writer.write(canvas[..., ::-1])

    def __enter__(self) -> ResultVideo:
        return self

    def __exit__(self, *error: object) -> None:
        """Finish the file, also after an interruption: the frames so far are in it."""
        if self._writer is None and self._first is not None and error[0] is None:
            self._open(_STILLS)
        if self._writer is not None:
            self._writer.release()
            self._part.replace(self.path)


class ResultTable:
    """Table of results as CSV, a row an object, class or neighbour, written as they come; for a ``with`` statement.

    Args:
        path: File.

    Example:
        >>> from saccade.results.classification import Classification
        >>> about = dict(path="a.jpg", image_id=0, image_size=(4, 4), class_names=("cat", "dog"))
        >>> with ResultTable("table.csv") as table:
        ...     table.add(Classification(**about, probabilities=np.array([0.2, 0.8])))
        >>> Path("table.csv").read_text().splitlines()
        ['path,frame,seconds,name,label,score', 'a.jpg,,,dog,1,0.8', 'a.jpg,,,cat,0,0.2']
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: TextIO | None = None
        self._writer: csv.DictWriter[str] | None = None

    def add(self, result: Result) -> None:
        """Add the rows of a result; one in which nothing was found has none."""
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", newline="", encoding="utf-8")
            self._writer = csv.DictWriter(self._file, result.columns(), extrasaction="ignore", lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerows(result.rows())

    def __enter__(self) -> ResultTable:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
