"""Write the pages of the API reference, one a room, from the modules that there are (``make docs``)."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "saccade"
# In the order of the house, top first (docs/architecture.md).
ROOMS = (
    "api", "recipes", "testing", "engine", "deploy", "analysis", "tasks", "models", "weights", "metrics", "losses",
    "data", "blocks", "results", "ops", "structures",
)  # fmt: skip


def pages() -> dict[Path, str]:
    """Text of each page by its file."""
    written: dict[Path, str] = {}
    for room in ROOMS:
        modules = []
        for file in sorted((PACKAGE / room).rglob("*.py")):
            parts = file.relative_to(PACKAGE).with_suffix("").parts
            if file.name != "__init__.py" and not any(part.startswith("_") for part in parts):
                modules.append(".".join(("saccade", *parts)))
        text = [f"# {room}", "", *(f"::: {module}" for module in modules), ""]
        written[ROOT / "docs" / "reference" / f"{room}.md"] = "\n".join(text)
    return written


def main() -> None:
    """Write them."""
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
