"""Write the pages of the API reference, one a room, from the modules that there are (``make docs``)."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "saccade"
# Rooms of docs/architecture.md that have no names of use to others.
LEFT_OUT = ("__main__", "cli")


def pages() -> dict[Path, str]:
    """Text of each page by its file, in the order of the house, top first."""
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `(\w+)(?:/|\.py)` \| (.*?) \|", table, flags=re.M)
    folder = ROOT / "docs" / "reference"
    return {folder / f"{room}.md": _page(room, about) for room, about in rooms if room not in LEFT_OUT}


def _page(room: str, about: str) -> str:
    single = PACKAGE / f"{room}.py"
    files = [single] if single.exists() else sorted((PACKAGE / room).rglob("*.py"))
    entries = [_entry(file) for file in files if not file.stem.startswith("_") or file.stem == "__init__"]
    return (
        "\n\n".join([f"# saccade.{room}", f"{about[:1].upper()}{about[1:]}.", "\n".join(filter(None, entries))]) + "\n"
    )


def _entry(file: Path) -> str:
    """What mkdocstrings puts the module in for; of a package only what it defines itself."""
    module = ".".join(("saccade", *file.relative_to(PACKAGE).with_suffix("").parts))
    if file.stem != "__init__":
        return f"::: {module}"
    names = _defined(file)
    package = module.removesuffix(".__init__")
    return f"::: {package}\n    options:\n      members: [{', '.join(names)}]" if names else ""


def _defined(package: Path) -> list[str]:
    """Functions and classes of ``__all__`` that stand in a package's own file."""
    body = ast.parse(package.read_text(encoding="utf-8")).body
    public = {
        element.value
        for node in body
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets)
        for element in getattr(node.value, "elts", ())
    }
    return [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in public]


def main() -> None:
    """Write them, and remove those of rooms that are gone."""
    written = pages()
    folder = ROOT / "docs" / "reference"
    folder.mkdir(exist_ok=True)
    for path in set(folder.glob("*.md")) - set(written):
        path.unlink()
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{folder}: {len(written)} pages are current\n")


if __name__ == "__main__":
    main()
