"""One file a task. ``get_task`` is the only way in."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from saccade.errors import ConfigError, did_you_mean
from saccade.tasks.base import Task

__all__ = ["Task", "get_task", "list_tasks"]


@functools.cache
def list_tasks() -> tuple[str, ...]:
    """List the names of all tasks, which are the files of this folder."""
    return tuple(
        sorted(
            module.name
            for module in pkgutil.iter_modules(__path__)
            if module.name != "base" and not module.name.startswith("_")
        )
    )


def get_task(name: str) -> Task:
    """Get a task by its name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in list_tasks():
        raise ConfigError(f"unknown task '{name}'.{did_you_mean(name, list_tasks())}")
    task: Task = importlib.import_module(f"{__name__}.{name}").TASK
    return task
