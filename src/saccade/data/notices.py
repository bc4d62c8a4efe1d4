"""Notices in the log: what was assumed about a data set, said once however many splits are opened."""

from __future__ import annotations

import functools
import logging

__all__ = ["say_once"]

logger = logging.getLogger("saccade")


@functools.lru_cache(maxsize=4096)
def say_once(message: str) -> None:
    """Log a warning, unless the same was logged before in this process.

    Example:
        >>> say_once("photos: 20 of 100 images are held out")  # reaches the log
        >>> say_once("photos: 20 of 100 images are held out")
    """
    logger.warning("%s", message)
