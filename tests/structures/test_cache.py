"""Caches lie where the platform has them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from saccade.structures.cache import cache_root

HOME = Path.home()


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, HOME / ".cache" / "saccade"),
        ("linux", {"XDG_CACHE_HOME": "/fast/cache"}, Path("/fast/cache/saccade")),
        ("linux", {"XDG_CACHE_HOME": "relative"}, HOME / ".cache" / "saccade"),  # invalid by its specification
        ("darwin", {"XDG_CACHE_HOME": "/fast/cache"}, HOME / "Library" / "Caches" / "saccade"),
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/saccade")),
        ("win32", {}, HOME / "AppData" / "Local" / "saccade"),
        ("linux", {"SACCADE_CACHE": "here", "XDG_CACHE_HOME": "/fast/cache"}, Path("here")),
    ],
)
def test_place(platform: str, variables: dict[str, str], expected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SACCADE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == expected
