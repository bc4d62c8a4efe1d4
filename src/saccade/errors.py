"""Errors that a user can act on: each names the thing at fault and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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
    """Base of every error whose message is meant for the user; the command line prints it without a traceback."""


class ConfigError(SaccadeError):
    """An option, name or recipe is unknown or contradicts another."""


class DataError(SaccadeError):
    """An image or annotation is missing, broken or inconsistent; the message names file, field and remedy."""


class WeightsError(SaccadeError):
    """A checkpoint cannot be read, verified or fitted to the model."""


class ExportError(SaccadeError):
    """A model could not be exported, or the exported model does not give the same numbers."""


class NonFiniteLossError(SaccadeError):
    """A loss became NaN or infinite; the batch that did it was saved."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Sentence fragment that offers the nearest valid name.

    Args:
        name: What the user wrote.
        options: What would have been valid.

    Returns:
        ``" Did you mean 'resnet50'?"``, or the list of options if they are few, or an empty string.

    Example:
        >>> did_you_mean("resnet5", ["resnet50", "unet"])
        " Did you mean 'resnet50'?"
    """
    choices = sorted(options)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    if close:
        return " Did you mean " + " or ".join(f"'{match}'" for match in close) + "?"
    return f" Choose from: {', '.join(choices)}." if 0 < len(choices) <= 20 else ""
