"""``import saccade`` is light, quiet and offline."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import saccade

HEAVY = ("torch", "torchvision", "numpy", "cv2", "matplotlib", "tyro", "rich", "yaml", "openvino", "onnx")


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _loaded(code: str) -> set[str]:
    return set(_run(f"import sys\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])").split())


def _silently(call: str) -> str:
    return (
        "import contextlib, io\nfrom saccade.cli import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()): {call}"
    )


def test_import_loads_nothing_heavy() -> None:
    assert _loaded("import saccade; dir(saccade)") == set()


def test_help_loads_nothing_heavy() -> None:
    assert _loaded(_silently("main(['--help'])")) == set()


def test_an_unknown_verb_loads_nothing_heavy() -> None:
    assert _loaded(_silently("main(['trian'])")) == set()


def test_import_and_models_need_no_network() -> None:
    # Every way out goes through the constructor of a socket.
    code = (
        "import socket\n"
        "def refuse(*args, **kwargs): raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse\n"
        "import saccade\n"
        "print(type(saccade.list_models()).__name__, saccade.__version__)"
    )
    assert _run(code) == f"list {version('saccade')}"


def test_every_promised_name_is_there() -> None:
    for name in saccade.__all__:
        assert name in dir(saccade)
        assert getattr(saccade, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tain'"):
        saccade.tain  # noqa: B018
