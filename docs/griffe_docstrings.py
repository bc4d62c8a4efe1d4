"""Docstrings as the reference wants them: ``Example:`` as a section of code, roles such as ``:class:`` as links."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`(~?)([\w.]+)`")


class Docstrings(griffe.Extension):
    """Rewrites the docstring of every object of the package once it is loaded."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every object."""
        if obj.docstring is None:
            return
        # Griffe knows the section "Examples" alone.
        text = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
        obj.docstring.value = _ROLE.sub(lambda match: _link(obj, match[1], match[2]), text)

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """The event's name in earlier versions."""
        self.on_object(obj=obj)


def _link(obj: griffe.Object, short: str, name: str) -> str:
    """A link where the name has an entry in the reference, plain code where it has none."""
    shown = name.rpartition(".")[2] if short else name
    target = name
    if not name.startswith("saccade."):  # a name of the same class or module
        scope: griffe.Object | None = obj
        while scope is not None and name not in scope.members:
            scope = scope.parent
        target = name if scope is None else f"{scope.path}.{name}"
    return f'<autoref identifier="{target}" optional><code>{shown}</code></autoref>'
