"""One file a task. ``get_task`` is the only way in, ``register_task`` adds one from outside the package."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from saccade.errors import ConfigError, did_you_mean
from saccade.structures.plugins import load_installed
from saccade.tasks.base import Task

__all__ = ["Task", "get_task", "list_tasks", "register_task"]

_REGISTERED: dict[str, Task] = {}


@functools.cache
def _own_names() -> frozenset[str]:
    """Files of this folder."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return frozenset(name for name in names if name != "base" and not name.startswith("_"))


def list_tasks() -> tuple[str, ...]:
    """List the names of all tasks: the files of this folder, and those that were registered, by plugins too.

    Example:
        >>> "detection" in list_tasks()
        True
    """
    load_installed()
    return tuple(sorted({*_own_names(), *_REGISTERED}))


def register_task(task: Task) -> None:
    """Add a task of one's own, under its ``name``; one that was registered before is replaced.

    Raises:
        ConfigError: If the package has a task of that name.
    """
    if task.name in _own_names():
        raise ConfigError(f"'{task.name}' is a task of the package. Choose another name.")
    _REGISTERED[task.name] = task


def get_task(name: str) -> Task:
    """Get a task by its name.

    Raises:
        ConfigError: If there is none.

    Example:
        >>> get_task("detection").decoded_keys
        ('boxes', 'scores', 'labels', 'count')
    """
    if name not in _own_names() and name not in _REGISTERED and name not in list_tasks():
        raise ConfigError(
            f"unknown task '{name}'.{did_you_mean(name, list_tasks())} One of your own is registered by its module "
            "(--plugin MODULE; in Python import it)."
        )
    if name in _REGISTERED:
        return _REGISTERED[name]
    task: Task = importlib.import_module(f"{__name__}.{name}").TASK
    return task
