"""``--plugin NAME``, which every verb takes: a module that registers networks, readers, tasks of the user's own."""

from __future__ import annotations

from collections.abc import Sequence

from saccade.errors import ConfigError

__all__ = ["take_plugins"]


def take_plugins(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split off ``--plugin NAME``, which may be given several times.

    ``--plugins NAME NAME`` is the same, since the field of a configuration is called so.

    Args:
        argv: Words after the verb.

    Returns:
        The other words, and the names.

    Raises:
        ConfigError: If one has no name.

    Example:
        >>> take_plugins(["lenet5", "--plugin", "my_package", "--epochs", "3"])
        (['lenet5', '--epochs', '3'], ['my_package'])
    """
    words, names = list(argv), []
    number = 0
    while number < len(words):
        option, equals, name = words[number].partition("=")
        if option not in ("--plugin", "--plugins"):
            number += 1
            continue
        end = number + 1
        most = 1 if option == "--plugin" else len(words)
        while not equals and end < len(words) and end - number <= most and not words[end].startswith("-"):
            end += 1
        found = [name] if equals else words[number + 1 : end]
        if not found or not all(found):
            raise ConfigError(f"option '{option}' needs the name of a module, or of an installed plugin.")
        names += found
        del words[number:end]
    return words, names
