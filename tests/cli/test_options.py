"""One set of options a verb: the dataclass, the function and the shell have the same names, order and defaults."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import saccade
import saccade.api.options
import saccade.api.shared_options
from saccade.api.options import OPTIONS, EvaluateOptions, ExplainOptions, PredictOptions
from saccade.cli import VERBS, main
from saccade.cli._arguments import option_names, options_of, parse
from saccade.cli.evaluate import EvaluateArguments
from saccade.cli.predict import PredictArguments
from saccade.errors import ConfigError

# What the shell has beyond the function of the verb: where to print, write and draw what it returns. "repair" calls
# saccade.repair with the same options. Every field of a TrainConfig is an option of "train" as well.
SHELL_ONLY: dict[str, set[str]] = {
    "train": {"dry_run"},
    "evaluate": {"json"},
    "compare": {"json"},
    "predict": {"save", "save_as", "video", "table", "json"},
    "check": {"limit", "json", "html", "repair"},
    "convert": {"json"},
    "datasets": {"json"},
}
# Keywords of any name: fields of a TrainConfig.
FREE = {"train": ["settings"]}
# What the shell neither shows nor sets.
PYTHON_ONLY: dict[str, set[str]] = {
    "train": {"callbacks", "train", "val", "test"},
    "predict": {"keep_images"},
    "convert": {"model_args"},
    "explain": {"target"},
}


@pytest.fixture(autouse=True)
def _any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of models and files that do not exist are as good as others here."""
    monkeypatch.setattr("saccade.cli._arguments.refuse_unknown_names", lambda arguments: None)


def _default(field: Any) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is MISSING else field.default


def _arguments(verb: str) -> type[Any]:
    """What the shell parses: the options themselves, or a subclass in the verb's file."""
    return getattr(importlib.import_module(f"saccade.cli.{verb}"), f"{verb.title()}Arguments", OPTIONS[verb])


def _body(module: ModuleType) -> list[ast.stmt]:
    return ast.parse(inspect.getsource(module)).body


def _field_texts() -> dict[str, dict[str, str]]:
    """Docstring of every field, by class."""
    found: dict[str, dict[str, str]] = {}
    for node in (node for module in (saccade.api.shared_options, saccade.api.options) for node in _body(module)):
        if isinstance(node, ast.ClassDef):
            pairs = zip(node.body, node.body[1:], strict=False)
            found[node.name] = {
                field.target.id: " ".join(text.value.value.split())
                for field, text in pairs
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
            }
    return found


def _texts(verb: str) -> dict[str, str]:
    classes = _field_texts()
    return {
        name: text for kind in reversed(OPTIONS[verb].__mro__) for name, text in classes.get(kind.__name__, {}).items()
    }


def test_every_verb_has_options() -> None:
    assert list(OPTIONS) == list(VERBS)
    assert set(SHELL_ONLY) | set(PYTHON_ONLY) <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_function_and_options_have_the_same_names_order_and_defaults(verb: str) -> None:
    parameters = inspect.signature(getattr(saccade, verb)).parameters.values()
    free = [one.name for one in parameters if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    assert free == FREE.get(verb, [])
    assert [(one.name, one.default) for one in parameters if one.name not in free] == [
        (field.name, _default(field)) for field in fields(OPTIONS[verb])
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_the_shell_has_the_options_and_what_is_listed_here(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind = _arguments(verb)
    assert issubclass(kind, OPTIONS[verb])
    own = [field.name for field in fields(OPTIONS[verb])]
    names = [field.name for field in fields(kind)]
    assert names[: len(own)] == own
    assert set(names[len(own) :]) == SHELL_ONLY.get(verb, set())
    settable = list(option_names(kind))
    assert set(names) - {name.partition(".")[0] for name in settable} == PYTHON_ONLY.get(verb, set())
    assert main([verb, "--help"]) == 0
    shown = set(re.findall(r"--(?:no-)?([a-z.-]+)", capsys.readouterr().out))
    positional = {name for name, hint in _hints(kind).items() if "Positional" in hint}
    assert {name.replace("_", "-") for name in settable if name not in positional} <= shown


def _hints(kind: type[Any]) -> dict[str, str]:
    return {
        name: hint for base in reversed(kind.__mro__) for name, hint in vars(base).get("__annotations__", {}).items()
    }


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_documented_once(verb: str) -> None:
    """Each field has a text; the function's docstring has its first sentence."""
    texts = _texts(verb)
    assert list(texts) == [field.name for field in fields(OPTIONS[verb])]
    document = inspect.getdoc(getattr(saccade.api, verb)) or ""
    section = re.search(r"^Args:\n((?:    .*\n)+)", document, flags=re.M)
    assert section is not None
    entries = re.findall(r"^    (\w+): (.*\n(?:     +.*\n)*)", section[1], flags=re.M)
    assert {name: " ".join(text.split()) for name, text in entries} == {
        name: re.split(r"(?<=\.) (?=[A-Z])", text)[0] for name, text in texts.items()
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("--tile 640", {"tile": 640}),
        ("--tile 640 480 --overlap 0.5", {"tile": (640, 480), "overlap": 0.5}),
        ("--tta", {"tta": True}),
        (
            "--tta --tta-scales 0.83 1 --flip-pairs 0 1 2 3",
            {"tta": True, "tta_scales": (0.83, 1.0), "flip_pairs": ((0, 1), (2, 3))},
        ),
        ("--score-threshold 0.5 --batch-size 4", {"score_threshold": 0.5, "batch_size": 4}),
    ],
)
def test_what_the_shell_is_given_reaches_the_function(words: str, expected: dict[str, Any]) -> None:
    predict = parse(PredictArguments, ["--model", "m", "--source", "s", *words.split()], "predict")
    # The shell names what cannot be read and goes on; Python raises.
    assert options_of(predict, PredictOptions) == vars(
        PredictOptions(model="m", source="s", **{"on_error": "skip", **expected})
    )
    if "score_threshold" not in expected:
        evaluate = parse(EvaluateArguments, ["--model", "m", *words.split()], "evaluate")
        assert options_of(evaluate, EvaluateOptions) == vars(EvaluateOptions(model="m", **expected))


@pytest.mark.parametrize("words", ["--tiles 640", "--keep-images", "--no-keep-images"])
def test_what_is_no_option_of_the_shell_is_refused(words: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown option '{words.split()[0]}'"):
        parse(PredictArguments, ["--model", "m", "--source", "s", *words.split()], "predict")


@pytest.mark.parametrize(
    "words",
    [
        "m i",
        "m --image i",
        "--model m --image i",
        "--image i --model m",
        "--model=m i",
        "i --model m",
        "--top 3 --model m i",
        "m --top 3 i",
        "--image=i --classes a b --top 3 m",
    ],
)
def test_positional_arguments_have_names_too(words: str) -> None:
    arguments = parse(ExplainOptions, words.split(), "explain")
    assert (arguments.model, arguments.image) == ("m", "i")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model", "'--model' needs a value"),
        ("--model --image i", "'--model' needs a value"),
        ("--model a --model b i", "given twice"),
    ],
)
def test_positional_arguments_wrongly_named(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(ExplainOptions, words.split(), "explain")


@pytest.mark.parametrize(
    "words",
    ["{m} {d}", "{m} --data {d}", "--model {m} --data {d}", "{m} {d} --epochs 3", "--epochs 3 --data {d} --model {m}"],
)
def test_model_and_data_of_a_training_may_stand_first(words: str, tmp_path: Path) -> None:
    from saccade.cli.train import resolve

    _, config = resolve(words.format(m="lenet5", d=tmp_path).split())
    assert (config.model, config.data.source) == ("lenet5", str(tmp_path))
    assert config.epochs == 3 or "epochs" not in words
    with pytest.raises(ConfigError, match="'three' is one word too many: MODEL and DATA stand first"):
        resolve(["lenet5", str(tmp_path), "three", "--epochs", "3"])


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("predict", "m s --batch-size 4"),
        ("predict", "m --batch-size 4 s"),
        ("predict", "--batch-size 4 m s"),
        ("predict", "--source s --batch-size 4 m"),
        ("evaluate", "m s --batch-size 4"),
        ("evaluate", "--batch-size 4 m --data s"),
        ("evaluate", "--data s m --batch-size 4"),
    ],
)
def test_model_and_source_may_stand_anywhere(verb: str, words: str) -> None:
    arguments: Any = parse(_arguments(verb), words.split(), verb)
    assert (arguments.model, arguments.batch_size) == ("m", 4)
    assert (arguments.source if verb == "predict" else arguments.data) == "s"


def test_the_path_of_a_default_is_the_same_for_both() -> None:
    assert inspect.signature(saccade.demo).parameters["out"].default == Path("runs/demo")
