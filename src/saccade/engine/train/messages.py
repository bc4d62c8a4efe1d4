"""What a training step tells a person: errors of networks on small batches, predictions that are all one class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from torch import Tensor

from saccade.errors import ConfigError
from saccade.metrics.base import MetricReport
from saccade.structures.text import printable

__all__ = ["explain_small_batches", "only_prediction"]

_TOO_FEW = "Expected more than 1 "  # value per channel (BatchNorm), spatial element (InstanceNorm)
_TOO_SMALL = ("Output size is too small", "Kernel size can't be greater", "Padding size should be less")


@contextmanager
def explain_small_batches(images: Tensor) -> Iterator[None]:
    """Turn torch's errors on a batch or canvas that a network cannot train on into messages that name the option.

    Args:
        images: The batch, shape (B, C, H, W).

    Raises:
        ConfigError: In place of those errors.

    Example:
        >>> with explain_small_batches(torch.zeros(1, 3, 8, 8)):
        ...     torch.nn.BatchNorm1d(3)(torch.zeros(1, 3))
        Traceback (most recent call last):
        saccade.errors.ConfigError: a batch of 1 image of 8 x 8 leaves a norm layer one value a channel, ...
    """
    count, (height, width) = len(images), images.shape[-2:]
    shown = f"a batch of {count} image{'s' if count > 1 else ''} of {height} x {width}"
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_TOO_FEW):
            raise
        raise ConfigError(
            f"{shown} leaves a norm layer one value a channel, of which it has no statistics. Take a --data.batch-size "
            "of 2 or more (and as many images), a larger --data.size, or --freeze.batch-norm frozen_stats."
        ) from error
    except RuntimeError as error:
        if not any(text in str(error) for text in _TOO_SMALL):
            raise
        raise ConfigError(
            f"{shown} is too small for this network ({' '.join(str(error).split())[:160]}). Take a larger --data.size."
        ) from error


def only_prediction(report: MetricReport) -> str | None:
    """The one class that everything was predicted as, although there are several; None otherwise.

    Example:
        >>> confusion = {"labels": ["cat", "dog"], "matrix": [[5, 0], [3, 0]]}  # rows: ground truth
        >>> only_prediction(MetricReport({"top1": 0.6}, "top1", confusion=confusion))
        'cat'
        >>> found = {"labels": ["cat", "background"], "matrix": [[5, 0], [3, 0]], "unpaired": 1}  # some false
        >>> only_prediction(MetricReport({"AP": 0.6}, "AP", confusion=found)) is None
        True
    """
    matrix = np.asarray(report.confusion.get("matrix", []), dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        return None
    predicted = np.flatnonzero(matrix.sum(0))
    existing = np.setdiff1d(np.flatnonzero(matrix.sum(1)), report.confusion.get("unpaired", []))
    if len(predicted) != 1 or len(existing) < 2:
        return None
    return printable(str(report.confusion["labels"][predicted[0]]), limit=80)
