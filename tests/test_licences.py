"""What comes with Saccade may be shipped: every hard dependency is permissively licensed, the wheel is pure Python."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|HPND|Unlicense|Zlib|0BSD|CC0|CNRI)\b", re.I
)
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|GNU|EUPL|CeCILL|SSPL|MPL|Mozilla)\b|GPL", re.I)
# The one exception: CUDA libraries that torch's Linux wheel asks for, under NVIDIA's own terms.
VENDOR = re.compile(r"^(nvidia-|cuda-toolkit$)")


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _name(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;(@]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _closure(names: list[str]) -> list[str]:
    """The packages and all that they need in this environment, extras apart."""
    seen: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # needed on another system only
        seen[name] = None
        waiting += [_name(line) for line in requires if "extra ==" not in line]
    return sorted(seen)


def _licence(name: str) -> str:
    """What the metadata states; where it states nothing, the first lines of the licence file it comes with."""
    package = distribution(name)
    classifiers = [line for line in package.metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    # Some packages paste the whole text into this field; its first lines say which it is.
    pasted = (package.metadata.get("License") or "")[:200]
    stated = " ".join([package.metadata.get("License-Expression") or "", pasted, *classifiers]).strip()
    if stated:
        return stated
    files = [file for file in package.files or [] if ".dist-info" in str(file) and "LICENSE" in file.name.upper()]
    return " ".join(file.read_text()[:200] for file in files)


HARD = [_name(line) for line in _project()["project"]["dependencies"]]


def test_hard_dependencies_are_installed() -> None:
    for name in HARD:
        distribution(name)


@pytest.mark.parametrize("name", [name for name in _closure(HARD) if not VENDOR.match(name)])
def test_licence_is_permissive(name: str) -> None:
    licence = _licence(name)
    assert PERMISSIVE.search(licence), f"{name}: no permissive licence in its metadata: {licence!r}"
    assert not COPYLEFT.search(licence), f"{name}: {licence!r}"


def test_our_licence_is_the_full_apache_text() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text.split()) > 1500
    assert _project()["project"]["license"] == "Apache-2.0"


def test_wheel_is_pure_python(tmp_path: Path) -> None:
    project = _project()
    assert project["build-system"]["build-backend"] == "hatchling.build"
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["src/saccade"]}  # no build hook, hence py3-none-any
    compiled = {".c", ".cpp", ".cu", ".pyx", ".so", ".pyd", ".dll"}
    assert not [path for path in (ROOT / "src").rglob("*") if path.suffix in compiled]
    assert (ROOT / "src" / "saccade" / "py.typed").exists()


def test_metadata_has_lower_bounds_only() -> None:
    project = _project()["project"]
    requirements = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    assert all(re.search(r">=", line) and not re.search(r"[<~]|==", line) for line in requirements)
