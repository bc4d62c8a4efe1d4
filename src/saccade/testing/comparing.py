"""How checks fail: in words, with the error that a network raised behind them; and when two tensors count as equal."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor

from saccade.deploy.verify import ParityReport, compare

__all__ = [
    "ROUNDING",
    "NotApplicableError",
    "attempt",
    "require",
    "require_close",
    "require_finite",
    "require_parity",
    "require_same_predictions",
    "slice_image",
]

# Share of an output's scale by which it may change where the same sums are added up in another order (another batch
# size, folded layers, another runtime). Against float64 these networks are off by up to 4e-6 in float32, so two ways of
# computing them differ by up to 8e-6; five times that is left to other CPUs.
ROUNDING = 4e-5


class NotApplicableError(Exception):
    """A check has nothing to check in this network; the message says why."""


def require(condition: object, message: str) -> None:
    """Fail with ``message`` unless ``condition`` holds.

    Raises:
        AssertionError: With the message.

    Example:
        >>> require(1 + 1 == 3, "the sum is 2, not 3")
        Traceback (most recent call last):
            ...
        AssertionError: the sum is 2, not 3
    """
    if not condition:
        raise AssertionError(message)


@contextlib.contextmanager
def attempt(what: str) -> Iterator[None]:
    """Turn whatever the network raises inside into a failed check.

    Args:
        what: What it is asked to do: ``"decode"``.

    Raises:
        AssertionError: If anything is raised.

    Example:
        >>> with attempt("decode"):
        ...     {}["logits"]
        Traceback (most recent call last):
            ...
        AssertionError: decode fails with KeyError: 'logits'
    """
    try:
        yield
    except (AssertionError, NotApplicableError):
        raise
    except Exception as error:
        raise AssertionError(f"{what} fails with {type(error).__name__}: {error}") from error


def require_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Fail unless ``tensors`` are plain tensors of finite values.

    Args:
        tensors: By name.
        what: What they are, for the message.

    Example:
        >>> require_finite({"boxes": torch.tensor([1.0, float("nan")])}, "predict")
        Traceback (most recent call last):
            ...
        AssertionError: predict: 'boxes' is not finite
    """
    for name, value in tensors.items():
        require(type(value) is Tensor, f"{what}: '{name}' is a {type(value).__name__}, not a tensor")
        require(torch.isfinite(value).all(), f"{what}: '{name}' is not finite")


def require_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Fail unless the tensors are equal but for rounding, under the same names in the same order.

    Args:
        found: By name.
        expected: By name.
        what: Which two are compared, for the message.

    Example:
        >>> alone, together = ({"logits": torch.tensor([value])} for value in (2.1, 2.0))
        >>> require_close(alone, together, "alone and in the batch")
        Traceback (most recent call last):
            ...
        AssertionError: alone and in the batch: 'logits' differs by 0.1, which is not rounding (its scale is 2)
    """
    require(list(found) == list(expected), f"{what}: the outputs are {list(found)} and {list(expected)}")
    for name, value in expected.items():
        shapes = f"{tuple(found[name].shape)} {found[name].dtype} and {tuple(value.shape)} {value.dtype}"
        same = found[name].shape == value.shape and found[name].dtype == value.dtype
        require(same, f"{what}: '{name}' is {shapes}")
        difference = float((found[name].double() - value.double()).abs().max())
        scale = float(value.double().abs().max())
        message = f"{what}: '{name}' differs by {difference:.2g}, which is not rounding (its scale is {scale:.2g})"
        require(difference <= ROUNDING * scale, message)


def require_same_predictions(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Fail unless decoded tensors are equal but for rounding; rows (boxes, poses) may have changed places.

    Args:
        found: Decoded tensors.
        expected: Decoded tensors.
        what: Which two are compared, for the message.
    """
    batch = len(next(iter(expected.values())))
    require_parity(compare(expected, found, ParityReport(what, (batch,), {}, {}, None, 0, ROUNDING, True)), expected)


def require_parity(report: ParityReport, keys: Collection[str]) -> None:
    """Fail unless a comparison passed, with no row that one side alone has, and compared everything.

    A keypoint is the place of a maximum, which jumps where two places differ by rounding alone; of rows with keypoints
    one in thirty may therefore differ, whose other figures are equal.

    Args:
        report: Of :func:`saccade.deploy.verify.compare`.
        keys: Keys of the decoded tensors.
    """
    few = report.rows / 30 if report.rows and "keypoints" in keys and "boxes" in keys else 0
    close = all(value <= report.tolerance for value in report.max_relative.values())
    require(close and (report.passed or few) and report.unmatched <= few, str(report))
    compared = tuple(report.max_abs), report.rows is not None
    wanted = tuple(key for key in keys if key != "count"), "count" in keys
    require(compared == wanted, f"{report.runtime}: {', '.join(compared[0])} were compared of {', '.join(keys)}")


def slice_image(tensors: Mapping[str, Tensor], image: int, batch: int) -> dict[str, Tensor]:
    """What belongs to one image of a batch, or to all.

    Example:
        >>> tensors = {"scores": torch.rand(3, 7), "strides": torch.rand(7)}
        >>> {name: tuple(value.shape) for name, value in slice_image(tensors, image=1, batch=3).items()}
        {'scores': (1, 7), 'strides': (7,)}
    """
    return {
        name: value[image : image + 1] if value.ndim and len(value) == batch else value
        for name, value in tensors.items()
    }
