"""Plugins: named and installed ones, what they register, and what becomes of broken ones."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.registries import forgetting

import saccade
from saccade.data.readers import get_reader
from saccade.data.writers import get_writer, list_writers
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.loggers import make_loggers
from saccade.errors import ConfigError, DataError, SaccadeError
from saccade.models.registry import get_builder
from saccade.recipes import get_recipe, list_recipes
from saccade.structures.imports import import_object
from saccade.structures.kinds import kind_of
from saccade.structures.plugins import load_installed, load_plugins, missing_plugins, named_plugins
from saccade.tasks import get_task

EVERYTHING = '''
"""A plugin that registers one of everything."""
import numpy as np
from saccade.data.readers import csv, register_reader
from saccade.data.writers import csv as csv_writer, register_writer
from saccade.engine.train.callbacks import Callback
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.loggers import register_logger
from saccade.models.classification.lenet import LeNet5
from saccade.models.registry import register_model
from saccade.recipes import recipe
from saccade.structures.kinds import Kind, register_kind
from saccade.tasks import get_task, register_task

class Quiet(Callback):
    pass

class Sorting(type(get_task("classification"))):
    name = "sorting"

@register_model("classification", "a plugin of the tests")
def plug_net(num_classes: int = 10, weights: str | None = None) -> LeNet5:
    return LeNet5(num_classes)

@recipe
def plug_recipe() -> TrainConfig:
    return TrainConfig(model="plug_net")

register_reader("plug_format", csv)
register_writer("plug_format", csv_writer)
register_logger("quiet", Quiet)
register_task(Sorting())
register_kind("plug_depth", Kind("map"))
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, in which modules of the test lie."""
    monkeypatch.chdir(tmp_path)
    with forgetting(tmp_path):
        yield tmp_path


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, **entries: str) -> None:
    """As if a package with these entry points had been installed."""
    about = folder / "plug_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-package\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (about / "entry_points.txt").write_text("\n".join(["[saccade.plugins]", *lines, ""]))
    monkeypatch.syspath_prepend(folder)


def members() -> list[str]:
    return [name for name in saccade.list_models() if ":" in name]


def test_a_named_plugin_registers_one_of_everything(folder: Path) -> None:
    (folder / "plug.py").write_text(EVERYTHING)
    before = members()
    load_plugins(["plug"])
    assert members() == [*before, "plug:plug_net"]
    assert get_builder("plug_net").name == get_builder("plug:plug_net").name == "plug:plug_net"
    assert saccade.create_model("plug_net", num_classes=3).builder_name == "plug:plug_net"
    row = next(row for row in saccade.models() if row.name == "plug:plug_net")
    assert (row.parameters, row.paper) == (61706, "a plugin of the tests")
    assert get_reader("plug_format").__name__ == "saccade.data.readers.csv"
    assert get_writer("plug_format").TASKS == get_writer("csv").TASKS
    assert list_writers()[-1] == "plug_format"
    assert [type(one).__name__ for one in make_loggers(TrainConfig(loggers=("quiet",)))] == ["Quiet"]
    assert get_task("sorting").decoded_keys == ("probabilities",)
    assert kind_of("plug_depth").motion == "map"
    assert "plug_recipe" in list_recipes()
    assert get_recipe("plug_recipe").model == "plug_net"
    assert named_plugins() == ("plug",)
    assert missing_plugins(["plug", "other"]) == ["other"]


def test_an_installed_plugin_is_loaded_when_a_name_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "plug.py").write_text(EVERYTHING)
    install(folder, monkeypatch, plug="plug")
    assert get_builder("lenet5").name == "lenet5"
    assert get_reader("csv").__name__ == "saccade.data.readers.csv"
    assert "plug" not in sys.modules  # names of the package ask for no plugin
    assert get_builder("plug_net").task == "classification"
    assert members()[-1] == "plug:plug_net"
    assert named_plugins() == ()  # it is found again by itself
    assert missing_plugins(["plug"]) == []
    load_plugins(["plug"])
    assert named_plugins() == ("plug",)


@pytest.mark.parametrize(
    ("ask", "found"),
    [
        (lambda: get_reader("plug_format").__name__, "saccade.data.readers.csv"),
        (lambda: get_writer("plug_format").__name__, "saccade.data.writers.csv"),
        (lambda: get_task("sorting").name, "sorting"),
        (lambda: get_recipe("plug_recipe").model, "plug_net"),
        (lambda: kind_of("plug_depth").motion, "map"),
        (lambda: type(make_loggers(TrainConfig(loggers=("quiet",)))[0]).__name__, "Quiet"),
    ],
)
def test_every_registry_asks_installed_plugins(folder: Path, monkeypatch: pytest.MonkeyPatch, ask, found) -> None:
    (folder / "plug.py").write_text(EVERYTHING)
    install(folder, monkeypatch, plug="plug")
    assert ask() == found


def test_a_plugin_may_be_a_function(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "calls.py").write_text("calls = []\ndef register():\n    calls.append(1)\n")
    install(folder, monkeypatch, by_name="calls:register")
    load_plugins(["by_name", "calls:register", "calls:register", "by_name"])
    load_installed()
    assert import_object("calls:calls", "the test") == [1, 1]  # once by each of its names


def test_a_broken_installed_plugin_is_a_warning_that_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "plug.py").write_text(EVERYTHING)
    (folder / "torn.py").write_text("import os\nos.no_such_thing\n")
    install(folder, monkeypatch, torn="torn", gone="no_such_module:register", ends="sys:exit", plug="plug")
    with caplog.at_level(logging.WARNING):
        assert members()[-1] == "plug:plug_net"
        saccade.list_models()
    assert len(caplog.messages) == 3  # once each
    for name, reason in (("torn", "AttributeError.*line 2"), ("gone", "No module named"), ("ends", "SystemExit")):
        message = next(one for one in caplog.messages if f"'{name}'" in one)
        assert re.search(reason, message)
        assert "of the package 'plug-package' is left out" in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package", "plugin 'no_such_package': the module 'no_such_package' cannot be imported .*install it"),
        ("torn", r"plugin 'torn': the module 'torn' fails as it is imported: ZeroDivisionError.*torn\.py, line 1"),
        ("spelt", "plugin 'spelt': the module 'spelt' fails as it is imported: SyntaxError"),
        ("plug/in.py", "'plug/in.py' is not the name of a module. Write it as for an import"),
        ("calm:registre", "the module 'calm' has no 'registre'. Did you mean 'register'"),
        ("calm:number", "plugin 'calm:number' is a int. Name a module"),
        ("calm:fail", "plugin 'calm:fail' fails as it is called: KeyError: 'x'"),
    ],
)
def test_a_named_plugin_that_is_broken_is_an_error(folder: Path, name: str, message: str) -> None:
    (folder / "torn.py").write_text("1 / 0\n")
    (folder / "spelt.py").write_text("def f(:\n")
    (folder / "calm.py").write_text("number = 3\ndef register():\n    pass\ndef fail():\n    {}['x']\n")
    with pytest.raises(ConfigError, match=message):
        load_plugins([name])
    assert named_plugins() == ()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("register_reader('coco', csv)", "'coco' is a format of the package"),
        ("register_writer('coco', csv_writer)", "'coco' is a format of the package"),
        ("register_writer('mine', csv)", "format 'mine': its writer names no tasks"),
        ("register_logger('csv', Quiet)", "'csv' is a logger of the package"),
        ("register_task(get_task('detection'))", "'detection' is a task of the package"),
        ("register_kind('boxes', Kind('map'))", "'boxes' is a kind of ground truth already"),
        ("@recipe\ndef demo():\n    pass", "'demo' is a recipe of the package"),
    ],
)
def test_names_of_the_package_cannot_be_taken(folder: Path, code: str, message: str) -> None:
    (folder / "plug.py").write_text(f"{EVERYTHING}\n{code}\n")
    with pytest.raises(ConfigError, match=f"plugin 'plug': .*{message}"):
        load_plugins(["plug"])


def test_two_networks_of_one_name_need_their_modules(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(EVERYTHING.partition("@recipe")[0])
        load_plugins([name])
    with pytest.raises(ConfigError, match="several models 'plug_net': 'one:plug_net' and 'two:plug_net'"):
        get_builder("plug_net")


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: get_builder("resnet81"), ConfigError, "Did you mean 'resnet18'"),
        (lambda: get_reader("plug"), DataError, "there is no format 'plug'.*--plugin MODULE"),
        (lambda: get_task("counting"), ConfigError, "unknown task 'counting'.*--plugin MODULE"),
        (lambda: get_writer("plug"), ConfigError, "format 'plug' cannot be written"),
        (lambda: make_loggers(TrainConfig(loggers=("wandv",))), ConfigError, "no 'wandv'. Did you mean 'wandb'"),
    ],
)
def test_what_nobody_registered_is_still_refused(ask, error: type[SaccadeError], message: str) -> None:
    with pytest.raises(error, match=message):
        ask()
