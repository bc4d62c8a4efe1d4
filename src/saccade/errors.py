"""Errors that a user can act on: each names the fault and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

__all__ = [
    "ConfigError",
    "DataError",
    "ExportError",
    "NonFiniteLossError",
    "SaccadeError",
    "WeightsError",
    "did_you_mean",
]


class SaccadeError(Exception):
    """Base of every error whose message is meant for the user; the command line prints it without a traceback.

    Attributes:
        exit_code: What the command line exits with.
    """

    exit_code: ClassVar[int] = 2


class ConfigError(SaccadeError):
    """An option, name or recipe is unknown or contradicts another."""


class DataError(SaccadeError):
    """An image or annotation is missing, broken or inconsistent; the message names file, field and remedy."""

    exit_code = 3


class WeightsError(SaccadeError):
    """A checkpoint cannot be read or verified, or does not match the model."""

    exit_code = 4


class ExportError(SaccadeError):
    """A model cannot be exported, or the exported model's outputs differ from the original's."""

    exit_code = 5


class NonFiniteLossError(SaccadeError):
    """A loss became NaN or infinite; the batch that caused it was saved."""

    exit_code = 4


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Suggestion of the nearest valid names, to append to an error message.

    Args:
        name: The unknown name that the user wrote.
        options: The valid names.

    Returns:
        Up to three names similar to ``name``, or all options if none is similar and there are at most twenty, or an
        empty string.

    Example:
        >>> did_you_mean("resnet5", ["resnet50", "yolox_s"])
        " Did you mean 'resnet50'?"
        >>> did_you_mean("vgg16", ["resnet50", "yolox_s"])
        ' Choose from: resnet50, yolox_s.'
    """
    choices = sorted(options)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    if close:
        return " Did you mean " + " or ".join(f"'{match}'" for match in close) + "?"
    return f" Choose from: {', '.join(choices)}." if 0 < len(choices) <= 20 else ""
