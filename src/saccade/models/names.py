"""Names of the networks of the package, known without importing one, that is, without torch."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

from saccade.errors import ConfigError, did_you_mean

__all__ = ["OUTSIDE", "builder_modules", "builder_names", "unknown_model"]

OUTSIDE: set[str] = set()
"""Names of builders from outside the package that were registered in this process, without their modules."""

# A builder is a function under the decorator; tests hold what is found here against the registry.
_BUILDER = re.compile(r"^@register_model\(.*?^def (\w+)", re.DOTALL | re.MULTILINE)


@functools.cache
def builder_modules() -> dict[str, str]:
    """Module of each builder of the package by its name, read from the files; empty where there are no sources.

    Example:
        >>> builder_modules()["lenet5"]
        'saccade.models.classification.lenet'
    """
    models = Path(__file__).parent
    homes: dict[str, str] = {}
    for file in models.rglob("*.py"):
        parts = file.relative_to(models).with_suffix("").parts
        for name in _BUILDER.findall(file.read_text(encoding="utf-8")):
            homes[name] = ".".join((__package__, *parts))
    return homes


def builder_names() -> frozenset[str]:
    """Names of all builders of the package, read from its files in milliseconds; empty where there are no sources.

    Example:
        >>> {"lenet5", "yolox_s"} <= builder_names(), "resnet81" in builder_names()
        (True, False)
    """
    return frozenset(builder_modules())


def unknown_model(name: str, known: Iterable[str]) -> ConfigError:
    """Error of a name that is no network's; it offers the nearest, or the checkpoint in a folder of that name.

    Args:
        name: As given.
        known: Names of networks.

    Example:
        >>> unknown_model("resnet81", ["resnet18", "yolox_s"])
        ConfigError("unknown model 'resnet81'. Did you mean 'resnet18'?")
    """
    if Path(name).is_dir():
        inside = min(Path(name).glob("*.safetensors"), default=None)
        remedy = f"Give the checkpoint in it: {inside}" if inside else "Give a checkpoint or the name of a model."
        return ConfigError(f"'{name}' is a folder. {remedy}")
    if Path(name).suffix == ".safetensors":
        return ConfigError(f"no checkpoint '{name}'. Check the path.")
    return ConfigError(f"unknown model '{name}'.{did_you_mean(name, known)}")
