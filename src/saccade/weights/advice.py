"""What a file of weights would fit, where it does not fit the network at hand.

Builders and their options are known to the room of models, which stands above this one and leaves its adviser here.
"""

from __future__ import annotations

from collections.abc import Callable

from saccade.weights.loadable import Loadable

__all__ = ["Adviser", "Fits", "advise", "set_adviser"]

Fits = Callable[[Loadable], bool]
"""Whether a network, perhaps without memory (on the device ``meta``), is the one that a file was made for."""
Adviser = Callable[[Loadable, Fits], str]
"""A sentence that names the network or option which a file fits; empty where none is found."""

_advisers: list[Adviser] = []


def set_adviser(adviser: Adviser) -> None:
    """Leave the function that looks for a network which fits; it takes the place of the one before.

    Args:
        adviser: Given the network at hand and whether another fits.
    """
    _advisers[:] = [adviser]


def advise(model: Loadable, fits: Fits) -> str:
    """A sentence that names what a file would fit, with a space before it; empty where nothing is known.

    Args:
        model: The network at hand, which it does not fit.
        fits: Whether another does.

    Example:
        >>> model = saccade.create_model("resnet20_cifar")
        >>> advise(model, lambda other: other.builder_args.get("shortcut") == "padding")
        " It fits resnet20_cifar with shortcut='padding' (--model-args.shortcut padding)."
    """
    found = _advisers[0](model, fits) if _advisers else ""
    return f" {found}" if found else ""
