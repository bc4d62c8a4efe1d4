"""Text of others made safe to show: names of files and classes, metadata, anything a message quotes."""

from __future__ import annotations

import unicodedata

__all__ = ["printable"]

# Control, format (direction overrides, zero width), surrogates (bytes that are no UTF-8),
# line and paragraph separators.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str, lines: bool = False, limit: int | None = None) -> str:
    r"""Text in which nothing moves the cursor, colours the terminal or forges a further line.

    Unsafe characters are shown as escapes, so that the name can still be told from others.

    Args:
        text: Any text.
        lines: Keep line breaks and tabs.
        limit: Longest result; the middle of a longer one is left out.

    Example:
        >>> printable("cat\x1b[31m\nerror: no")
        'cat\\x1b[31m\\nerror: no'
        >>> printable("two\nlines", lines=True)
        'two\nlines'
        >>> printable("a" * 50, limit=9)
        'aaaa…aaaa'
    """
    if not text.isascii() or not text.isprintable():
        text = "".join(_shown(character, lines) for character in text)
    if limit is not None and len(text) > limit:
        half = max((limit - 1) // 2, 1)
        text = f"{text[:half]}…{text[-half:]}"
    return text


def _shown(character: str, lines: bool) -> str:
    if lines and character in "\n\t":
        return character
    if unicodedata.category(character) not in _UNSAFE or character in "\u200c\u200d":  # joiners that scripts need
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
