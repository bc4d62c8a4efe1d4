"""What every verb has in common: help, completion, quiet, the places of the cache."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import types
from pathlib import Path

import pytest

import saccade.cli
from saccade.cli import VERBS, main
from saccade.cli._completion import completion
from saccade.data.transforms import config as augment_config
from saccade.engine.train import config as train_config
from saccade.engine.train.progress import note
from saccade.errors import ConfigError
from saccade.structures.folders import cache_root


@pytest.mark.parametrize("module", [train_config, augment_config], ids=lambda module: module.__name__)
def test_every_field_of_a_configuration_has_a_help_text(module: types.ModuleType) -> None:
    lines = inspect.getsource(module).splitlines()
    missing = []
    for kind in ast.parse("\n".join(lines)).body:
        for one, after in zip(kind.body, [*kind.body[1:], None], strict=True) if isinstance(kind, ast.ClassDef) else ():
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                comment = "#" in lines[(one.end_lineno or 1) - 1] or lines[one.lineno - 2].strip().startswith("#")
                if not comment and not isinstance(after, ast.Expr):
                    missing.append(f"{kind.name}.{one.target.id}")
    assert missing == []


@pytest.mark.parametrize(
    ("verb", "usage"), [("predict", "MODEL SOURCE"), ("evaluate", "[MODEL] [DATA]"), ("compare", "MODEL OTHER")]
)
def test_help_names_what_stands_in_which_position(
    verb: str, usage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([verb, "--help"]) == 0
    assert f"saccade {verb} [-h] [OPTIONS] {usage}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["saccade", "eval"], {"evaluate"}),
        (["saccade", "evaluate", "--per"], {"--per-image"}),
        (["saccade", "train", "--optimizer.l"], {"--optimizer.lr", "--optimizer.layer-decay"}),
        (["saccade", "train", "--model", "lenet"], {"lenet5"}),
        (["saccade", "predict", "--qui"], {"--quiet"}),
    ],
    ids=lambda value: " ".join(value if isinstance(value, list) else sorted(value)),
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_bash_completes(words: list[str], expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "saccade.bash").write_text(completion("bash", VERBS))
    line = " ".join(f"'{word}'" for word in words)
    state = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}"
    script = f"source saccade.bash; {state}; _saccade; printf '%s\\n' ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert expected <= set(done.stdout.split())
    assert all(word.startswith(words[-1]) for word in done.stdout.split())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_know_every_verb_and_option(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in VERBS)
    assert "per-image" in script
    assert "resnet50" in script
    with pytest.raises(ConfigError, match=r"takes a shell\. Choose from: bash, fish, zsh"):
        completion("", VERBS)


def test_quiet_leaves_results_warnings_and_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(argv: list[str]) -> int:
        assert argv == ["--save", "x"]
        print("result")
        note("step 8 of 96")
        saccade.cli.logging.getLogger("saccade").warning("a label is odd")
        raise ConfigError("wrong")

    monkeypatch.setitem(VERBS, "works", "as told")
    monkeypatch.setitem(sys.modules, "saccade.cli.works", types.SimpleNamespace(run=run))  # type: ignore[misc]
    assert main(["works", "--save", "x"]) == 2
    assert capsys.readouterr().err == "step 8 of 96\nwarning: a label is odd\nerror: wrong\n"
    for words in (["works", "--quiet", "--save", "x"], ["works", "--save", "x", "-q"]):
        assert main(words) == 2
        assert capsys.readouterr() == ("result\n", "warning: a label is odd\nerror: wrong\n")
    assert main(["demo", "--quiet", "--minutes", "soon"]) == 2
    assert "--minutes" in capsys.readouterr().err  # what the parser says is no progress


def test_the_cache_is_where_the_platform_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SACCADE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    places = {
        "linux": tmp_path / ".cache" / "saccade",
        "darwin": tmp_path / "Library" / "Caches" / "saccade",
        "win32": tmp_path / "AppData" / "Local" / "saccade" / "Cache",
    }
    for platform, place in places.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_root() == place
    (tmp_path / ".cache" / "saccade").mkdir(parents=True)  # of an earlier version
    assert cache_root() == places["linux"]
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_root() == places["linux"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "saccade"
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
