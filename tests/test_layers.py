"""A folder imports only from folders below it in the list of docs/architecture.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "saccade"


def _rooms() -> list[str]:
    """Rooms of the table, top first."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    return [name.removesuffix(".py") for name in re.findall(r"^\| `([a-z_]+)(?:/|\.py)`", text, flags=re.M)] or []


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def _imports(file: Path) -> list[tuple[int, str]]:
    """Line and module of every import of saccade, inside functions too; names under TYPE_CHECKING count as well."""
    package = ("saccade", *file.relative_to(PACKAGE).parts[:-1])
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, node.module] if node.module else base)
            # "from saccade import api" imports the room api.
            found += [
                (node.lineno, f"{module}.{alias.name}" if module == "saccade" else module) for alias in node.names
            ]
    return [(line, module) for line, module in found if module.split(".")[0] == "saccade"]


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_folder_is_in_the_table() -> None:
    rooms = _rooms()
    there = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    there |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert there <= set(rooms), f"not in docs/architecture.md: {sorted(there - set(rooms))}"


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(file: Path) -> None:
    if file == PACKAGE / "__init__.py":
        return  # the front door re-exports api
    rooms = _rooms()
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    wrong = []
    for line, module in _imports(file):
        room = _room(module)
        # The version is the only thing that lives in the package itself.
        if room in (own, "__version__"):
            continue
        if room not in rooms or rooms.index(room) <= rooms.index(own):
            wrong.append(f"{file.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_an_upward_import_inside_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "ops" / "bad.py"
    bad.parent.mkdir()
    bad.write_text(
        "def f():\n    from saccade.engine.train.fit import fit\n"
        "    from ..models import base\n    from saccade import api\n"
    )
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert [_room(module) for _, module in _imports(bad)] == ["engine", "models", "api"]


def _modules() -> dict[str, Path]:
    names = {file: ("saccade", *file.relative_to(PACKAGE).with_suffix("").parts) for file in FILES}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): file for file, parts in names.items()}


def _graph() -> dict[str, set[str]]:
    """Imports of each module, those inside functions too; ``from package import module`` imports the module."""
    modules = _modules()
    graph: dict[str, set[str]] = {}
    for name, file in modules.items():
        found: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {
                    inner if (inner := f"{node.module}.{alias.name}") in modules else node.module
                    for alias in node.names
                }
        graph[name] = {module for module in found if module in modules and module != name}
    return graph


def _first_circle(graph: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for imported in sorted(graph.get(module, ())):
            if circle := visit(imported, [*path, module]):
                return circle
        done.add(module)
        return []

    return next((circle for module in graph if (circle := visit(module, []))), [])


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not (circle := _first_circle(_graph())), " -> ".join(circle)


def test_the_check_sees_a_circle() -> None:
    assert _first_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert _first_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_file_is_longer_than_600_lines() -> None:
    long = {str(file.relative_to(ROOT)): n for file in FILES if (n := len(file.read_text().splitlines())) > 600}
    assert not long


@pytest.mark.parametrize("room", ["api", "cli", "engine"])
def test_nothing_above_the_tasks_names_a_task(room: str) -> None:
    from saccade.tasks import list_tasks

    path = PACKAGE / room
    for file in [path] if path.is_file() else path.rglob("*.py"):
        strings = {
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & set(list_tasks()), (
            f"{file.relative_to(ROOT)} names a task: {sorted(strings & set(list_tasks()))}"
        )


@pytest.mark.parametrize("room", ["cli", "api", "engine", "deploy"])
def test_nothing_above_the_tasks_asks_of_what_type_a_result_is(room: str) -> None:
    """No import of a result's class, and no test of decoded keys: the task has the rule."""
    results = {"Classification", "Detections", "Keypoints", "SegmentationMap"}
    wrong = []
    for file in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            where = f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} & results:
                wrong.append(f"{where} imports a result's class")
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant):
                keys = {"probabilities", "boxes", "masks", "keypoints", "label_map"}
                tested = any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
                subject = ast.unparse(node.comparators[0])
                if tested and node.left.value in keys and ("decoded" in subject or "outputs" in subject):
                    wrong.append(f"{where} tests for a decoded key")
    assert not wrong, "\n".join(wrong)
