"""What packages of others register, forgotten behind a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saccade import recipes, tasks
from saccade.data import readers, writers
from saccade.engine.train import loggers
from saccade.models import names, registry
from saccade.structures import kinds, plugins

__all__ = ["forgetting"]


@contextmanager
def forgetting(folder: Path) -> Iterator[None]:
    """Forget behind the block what it registers, and the modules that it imports from a folder."""
    registry.list_models()  # a network of the package that is met in the block stays
    recipes.list_recipes()
    tables: list[dict[Any, Any]] = [
        *(readers.READERS, writers._REGISTERED, tasks._REGISTERED, registry._BUILDERS, kinds.KINDS),
        *(loggers._REGISTERED, recipes._RECIPES, plugins._NAMED, plugins._INSTALLED, plugins._MODULES),
    ]
    kept, outside, modules = [dict(table) for table in tables], set(names.OUTSIDE), set(sys.modules)
    plugins.installed_plugins.cache_clear()
    try:
        yield
    finally:
        for table, before in zip(tables, kept, strict=True):
            table.clear()
            table.update(before)
        names.OUTSIDE.clear()
        names.OUTSIDE.update(outside)
        plugins.installed_plugins.cache_clear()
        for name in set(sys.modules) - modules:
            first = name.split(".")[0]
            if (folder / first).exists() or (folder / f"{first}.py").exists():
                del sys.modules[name]
