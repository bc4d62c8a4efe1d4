"""Folders of this user, by the custom of the platform."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_root"]


def cache_root() -> Path:
    r"""Folder for what can be made or downloaded again.

    ``$SACCADE_CACHE`` if it is set. Else ``$XDG_CACHE_HOME/saccade``, or ``~/.cache/saccade``; on macOS
    ``~/Library/Caches/saccade`` and on Windows ``%LOCALAPPDATA%\\saccade\Cache``, unless earlier versions have filled
    ``~/.cache/saccade`` there.

    Example:
        >>> isinstance(cache_root(), Path)
        True
    """
    own, xdg, local = (os.environ.get(name) for name in ("SACCADE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"))
    if own:
        return Path(own).expanduser()
    if xdg and Path(xdg).is_absolute():  # relative ones are to be ignored, by the XDG specification
        return Path(xdg) / "saccade"
    usual = Path.home() / ".cache" / "saccade"
    if usual.is_dir():
        return usual
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "saccade"
    if sys.platform == "win32":
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "saccade" / "Cache"
    return usual
