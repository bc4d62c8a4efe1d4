"""What the shell sees: help, exit codes, and one line for whatever goes wrong."""

from __future__ import annotations

import errno
import io
import logging
import os
import subprocess
import sys
import types
import warnings
from typing import Any

import pytest

from saccade.cli import VERBS, main
from saccade.cli._console import print_line, print_rows
from saccade.errors import DataError


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A verb of our own, so that its ``run`` can fail in every way."""
    module = types.ModuleType("saccade.cli.fails")
    monkeypatch.setitem(VERBS, "fails", "fails as told")
    monkeypatch.setitem(sys.modules, "saccade.cli.fails", module)
    monkeypatch.delenv("SACCADE_DEBUG", raising=False)
    return module


def _raise(error: BaseException):
    def run(argv: list[str]) -> int:
        raise error

    return run


def test_help_has_one_line_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in VERBS:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1


def test_every_verb_has_a_file_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in VERBS:
        assert main([name, "--help"]) == 0
        assert f"saccade {name}" in capsys.readouterr().out


def test_unknown_verb_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "error: unknown verb 'trian'. Did you mean 'train'?\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("saccade 0.")


@pytest.mark.parametrize("name", [name for name in VERBS if name != "demo"])
def test_unknown_option_offers_the_nearest(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    near = {
        "train": "recip",
        "evaluate": "modle",
        "predict": "sorce",
        "label": "sorte",
        "export": "formt",
        "check": "splitt",
    }
    near |= {"models": "tsk", "datasets": "tsk", "summary": "num-clases", "show": "recip", "convert": "splitt"}
    near |= {"explain": "wieghts", "tune": "recip", "label": "wieghts", "compare": "splitt"}
    meant = {
        "sorte": "sort",
        "recip": "recipe",
        "modle": "model",
        "sorce": "source",
        "formt": "format",
        "splitt": "split",
    }
    meant |= {"tsk": "task", "num-clases": "num-classes", "wieghts": "weights"}
    assert main([name, f"--{near[name]}", "x"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"unknown option '--{near[name]}'. Did you mean '{meant[near[name]]}'" in err


def test_wrong_value_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--minutes", "soon"]) == 2
    assert "--minutes" in capsys.readouterr().err


def test_our_error_is_one_line(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = _raise(DataError("a.jpg: truncated.\nCopy it again."))
    assert main(["fails"]) == 3
    assert capsys.readouterr().err == "error: a.jpg: truncated. Copy it again.\n"


def test_debug_shows_where(verb: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_DEBUG", "1")
    verb.run = _raise(DataError("a.jpg: truncated."))
    with pytest.raises(DataError):
        main(["fails"])


def test_full_disk_is_one_line(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = _raise(OSError(errno.ENOSPC, "No space left on device", "runs/x/best.safetensors"))
    assert main(["fails"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("error: runs/x/best.safetensors: No space left on device. Free some space")


def test_a_bug_keeps_its_traceback(verb: types.ModuleType) -> None:
    verb.run = _raise(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["fails"])


def test_interrupt_exits_130(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = _raise(KeyboardInterrupt())
    assert main(["fails"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_foreign_warnings_are_silent_and_ours_one_line(
    verb: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(argv: list[str]) -> int:
        warnings.warn_explicit("theirs", UserWarning, "x.py", 1, module="torch.nn")
        warnings.warn_explicit("not ours", UserWarning, "x.py", 1, module="saccades")
        warnings.warn_explicit("ours,\nin two lines", UserWarning, "x.py", 2, module="saccade.data")
        return 0

    verb.run = run
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["fails"]) == 0
    assert capsys.readouterr().err == "warning: ours, in two lines\n"


def test_a_closed_pipe_is_quiet() -> None:
    # The reader closes before the first line is written.
    code = "import sys, time\nfrom saccade.cli import main\nsys.stdin.readline()\nsys.exit(main(['--help']))\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.write("go\n")
    process.stdin.close()
    assert process.wait(60) == 1
    with process.stderr:
        assert process.stderr.read() == ""


class _Strict(io.TextIOWrapper):
    """An output that has ASCII alone, as of a terminal without a language."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)

    def text(self) -> str:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode("ascii")


def test_an_output_of_few_letters_shows_codes(verb: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: Any) -> int:
        print_line("Köter.jpg: 1 Köter")
        print_rows([{"class": "Köter", "AP": 0.5}], "by class")
        raise DataError("Köter.jpg: gone")

    verb.run = run
    out, err = _Strict(), _Strict()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    assert main(["fails"]) == 3
    assert "K\\xf6ter.jpg: 1 K\\xf6ter" in out.text()
    assert "AP" in out.text()
    assert err.text() == "error: K\\xf6ter.jpg: gone\n"
    assert out.errors == "strict"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only: choose another folder"),
        (errno.EACCES, "change its rights"),
        (errno.ENOTDIR, "a file: choose another folder"),
        (errno.EEXIST, "remove that file"),
        (errno.ENAMETOOLONG, "shorter name"),
    ],
)
def test_the_remedy_is_in_the_line(
    number: int, remedy: str, verb: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(argv: Any) -> int:
        raise OSError(number, os.strerror(number), "out/a\x1b[31m\nerror: forged.jpg")

    verb.run = run
    assert main(["fails"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: out/a\\x1b[31m\\nerror: forged.jpg: ")
    assert remedy in err
    assert err.count("\n") == 1


def test_what_is_logged_and_warned_is_one_safe_line(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def run(argv: Any) -> int:
        logging.getLogger("saccade").warning("%s: odd", "a\x1b[31m\nerror: forged")
        logging.getLogger("saccade").info("quiet")
        return 0

    verb.run = run
    assert main(["fails"]) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("warning: a\\x1b[31m")
    assert not logging.getLogger("saccade").handlers


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_tables_keep_words_whole(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [
        {
            "name": "deeplabv3_mobilenet_v3_large",
            "task": "segmentation",
            "parameters": 1.5,
            "paper": "Chen 2017",
        },
        {"name": "[bold]fcn", "task": "-", "parameters": 2.25, "paper": "Long, Shelhamer and Darrell 2015, arXiv"},
    ]
    print_rows(rows, "networks")
    out = capsys.readouterr().out
    assert all(len(line) <= width for line in out.splitlines())
    for word in ("deeplabv3_mobilenet_v3_large", "segmentation", "parameters", "Shelhamer", "[bold]fcn", "2.25"):
        assert word in out
    assert ("┃" in out) == (width >= 80)
