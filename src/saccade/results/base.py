"""Base of results: what every prediction offers, whatever its task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from saccade.errors import ConfigError, did_you_mean
from saccade.structures.files import to_json, write_text
from saccade.structures.text import printable

__all__ = ["Result", "import_supervision"]


@dataclass(kw_only=True, eq=False, repr=False)
class Result(ABC):
    """Base class of results: the prediction for one image (or its ground truth), in pixels of the original.

    Fields are given by name. Pixels are continuous, as in ``structures.geometry``: the image covers [0, W] x [0, H].

    Args:
        path: File of the image, or a name such as ``array-3``.
        image_id: The data set's number for it.
        image_size: (height, width) of the original.
        class_names: Names of labels 0..N-1.
        image: Original pixels (H, W, C), where they were kept.
        frame: Number of the frame, from 0, of a video, camera or stream, whose name is then ``path``; else None.
        seconds: Time of that frame.

    Attributes:
        savers: Kinds of image files that a result is written to, each with the method that writes it.
    """

    savers: ClassVar[Mapping[str, str]] = {"drawing": "save"}

    path: str
    image_id: int
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    image: NDArray[Any] | None = None
    frame: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        """The image and the prediction for it on one line: ``photos/a.jpg: 2 cat, 1 dog``."""
        return f"{self.title}: {self.describe()}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def _repr_html_(self) -> str:
        """Drawing and line, as notebooks show the last value of a cell."""
        from saccade.results.images import image_tag

        return f"<div>{image_tag(self.plot())}<br>{escape(printable(str(self)))}</div>"

    @property
    def title(self) -> str:
        """Name of the image; of a frame with its number and time: ``clip.mp4 frame 12 (0.48 s)``."""
        time = "" if self.seconds is None else f" ({self.seconds:.2f} s)"
        return self.path if self.frame is None else f"{self.path} frame {self.frame}{time}"

    def name_of(self, label: int) -> str:
        """Name of a class, or ``class 7`` where the names are not known."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else f"class {label}"

    def pixels(self) -> NDArray[Any]:
        """The image itself; its file is read again if the pixels were not kept.

        Raises:
            DataError: If there is neither.
        """
        from saccade.results.images import read_rgb

        return self.image if self.image is not None else read_rgb(self.path)

    def above(self, score: float | Sequence[float]) -> Result:
        """Select the objects that score at least ``score``; the result itself where it holds none (classes, maps).

        Args:
            score: Threshold, 0..1, or one for each class.
        """
        return self

    @abstractmethod
    def describe(self) -> str:
        """Describe the prediction on one line: ``2 cat, 1 dog``."""

    @abstractmethod
    def plot(self) -> NDArray[Any]:
        """Draw the prediction on the image, (H, W, 3) uint8 RGB.

        Very small images are enlarged and legends are added below, so the size may differ from the original's.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON, class names included."""

    def rows(self) -> list[dict[str, Any]]:
        """Convert to rows of a table: one for each object, class or neighbour, all with the same columns.

        They begin with ``path``, ``frame`` and ``seconds``.
        """
        return [{**self._place(), "result": self.describe()}]

    def columns(self) -> list[str]:
        """Names of the columns of :meth:`rows`, also where there is no row."""
        rows = self.rows()
        return list(rows[0] if rows else self._place())

    def to_dataframe(self) -> Any:
        """Convert to a ``pandas.DataFrame`` of :meth:`rows`; ``pandas.concat`` joins those of several images.

        Raises:
            ConfigError: If pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise ConfigError(
                "to_dataframe() needs the package pandas: pip install pandas. rows() needs nothing."
            ) from error
        return pandas.DataFrame(self.rows())

    @abstractmethod
    def to_coco(self, category_ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Convert to COCO result entries (``image_id``, ``category_id``, ...), in full precision.

        Args:
            category_ids: The data set's id of each label (``DatasetInfo.category_ids``); the label itself if not given.
        """

    @abstractmethod
    def to_supervision(self) -> Any:
        """Convert to an object of the ``supervision`` package.

        Raises:
            ConfigError: If supervision is not installed.
        """

    def _header(self) -> dict[str, Any]:
        """Fields that the JSON of every task starts with."""
        height, width = self.image_size
        header = {"path": self.path, "image_id": self.image_id, "width": width, "height": height}
        return header if self.frame is None else {**header, "frame": self.frame, "seconds": self.seconds}

    def uncertainty(self) -> float | None:
        """How unsure the network is of this image, 0..1, from its scores; None where it gives none.

        Of all images of a source, a person gains most by labelling those where it is high.
        """
        return None

    def _place(self) -> dict[str, Any]:
        """Columns that the rows of every task start with."""
        return {"path": self.path, "frame": self.frame, "seconds": self.seconds}

    def show(self) -> None:
        """Show the drawing: below the cell of a notebook, elsewhere in the system's viewer of images."""
        from saccade.results.images import show_image

        show_image(self.plot())

    def save(self, path: str | Path) -> Path:
        """Write the drawing (``.png``, ``.jpg``) or the values (``.json``), by suffix; returns the file."""
        from saccade.results.images import write_image

        target = Path(path)
        if target.suffix == ".json":
            write_text(target, to_json(self.to_json(), indent=1), durable=False)
        else:
            write_image(target, self.plot())
        return target

    def save_as(self, kind: str, path: str | Path) -> Path:
        """Write an image file of one of the kinds that this result has (``savers``); returns the file.

        Args:
            kind: ``drawing``; also ``labels`` of label maps, ``map`` and ``cutout`` of saliency, ``image`` of
                translations.
            path: File; all kinds but drawings need the suffix ``.png``.

        Raises:
            ConfigError: If it has no such kind.
        """
        if kind not in self.savers:
            raise ConfigError(f"results of this task are not saved as '{kind}'.{did_you_mean(kind, self.savers)}")
        saved: Path = getattr(self, self.savers[kind])(path)
        return saved


def import_supervision() -> Any:
    """Import the optional package ``supervision``.

    Raises:
        ConfigError: If it is not installed; the message names the command that installs it.
    """
    try:
        import supervision
    except ImportError as error:
        raise ConfigError("to_supervision() needs the package supervision: pip install supervision.") from error
    return supervision
