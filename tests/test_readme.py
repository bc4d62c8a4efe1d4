"""README, pages and contributing guide agree with the code: tables, verbs, links, targets."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import saccade
from saccade.cli import VERBS

ROOT = Path(__file__).parents[1]


def _script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_of_models_is_current() -> None:
    text = (ROOT / "README.md").read_text()
    assert _script("models_table").updated(text) == text, "run: python docs/models_table.py"


def test_reference_is_current() -> None:
    """Every public module stands in the page of its room, and every page in the navigation."""
    pages = _script("reference_pages").pages()
    assert {path: path.read_text() for path in (ROOT / "docs" / "reference").iterdir()} == pages, (
        "run: python docs/reference_pages.py"
    )
    text = "".join(pages.values())
    assert "::: saccade.ops.nms" in text
    assert "register_reader" in text
    assert "_common" not in text


def test_every_verb_is_in_the_readme() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text(), flags=re.M)
    assert rows == list(VERBS)
    assert all(callable(getattr(saccade, verb)) for verb in rows), "the same names in Python"


def test_verbs_of_the_readmes_python_exist() -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S))
    used = set(re.findall(r"\bsaccade\.(\w+)\(", code))
    assert used
    assert used <= set(saccade.__all__)
    compile(code, "README.md", "exec")


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for link, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
            target = page.parent / link if link else page
            assert target.exists(), f"{page.relative_to(ROOT)} links to {link}"
            if heading:
                assert heading in _headings(target), f"{page.relative_to(ROOT)} links to {link}#{heading}"


def _headings(page: Path) -> list[str]:
    """Headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.M)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings]


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f"- {page.relative_to(ROOT / 'docs')}" in navigation


def test_make_has_every_target_of_the_papers() -> None:
    makefile = (ROOT / "Makefile").read_text()
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    for line in re.findall(r"\bmake ((?:[a-z-]+ ?)+)", text):
        for target in line.split():
            assert re.search(rf"^{target}:", makefile, flags=re.M), f"make {target}"
