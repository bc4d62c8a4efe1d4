"""Griffe knows the section ``Examples:`` alone; ours say ``Example:``, as the field's docstrings do."""

from __future__ import annotations

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Reads ``Example:`` as ``Examples:``, so that examples are shown as code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every object of the package once it is loaded."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """The event's name in earlier versions."""
        self.on_object(obj=obj)
