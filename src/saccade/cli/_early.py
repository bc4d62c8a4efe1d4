"""Unknown names are answered before torch is imported, which takes seconds.

Only what is surely wrong is refused here, in the words of the function that would refuse it later; all else is left to
that function. Plugins may have networks of their own: where there are some, they are loaded before a name is refused.
"""

from __future__ import annotations

import re
from pathlib import Path

from saccade.api.options import ConvertOptions
from saccade.data.catalogue.catalogue import CATALOGUE
from saccade.errors import DataError, WeightsError, did_you_mean
from saccade.models.names import OUTSIDE, builder_names, unknown_model
from saccade.structures.plugins import load_installed, load_plugins

__all__ = ["refuse_unknown_names"]

_FILES = (".safetensors", ".onnx", ".xml", ".pt2")
# Patterns, addresses, cameras and the standard input are no paths.
_NO_PATH = re.compile(r"[*?\[]|://|^\d+$|^-$")


def refuse_unknown_names(arguments: object) -> None:
    """Refuse the name of a network that does not exist, and paths of models, data and images at which nothing is.

    Args:
        arguments: Of a verb: fields ``model``, ``other``, ``data``, ``source`` and ``image`` are looked at, where it
            has them.

    Raises:
        SaccadeError: With the nearest name.

    Example:
        >>> from types import SimpleNamespace
        >>> refuse_unknown_names(SimpleNamespace(model="lenet6"))
        Traceback (most recent call last):
        saccade.errors.ConfigError: unknown model 'lenet6'. Did you mean 'lenet5'...
    """
    config = getattr(arguments, "config", None)
    given = {name: getattr(arguments, name, None) for name in ("model", "other", "data", "source", "image")}
    words = {name: value for name, value in given.items() if isinstance(value, str) and "\0" not in value}
    for name, word in words.items():
        if _exists(word):
            continue
        if name in ("model", "other"):
            _refuse_model(word, config)
        elif name == "data":
            # A configuration may be written for another machine, and the data of a conversion be a file of weights.
            is_weights = isinstance(arguments, ConvertOptions) and arguments.model is not None
            if not is_weights and not getattr(arguments, "dry_run", False):
                _refuse_data(word)
        elif not _NO_PATH.search(word):
            raise DataError(f"{word}: no such file, folder or pattern.")


def _exists(word: str) -> bool:
    try:
        return Path(word).expanduser().exists()
    except (OSError, RuntimeError):  # rights, a name too long, no home
        return True


def _refuse_model(word: str, config: Path | None) -> None:
    suffix = Path(word).suffix
    if suffix in _FILES:
        raise WeightsError(
            f"no model '{word}'. Check the path: it should be a checkpoint (.safetensors) or an exported model (.onnx, "
            ".xml, .pt2)."
        )
    if suffix or ":" in word or not builder_names() or word in builder_names():
        return
    if isinstance(config, Path) and config.is_file():
        from saccade.engine.train.configfile import load_config

        load_plugins(load_config(config).plugins)
    load_installed()
    if word not in OUTSIDE:
        raise unknown_model(word, builder_names() | OUTSIDE)


def _refuse_data(word: str) -> None:
    if word not in CATALOGUE:
        raise DataError(f"'{word}' is neither a folder nor a data set of the catalogue.{did_you_mean(word, CATALOGUE)}")
