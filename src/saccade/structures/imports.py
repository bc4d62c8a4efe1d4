"""Modules and objects of the user's own, imported by the name that a configuration or the command line gives."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from saccade.errors import ConfigError, did_you_mean

__all__ = ["describe_failure", "import_module", "import_object"]


def import_module(name: str, what: str) -> ModuleType:
    """Import a module, which runs it; the current folder counts too.

    Args:
        name: Dotted name.
        what: What names it, for messages: ``model 'my_package.nets:tiny'``.

    Raises:
        ConfigError: If there is no such module, or it fails as it is imported.

    Example:
        >>> import_module("json", "plugin 'json'").__name__
        'json'
        >>> import_module("my_package/nets.py", "plugin 'my_package/nets.py'")
        Traceback (most recent call last):
        saccade.errors.ConfigError: plugin 'my_package/nets.py': 'my_package/nets.py' is not the name of a module. ...
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{what}: '{name}' is not the name of a module. Write it as for an import: my_package.mine.")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{what}: the module '{name}' cannot be imported ({error}). Run from the folder that holds it, or install "
            "it."
        ) from error
    except (Exception, SystemExit) as error:  # whatever its own code does
        raise ConfigError(f"{what}: the module '{name}' fails as it is imported: {describe_failure(error)}") from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def import_object(text: str, what: str) -> Any:
    """Import the object that ``package.module:name`` stands for; the name may have dots.

    Args:
        text: Module and name.
        what: What names it, for messages.

    Raises:
        ConfigError: If the text has no colon, or there is no such module or name in it; the nearest name is offered.

    Example:
        >>> import_object("math:sqrt", "augment.extra 'math:sqrt'")(9.0)
        3.0
        >>> import_object("math:sqrd", "augment.extra 'math:sqrd'")
        Traceback (most recent call last):
        saccade.errors.ConfigError: augment.extra 'math:sqrd': the module 'math' has no 'sqrd'. Did you mean 'sqrt' ...
    """
    module_name, colon, path = text.partition(":")
    if not (colon and path):
        raise ConfigError(f"{what}: name the module and an object in it: my_package.mine:NAME.")
    found: Any = import_module(module_name, what)
    for name in path.split("."):
        if not hasattr(found, name):
            known = [one for one in dir(found) if not one.startswith("_")]
            raise ConfigError(f"{what}: the module '{module_name}' has no '{path}'.{did_you_mean(name, known)}")
        found = getattr(found, name)
    return found


def describe_failure(error: BaseException) -> str:
    """What went wrong in somebody else's code, and in which line of it.

    Example:
        >>> try:
        ...     json_of_nothing = {}["model"]
        ... except KeyError as error:
        ...     print(describe_failure(error).partition(" (")[0])
        KeyError: 'model'
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    if isinstance(error, SyntaxError):
        where = ""  # the message names file and line
    return f"{type(error).__name__}: {error}{where}. Correct it; SACCADE_DEBUG=1 shows how it came to it."
