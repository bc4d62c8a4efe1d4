"""Text of others shown safely."""

from __future__ import annotations

import os

import pytest

from saccade.structures.text import printable


@pytest.mark.parametrize(
    "evil", ["\x1b[2J", "a\r\nerror: forged", "a\u2028b", "\u202egnp.exe", "\x9b31m", "\x00", "\x7f"]
)
def test_nothing_unsafe_is_left(evil: str) -> None:
    shown = printable(evil)
    assert shown.isprintable()
    assert shown != evil


def test_names_of_people_stay() -> None:
    for name in ("Größe", "猫", "नमस्ते", "👩\u200d🚀", "a b"):
        assert printable(name) == name


def test_names_that_are_no_utf8_are_shown_as_bytes_and_can_be_encoded() -> None:
    name = os.fsdecode(b"caf\xe9.png")
    assert printable(name) == "caf\\xe9.png"
    assert printable(name).encode() == b"caf\\xe9.png"
