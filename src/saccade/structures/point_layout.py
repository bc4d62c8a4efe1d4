"""Layout of the keypoints of an object: their names, which of them a mirror exchanges, and which a limb joins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from saccade.errors import DataError

__all__ = ["PointLayout"]

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PointLayout:
    """Layout of the K keypoints of an object, which travels from a data set through checkpoints into drawings.

    Args:
        names: Names of the points.
        flip_pairs: Pairs of points that a mirror exchanges.
        skeleton: Pairs of points that a limb joins.
        object_name: What has these points, such as ``person``; empty where that is not known.

    Raises:
        DataError: If a pair names a point that there is not.

    Example:
        >>> layout = PointLayout(("nose", "left_eye", "right_eye"), flip_pairs=((1, 2),), skeleton=((0, 1), (0, 2)))
        >>> PointLayout.from_dict(layout.to_dict()) == layout, bool(PointLayout())
        (True, False)
    """

    names: tuple[str, ...] = ()
    flip_pairs: Pairs = ()
    skeleton: Pairs = ()
    object_name: str = ""

    def __post_init__(self) -> None:
        for field in ("flip_pairs", "skeleton"):
            for first, second in getattr(self, field):
                if not (0 <= first < len(self.names) and 0 <= second < len(self.names)):
                    raise DataError(
                        f"{field}: ({first}, {second}) names a point outside of 0..{len(self.names) - 1}. "
                        "Count the points from 0."
                    )

    def __bool__(self) -> bool:
        return bool(self.names)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PointLayout:
        """Build from the values of :meth:`to_dict`, whose lists may have been through JSON."""
        pairs = {name: tuple((int(a), int(b)) for a, b in values.get(name, ())) for name in ("flip_pairs", "skeleton")}
        return cls(tuple(values.get("names", ())), **pairs, object_name=str(values.get("object_name", "")))
