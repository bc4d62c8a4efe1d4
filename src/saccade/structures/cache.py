"""Where files are kept that could be made or fetched again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_root"]


def cache_root() -> Path:
    """Folder of everything cached: ``$SACCADE_CACHE``, else ``saccade`` in the place that the platform has for caches.

    That is ``$XDG_CACHE_HOME`` or ``~/.cache`` on Linux, ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.

    Example:
        >>> from unittest.mock import patch
        >>> with patch.dict("os.environ", SACCADE_CACHE="/data/cache"):
        ...     cache_root().as_posix()
        '/data/cache'
    """
    own = os.environ.get("SACCADE_CACHE")
    if own:
        return Path(own)
    if sys.platform == "win32":
        given, usual = os.environ.get("LOCALAPPDATA"), Path("AppData", "Local")
    elif sys.platform == "darwin":
        given, usual = None, Path("Library", "Caches")
    else:
        given, usual = os.environ.get("XDG_CACHE_HOME"), Path(".cache")
    return (Path(given) if given and Path(given).is_absolute() else Path.home() / usual) / "saccade"
