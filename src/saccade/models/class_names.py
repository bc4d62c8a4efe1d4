"""Names of a network's classes: always as many as it has classes, with background only where it is one of them."""

from __future__ import annotations

from collections.abc import Sequence

from saccade.errors import ConfigError, WeightsError

__all__ = ["check_class_names", "learnt_class_names"]

_BACKGROUND = "background"


def learnt_class_names(num_classes: int, names: Sequence[str]) -> tuple[str, ...]:
    """Class names of a network that is trained on data with classes of these names.

    They are the data's. A network with one class for label maps of background and one foreground (a sigmoid) names the
    foreground alone, and a network without classes names none.

    Args:
        num_classes: Classes of the network.
        names: Class names of the data.

    Raises:
        ConfigError: If the network has another number of classes.

    Example:
        >>> learnt_class_names(2, ("background", "cell")), learnt_class_names(1, ("background", "cell"))
        (('background', 'cell'), ('cell',))
    """
    if num_classes == 0:
        return ()
    if num_classes == 1 and len(names) == 2 and names[0].lower() == _BACKGROUND:
        return (names[1],)
    if num_classes != len(names):
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise ConfigError(
            f"the network has {num_classes} classes, the data {len(names)} ({shown}). Build it with num_classes="
            f"{len(names)}; background is none of the classes of a detector."
        )
    return tuple(names)


def check_class_names(num_classes: int, names: Sequence[str], title: str) -> None:
    """Refuse a network with names for another number of classes; without names it passes.

    Args:
        num_classes: Classes of the network.
        names: Its ``class_names``.
        title: The network or its file, for the message.

    Raises:
        WeightsError: If the numbers differ.

    Example:
        >>> check_class_names(2, ("cat", "dog"), "the network")
        >>> check_class_names(3, ("cat", "dog"), "the network")
        Traceback (most recent call last):
        saccade.errors.WeightsError: the network has 3 classes and 2 class names (cat, dog). ...
    """
    if names and len(names) != num_classes:
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise WeightsError(
            f"{title} has {num_classes} classes and {len(names)} class names ({shown}). Give one name a class; "
            f"a network with one class against background names the foreground alone."
        )
