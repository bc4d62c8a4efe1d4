"""``import saccade`` is light, quiet and offline."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import saccade

HEAVY = ("torch", "torchvision", "numpy", "cv2", "matplotlib", "tyro", "rich", "yaml", "openvino", "onnx")


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300)
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


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        ("train --model resnet81 --data bccd", "unknown model 'resnet81'. Did you mean 'resnet18'", 2),
        ("tune --model resnet81 --data bccd", "unknown model 'resnet81'", 2),
        ("train --model resnet18 --data no/such", "'no/such' is neither a folder nor a data set", 3),
        ("train --recipe lenet6_mnist", "unknown recipe 'lenet6_mnist'. Did you mean 'lenet5_mnist'", 2),
        ("train --modle resnet18", "unknown option '--modle'. Did you mean 'model'", 2),
        ("summary resnet81", "unknown model 'resnet81'", 2),
        ("predict --model no.onnx --source .", "no model 'no.onnx'", 4),
        ("predict --model yolox_s --source no.jpg", "no.jpg: no such file, folder or pattern", 3),
        ("evaluate --model yolox_s --data bcdd", "Did you mean 'bccd'", 3),
        ("compare resnet18 resnet81", "unknown model 'resnet81'", 2),
        ("check no/such", "'no/such' is neither a folder nor a data set of the catalogue", 3),
    ],
)
def test_unknown_names_are_answered_without_torch(words: str, message: str, code: int) -> None:
    run = (
        f"import sys\nfrom saccade.cli import main\ncode = main({words.split()!r})\nprint(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=300)
    assert message in done.stderr
    assert done.stdout.split() == [str(code), "False"]


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


def test_every_verb_is_a_function_whatever_was_imported() -> None:
    """A sub-package must not hide the verb of its name; the package of the networks is called like one."""
    code = (
        "import importlib, pkgutil, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"  # of other packages, as they are imported
        "import saccade\n"
        "for module in pkgutil.walk_packages(saccade.__path__, 'saccade.'): importlib.import_module(module.name)\n"
        "from saccade.cli import VERBS\n"
        "assert not [verb for verb in VERBS if not callable(getattr(saccade, verb))]\n"
        "assert saccade.models is sys.modules['saccade.models']\n"
        "explanation = saccade.explain(saccade.create_model('lenet5'), saccade.show('digit_scenes', count=1), top=1)\n"
        "print(saccade.models('keypoints')[0].name, saccade.summary('lenet5').params, len(explanation.labels))"
    )
    assert _run(code) == "coordinate_regression 61706 1"


@pytest.mark.parametrize("words", [["--version"], ["summary", "lenet5"]])
def test_the_package_runs_as_the_command(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "saccade", *words], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert version("saccade") in done.stdout or "61,706" in done.stdout


def test_the_package_gives_the_exit_code_of_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "saccade", "trian"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'train'" in done.stderr


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tain'"):
        saccade.tain  # noqa: B018
