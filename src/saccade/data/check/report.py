"""The outcome of a check: statistics of the splits and faults by code, as text and as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from saccade.data.check.statistics import SplitStatistics
from saccade.structures.text import printable

__all__ = ["CODES", "CheckReport", "Issue", "Severity", "SplitStatistics", "describe_code"]

Severity = Literal["error", "warning"]

# Every code of a fault and the heading of its group, gravest first among those of equal severity.
CODES = {
    "splits.none": "no split",
    "splits.empty": "splits without images",
    "splits.unreadable": "splits that cannot be opened",
    "labels.none": "no object in any image",
    "splits.no-objects": "splits without objects",
    "classes.one": "one class where a classifier needs two",
    "labels.unreadable": "annotations that cannot be read",
    "labels.missing": "missing annotations",
    "labels.columns": "rows with another number of columns",
    "labels.number": "what is no number, or out of range",
    "labels.class": "unknown classes",
    "labels.box": "boxes that cannot be read",
    "labels.outline": "outlines that cannot be read",
    "labels.keypoints": "keypoints that cannot be read",
    "labels.image": "labels of no image, or of an unknown one",
    "labels.size": "sizes that cannot be read",
    "labels.repeated": "entries given twice",
    "json.field": "fields of a wrong kind",
    "classes.lists": "splits with different classes",
    "image.missing": "missing files",
    "image.empty": "empty files",
    "image.truncated": "truncated files",
    "image.too-large": "images with too many pixels",
    "image.unreadable": "files that cannot be decoded",
    "boxes.not-finite": "boxes that are not finite",
    "keypoints.not-finite": "keypoints that are not finite",
    "outlines.not-finite": "polygons that are not finite",
    "boxes.zero-area": "boxes without area",
    "boxes.inverted": "boxes with their corners the wrong way round",
    "boxes.outside": "boxes that leave their image",
    "classes.counted-from": "class ids counted from another number",
    "splits.leak": "images that lie in two splits",
    "maps.missing": "missing label maps",
    "maps.unreadable": "label maps that cannot be decoded",
    "maps.size": "label maps of another size than their image",
    "maps.value": "label maps with values that are no class",
    "maps.colours": "label maps that hold colours",
    "outlines.points": "polygons of fewer than three points",
    "outlines.far": "polygons far from their image",
    "outlines.zero-area": "polygons without area",
    "masks.size": "masks of another size than their image",
    "masks.runs": "masks whose runs do not fill their image",
    "image.size": "annotated sizes that are not the image's",
    "keypoints.outside": "keypoints outside of their image",
    "outlines.outside": "polygons that leave their image",
    "boxes.repeated": "boxes given twice",
    "boxes.tiny": "boxes below one pixel",
    "image.repeated": "images listed twice in a split",
    "image.duplicate": "images that are alike in a split",
    "classes.names": "class names that differ only in case or blanks",
    "image.name": "file names that differ only in case",
    "classes.unseen": "classes without an example",
    "classes.missing": "classes that are not in every split",
    "classes.few": "classes with few images",
    "classes.gaps": "class ids with gaps",
    "splits.mostly-empty": "splits in which most images have no object",
    "files.unread": "files that are not read",
}
_SHOWN = 5  # faults of a code in text
_LISTED = 40  # classes in text


@dataclass(frozen=True)
class Issue:
    """One fault of a data set: file, field, problem and remedy.

    Args:
        file: File at fault.
        field: Object or field in that file.
        problem: What is wrong.
        remedy: What to do about it.
        severity: ``error`` if training refuses the data or fails on it, ``warning`` if it only learns less.
        code: Stable name of the kind of fault, a key of ``CODES``.
        split: Split of the data set.
        image: File of the image concerned, if any.
        box: x1, y1, x2, y2 in its pixels, where a box is at fault.
        other: File of the other image, where two are alike.

    Example:
        >>> where = ("a.xml", "object 0 (dog)")
        >>> print(Issue(*where, "box 4, 4, 4, 9: zero area", "Draw it again.", "error", "boxes.zero-area"))
        a.xml: object 0 (dog): box 4, 4, 4, 9: zero area
    """

    file: str
    field: str
    problem: str
    remedy: str
    severity: Severity
    code: str
    split: str = ""
    image: str = ""
    box: tuple[float, float, float, float] | None = None
    other: str = ""

    def __str__(self) -> str:
        # The name of a file that holds the ground truth of many images does not identify the image.
        shared = bool(self.image) and Path(self.image).stem != Path(self.file).stem
        parts = [self.file, *([Path(self.image).name] if shared else []), self.field, self.problem]
        return ": ".join(map(printable, parts))


@dataclass
class CheckReport:
    """Outcome of :func:`~saccade.data.check.run.check_dataset`: statistics of the splits and all faults.

    Args:
        name: Data set and splits.
        issues: All faults, by split and image; those of the whole data set last.
        splits: Statistics of each split.
        class_names: Names of the classes; for keypoints of the points.
        images_checked: Whether images were decoded.

    Example:
        >>> issue = Issue("a.jpg", "image", "it is empty", "Restore it.", "error", "image.empty", "train")
        >>> report = CheckReport("birds (train), detection", [issue], [SplitStatistics("train", images=9, objects=12)])
        >>> report.ok
        False
        >>> print(report.to_text())
        birds (train), detection
          images: 9
          images without objects: 0
          objects: 12
        1 errors, 0 warnings
        error: empty files [image.empty]: 1
          a.jpg: image: it is empty (train). Restore it.
    """

    name: str
    issues: list[Issue] = field(default_factory=list)
    splits: list[SplitStatistics] = field(default_factory=list)
    class_names: tuple[str, ...] = ()
    images_checked: bool = True

    @property
    def ok(self) -> bool:
        """Whether training would accept the data as it is: no issue is an error."""
        return not any(issue.severity == "error" for issue in self.issues)

    @property
    def images(self) -> int:
        """Images in all splits."""
        return sum(split.images for split in self.splits)

    @property
    def objects(self) -> int:
        """Objects in all images."""
        return sum(split.objects for split in self.splits)

    @property
    def empty_images(self) -> int:
        """Images without an object, which are valid data."""
        return sum(len(split.empty) for split in self.splits)

    @property
    def class_counts(self) -> dict[str, int]:
        """Objects by class name; for label maps images that show the class, for keypoints labelled points."""
        names = self.class_names
        return {name: sum(split.class_counts.get(name, 0) for split in self.splits) for name in names}

    @property
    def counts(self) -> dict[str, int]:
        """All counts by name, for a table."""
        return {
            "images": self.images,
            "images without objects": self.empty_images,
            "objects": self.objects,
            **{f"class {name}": count for name, count in self.class_counts.items()},
        }

    def class_rows(self) -> list[dict[str, Any]]:
        """One row for each class, with its count in each split and in all."""
        return [
            {
                "class": name,
                **{split.name: split.class_counts.get(name, 0) for split in self.splits},
                **({"all": total} if len(self.splits) > 1 else {}),
            }
            for name, total in self.class_counts.items()
        ]

    def groups(self) -> list[tuple[str, list[Issue]]]:
        """Issues by code: those with an error first, then in the order of ``CODES``."""
        found: dict[str, list[Issue]] = {}
        for issue in self.issues:
            found.setdefault(issue.code, []).append(issue)
        order = {code: rank for rank, code in enumerate(CODES)}
        return sorted(
            found.items(),
            key=lambda group: (all(issue.severity == "warning" for issue in group[1]), order.get(group[0], len(order))),
        )

    def to_json(self) -> dict[str, Any]:
        """Report as plain values for JSON."""
        return {
            "name": self.name,
            "ok": self.ok,
            "images_checked": self.images_checked,
            "counts": self.counts,
            "codes": {code: len(issues) for code, issues in self.groups()},
            "splits": [split.to_json() for split in self.splits],
            "issues": [asdict(issue) for issue in self.issues],
        }

    def to_text(self, limit: int | None = None) -> str:
        """Counts, box sizes and the faults by code, as lines of text.

        Args:
            limit: Faults to show of each code; five if not given.
        """
        limit = _SHOWN if limit is None else limit
        counts = {"images": self.images, "images without objects": self.empty_images, "objects": self.objects}
        lines = [printable(self.name), *(f"  {name}: {count}" for name, count in counts.items())]
        rows = self.class_rows()
        lines += _columns(rows[:_LISTED])
        lines += [f"  ... and {len(rows) - _LISTED} more classes"] if len(rows) > _LISTED else []
        for split in self.splits:
            lines += [f"  {line}" for line in split.to_text()]
        errors = sum(issue.severity == "error" for issue in self.issues)
        lines.append(f"{errors} errors, {len(self.issues) - errors} warnings" if self.issues else "no faults found")
        for code, issues in self.groups():
            lines += _group_lines(code, issues, limit)
        return "\n".join(lines)


def describe_code(code: str) -> str:
    """Heading of a group of faults: what the code stands for, and the code.

    Example:
        >>> describe_code("image.empty")
        'empty files [image.empty]'
    """
    return f"{CODES[code]} [{code}]" if code in CODES else printable(code)


def _group_lines(code: str, issues: list[Issue], limit: int) -> list[str]:
    errors = sum(issue.severity == "error" for issue in issues)
    word = "error" if errors else "warning"
    lines = [f"{word}: {describe_code(code)}: {len(issues)}"]
    remedy = ""
    for issue in sorted(issues, key=lambda issue: issue.severity)[:limit]:
        split, said = f" ({printable(issue.split)})" if issue.split else "", printable(issue.remedy)
        # A remedy is printed once for consecutive faults that share it.
        lines.append(f"  {issue}{split}." + ("" if said == remedy else f" {said}"))
        remedy = said
    if len(issues) > limit:
        lines.append(f"  ... and {len(issues) - limit} more")
    return lines


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    """Table of rows with equal keys, as aligned lines of text."""
    if not rows:
        return []
    table = [list(map(printable, rows[0])), *([printable(str(value)) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in table]
