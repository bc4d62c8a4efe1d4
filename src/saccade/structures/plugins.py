"""Plugins: modules of others whose import registers networks, readers, writers, tasks, loggers, recipes.

A plugin is named (``--plugin my_package``, ``plugins:`` in a configuration), or installed: a package declares it as an
entry point of the group ``saccade.plugins``. Installed plugins are loaded when a name is asked for that the package
does not have, or when names are listed; without any this costs one look at the installed packages.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from saccade.errors import ConfigError
from saccade.structures.imports import describe_failure, import_module, import_object

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "GROUP",
    "from_plugin",
    "installed_plugins",
    "load_installed",
    "load_plugins",
    "missing_plugins",
    "named_plugins",
]

logger = logging.getLogger("saccade")

GROUP = "saccade.plugins"
"""Group of the entry points by which an installed package declares a plugin."""

# One thread loads while others wait; what a plugin asks for while it is loaded does not load it again.
_LOCK = threading.RLock()
# Plugins that were loaded because they were named, in this order, and installed ones, with what went wrong.
_NAMED: dict[str, None] = {}
_INSTALLED: dict[str, str] = {}
# Modules that were imported by plugins, and their own packages.
_MODULES: dict[str, None] = {}


def load_plugins(names: Iterable[str]) -> None:
    """Load plugins by name, each once in a process.

    Args:
        names: Each the name of an installed plugin, of a module whose import registers things, or
            ``package.module:function`` that does so when it is called.

    Raises:
        ConfigError: If one cannot be imported or called; the message names it.

    Example:
        >>> load_plugins(["no_such_package"])
        Traceback (most recent call last):
        saccade.errors.ConfigError: plugin 'no_such_package': the module 'no_such_package' cannot be imported ...
    """
    for name in names:
        with _LOCK:
            if name in _NAMED:
                continue
            entry = next((one for one in installed_plugins() if one.name == name), None)
            if entry is not None and name in _INSTALLED and not _INSTALLED[name]:
                _NAMED[name] = None
                continue
            what = f"plugin '{name}'"
            with _noting_modules((entry.module if entry else name.partition(":")[0]).partition(".")[0]):
                if entry is not None:
                    _load_entry(entry, what)
                elif ":" in name:
                    _call(import_object(name, what), what)
                else:
                    import_module(name, what)
            _NAMED[name] = None


def load_installed() -> None:
    """Load all installed plugins, once in a process; a broken one is a warning that names it, and is left out.

    Example:
        >>> load_installed()
    """
    with _LOCK:
        for entry in installed_plugins():
            if entry.name in _INSTALLED or entry.name in _NAMED:
                continue
            _INSTALLED[entry.name] = ""
            try:
                with _noting_modules(entry.module.partition(".")[0]):
                    _load_entry(entry, f"plugin '{entry.name}'")
            except ConfigError as error:
                _INSTALLED[entry.name] = str(error)
                owner = "" if entry.dist is None else f" of the package '{entry.dist.name}'"
                logger.warning("%s The plugin%s is left out.", error, owner)


@functools.cache
def installed_plugins() -> Sequence[EntryPoint]:
    """Entry points of the group, by name; nothing is imported.

    Example:
        >>> [entry.name for entry in installed_plugins()]
        []
    """
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))


def named_plugins() -> tuple[str, ...]:
    """Names by which plugins were loaded in this process; those that are only installed are found again by themselves.

    Example:
        >>> named_plugins()
        ()
    """
    return tuple(_NAMED)


def missing_plugins(names: Iterable[str]) -> list[str]:
    """Those of some plugins that are not loaded in this process.

    Example:
        >>> missing_plugins(["my_package"])
        ['my_package']
    """
    return [name for name in names if name not in _NAMED and _INSTALLED.get(name, "missing")]


def from_plugin(module: str) -> bool:
    """Whether a module belongs to a plugin that was loaded: to its package, or imported by it.

    Example:
        >>> from_plugin("saccade.models.registry")
        False
    """
    return module.partition(".")[0] in _MODULES or module in _MODULES


@contextmanager
def _noting_modules(package: str) -> Iterator[None]:
    before = set(sys.modules)
    yield
    _MODULES[package] = None
    _MODULES.update(dict.fromkeys(name for name in sys.modules.keys() - before if not name.startswith("saccade.")))


def _load_entry(entry: EntryPoint, what: str) -> None:
    """Import what an entry point names; a function is called.

    Raises:
        ConfigError: Whatever goes wrong: it is the code of others.
    """
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what} ({entry.value}) cannot be loaded: {describe_failure(error)}") from error
    if entry.attr:
        _call(found, what)


def _call(function: Any, what: str) -> None:
    if not callable(function):
        raise ConfigError(
            f"{what} is a {type(function).__name__}. Name a module whose import registers things, or a function that "
            "does so when it is called."
        )
    try:
        function()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what} fails as it is called: {describe_failure(error)}") from error
