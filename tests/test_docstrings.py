"""How many public names show an example that runs (``make test`` collects and runs them)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from saccade.models.registry import get_builder, list_models

PACKAGE = Path(__file__).parents[1] / "src" / "saccade"


def _public() -> dict[str, str]:
    """Docstring of every function and class that is defined in a module and named in its ``__all__``."""
    found: dict[str, str] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {
            element.value
            for node in tree.body
            if isinstance(node, ast.Assign) and any(getattr(one, "id", "") == "__all__" for one in node.targets)
            for element in getattr(node.value, "elts", ())
        }
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names:
                found[f"{module}:{node.name}"] = ast.get_docstring(node) or ""
    return found


PUBLIC = _public()


def _has_example(docstring: str) -> bool:
    """Whether a line of an example runs."""
    lines = [line for line in docstring.splitlines() if line.strip().startswith(">>>")]
    return any("+SKIP" not in line for line in lines)


def test_two_fifths_of_all_public_names_show_an_example() -> None:
    shown = sum(map(_has_example, PUBLIC.values()))
    assert shown >= 0.4 * len(PUBLIC), f"{shown} of {len(PUBLIC)}"


@pytest.mark.parametrize("room", ["ops", "losses", "blocks", "metrics"])
def test_every_public_name_of_the_pure_rooms_shows_one(room: str) -> None:
    without = [name for name, text in PUBLIC.items() if name.startswith(f"{room}.") and not _has_example(text)]
    assert not without


def test_every_verb_shows_one() -> None:
    from saccade.cli import VERBS

    texts = {name.split(":")[1]: text for name, text in PUBLIC.items() if name.startswith("api.")}
    without = [verb for verb in VERBS if ">>>" not in texts.get(verb, "")]  # the demo's takes minutes and is not run
    assert not without
    assert [verb for verb in VERBS if not _has_example(texts[verb])] == ["demo"]


def test_every_family_of_builders_shows_one() -> None:
    families = {get_builder(name).build.__module__.removeprefix("saccade.") for name in list_models()}
    assert len(families) > 20
    shown = {name.split(":")[0] for name, text in PUBLIC.items() if _has_example(text)}
    assert not families - shown
