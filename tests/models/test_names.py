"""Names that are known without torch are those of the registry."""

from __future__ import annotations

from saccade.models import registry
from saccade.models.names import builder_names


def test_names_in_the_files_are_those_of_the_registry() -> None:
    registry.list_models()
    own = {name for name, entry in registry._BUILDERS.items() if entry.build.__module__.startswith("saccade.")}
    assert builder_names() == own
    assert len(own) > 200
