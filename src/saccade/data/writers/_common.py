"""Shared by all writers: the report of what was kept and dropped, and names of images."""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.text import printable

__all__ = ["ImagePolicy", "LossReport", "prepare_folder", "unique_names"]

ImagePolicy = Literal["copy", "link", "none"]


@dataclass
class LossReport:
    """Counts of what a conversion kept, changed and dropped, by kind.

    Args:
        source: Format that was read.
        target: Format that was written.
        kept: Count by kind: ``images``, ``objects``, ``boxes``, ``polygons``, ``holes``, ``masks``, ``keypoints``,
            ``label maps``, ``classes``, ``attribute NAME``.
        dropped: The same, with the reason: ``{("holes", "YOLO has no holes"): 3}``.
        changed: What was kept in another form: ``{("masks", "written as polygons"): 12}``.

    Example:
        >>> report = LossReport("coco", "yolo")
        >>> report.keep("boxes", 9)
        >>> report.drop("objects", "YOLO has no crowd regions")
        >>> report.lossless
        False
        >>> report.rows()[1]
        {'what': 'objects', 'fate': 'dropped', 'count': 1, 'why': 'YOLO has no crowd regions'}
    """

    source: str
    target: str
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def lossless(self) -> bool:
        """Whether everything was kept as it was."""
        return not self.dropped and not self.changed

    def keep(self, kind: str, count: int = 1) -> None:
        """Add to the count of what was kept."""
        if count:
            self.kept[kind] += count

    def drop(self, kind: str, reason: str, count: int = 1) -> None:
        """Add to the count of what was dropped; ``reason`` is a short clause."""
        if count:
            self.dropped[kind, reason] += count

    def change(self, kind: str, how: str, count: int = 1) -> None:
        """Add to the count of what was kept in another form."""
        if count:
            self.changed[kind, how] += count

    def rows(self) -> list[dict[str, Any]]:
        """One row for each kind and fate, for a table."""
        return [
            *({"what": kind, "fate": "kept", "count": count, "why": ""} for kind, count in sorted(self.kept.items())),
            *(
                {"what": kind, "fate": fate, "count": count, "why": why}
                for fate, counts in (("changed", self.changed), ("dropped", self.dropped))
                for (kind, why), count in sorted(counts.items())
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """Report as plain values for JSON."""
        return {"from": self.source, "to": self.target, "lossless": self.lossless, "rows": self.rows()}


@contextlib.contextmanager
def prepare_folder(out: Path) -> Iterator[None]:
    """Check that a folder to write is empty or new, and name what the file system refuses while it is written.

    Args:
        out: The folder.

    Raises:
        DataError: If it is not an empty folder, or something cannot be written; the message names it and the remedy.

    Example:
        >>> with prepare_folder(Path("new")):
        ...     Path("new", "a" * 300).mkdir(parents=True)
        Traceback (most recent call last):
        saccade.errors.DataError: new/aaaaaaaaaaaa...: File name too long. Shorten it in the source.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(f"{out}: this is not an empty folder. Name a new one, so that nothing is overwritten.")
        yield
    except OSError as error:
        name = printable(str(error.filename2 or error.filename or out), limit=200)
        remedy = _REMEDIES.get(error.errno or 0, "Check the folder, or name another one.")
        raise DataError(f"{name}: {error.strerror or error}. {remedy}") from error


_REMEDIES = {
    errno.ENAMETOOLONG: "Shorten it in the source.",
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free some space, delete what was written, and write again."
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Name a folder that may be written."),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR), "A file is in the place of a folder: name another."),
}


def unique_names(dataset: TableDataset) -> list[str]:
    """File name of each image without its folders; where two would be equal, the folders are joined to it by ``_``."""
    paths = [PurePosixPath(dataset.table.path(index)) for index in range(len(dataset))]
    counts = Counter(path.name.lower() for path in paths)
    return [path.name if counts[path.name.lower()] == 1 else "_".join(path.parts) for path in paths]
