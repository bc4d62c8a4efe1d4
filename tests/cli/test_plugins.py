"""``--plugin``, installed plugins, and ``plugins`` in a configuration, from the shell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.registries import forgetting

import saccade
from saccade.cli import main
from saccade.cli._plugins import take_plugins
from saccade.errors import ConfigError, DataError, WeightsError
from saccade.models.checkpoint import read_metadata
from saccade.structures import plugins

# A network, and a reader of images that are named by their class: dark_3.png.
PLUGIN = """
from saccade.data.readers import register_reader
from saccade.data.readers._common import UNSPLIT, choose, list_images
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.engine.train.callbacks import Callback
from saccade.engine.train.loggers import register_logger
from saccade.models.classification.lenet import LeNet5
from saccade.models.registry import register_model
from saccade.structures.dataset import DatasetInfo


@register_model("classification", "a plugin of the tests")
def plug_net(num_classes: int = 10, weights: str | None = None) -> LeNet5:
    return LeNet5(num_classes)


class Named:
    def matches(self, root):
        return any(root.glob("dark_*.png"))

    def splits(self, root):
        return UNSPLIT

    def read(self, root, split, task=None):
        names = list_images(root)
        builder = TableBuilder(["dark", "light"], boxes=False)
        for index in choose(len(names), split, None, root):
            builder.add_image(names[index])
            builder.add_object(names[index].partition("_")[0])
        return TableDataset(DatasetInfo(root.name, "classification", ("dark", "light"), split), root, builder.build())


class Tell(Callback):
    def on_epoch(self, event):
        print("epoch", event.epoch, "is over")


register_reader("named", Named())
register_logger("tell", Tell)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: a plugin, and images that only its reader knows."""
    (tmp_path / "plug.py").write_text(PLUGIN)
    (tmp_path / "shades").mkdir()
    rng = np.random.default_rng(0)
    for name, grey in (("dark", 40), ("light", 200)):
        for number in range(10):
            pixels = rng.integers(grey - 30, grey + 30, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "shades" / f"{name}_{number}.png")
    monkeypatch.chdir(tmp_path)
    with forgetting(tmp_path):
        yield tmp_path


def run(words: str) -> int:
    return main(words.split())


def forget() -> None:
    """As if a new process had begun, which has no plugin."""
    from saccade.data.readers import READERS
    from saccade.models.names import OUTSIDE
    from saccade.models.registry import _BUILDERS

    plugins._NAMED.clear()
    plugins._MODULES.clear()
    OUTSIDE.discard("plug_net")
    _BUILDERS.pop("plug:plug_net", None)
    READERS.pop("named", None)
    sys.modules.pop("plug", None)


TRAIN = "train --plugin plug --model plug_net --data shades --epochs 1 --data.workers 2 --loggers tell --name one"


def test_a_run_with_a_plugin_from_training_to_prediction(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TRAIN.split()) == 0
    assert "epoch 1 is over" in capsys.readouterr().out
    config = yaml.safe_load((folder / "runs/one/config.yaml").read_text())
    assert (config["plugins"], config["model"], config["loggers"]) == (["plug"], "plug_net", ["tell"])
    assert read_metadata("runs/one/best.safetensors")["extra"]["plugins"] == ["plug"]

    forget()  # the configuration names the plugin
    assert run("train --config runs/one/config.yaml --epochs 2 --resume") == 0
    assert "epoch 2 is over" in capsys.readouterr().out

    forget()
    assert run("evaluate runs/one --workers 0") == 4
    assert "outside of Saccade" in capsys.readouterr().err
    assert run("evaluate runs/one --workers 0 --trust") == 0  # the reader of the run too
    assert "top1" in capsys.readouterr().out

    forget()
    assert run("predict runs/one shades --plugin plug") == 0  # who names the plugin trusts it
    assert "dark" in capsys.readouterr().out


def test_a_reader_that_is_not_loaded_is_named(folder: Path) -> None:
    assert main([*TRAIN.replace("plug_net", "lenet5").split(), "--data.format", "named"]) == 0
    forget()
    assert saccade.load("runs/one").builder_name == "lenet5"  # a network of the package needs no plugin
    with pytest.raises(
        DataError, match=r"no format 'named'.*The run had the plugin 'plug', which is not loaded: --plug"
    ):
        saccade.evaluate("runs/one", workers=0)
    assert saccade.evaluate("runs/one", workers=0, trust=True).primary == "top1"


def test_a_checkpoint_says_what_its_plugin_lacks(folder: Path) -> None:
    assert main(TRAIN.split()) == 0
    forget()
    (folder / "plug.py").unlink()
    with pytest.raises(WeightsError, match=r"best\.safetensors.*trained with a plugin.*'plug' cannot be imported"):
        saccade.load("runs/one", trust=True)


def test_plugins_in_python(folder: Path) -> None:
    run = saccade.train(model="plug_net", data="shades", epochs=1, plugins="plug", **{"data.workers": 0})
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["plugins"] == ["plug"]


SPAWNED = """
import multiprocessing, sys
from saccade.cli import main

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.exit(main(sys.argv[1:]))
"""
MARKS = """
import numpy as np

def marked(sample, rng):
    sample.target["plug_mark"] = np.int64(rng.integers(9))
    return sample
"""


def test_workers_that_are_not_forked_know_the_plugin(folder: Path) -> None:
    kind = "from saccade.structures.kinds import Kind, register_kind\nregister_kind('plug_mark', Kind())\n"
    (folder / "plug.py").write_text(PLUGIN + kind)
    (folder / "marks.py").write_text(MARKS)  # nothing that it imports registers the kind
    (folder / "spawned.py").write_text(SPAWNED)
    words = [*TRAIN.split(), "--augment.extra", "marks:marked"]
    done = subprocess.run([sys.executable, "spawned.py", *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "epoch 1 is over" in done.stdout


def test_members_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models --plugin plug --task classification") == 0
    assert "plug:plug_net" in capsys.readouterr().out
    assert run("summary plug_net --plugin plug") == 0
    assert "61,706" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "rest", "names"),
    [
        ("a --plugin b", "a", ["b"]),
        ("--plugin=b a --epochs 3", "a --epochs 3", ["b"]),
        ("--plugin b --plugin c a", "a", ["b", "c"]),
        ("--plugins b c --epochs 3", "--epochs 3", ["b", "c"]),
        ("a", "a", []),
    ],
)
def test_words_of_plugins_are_taken_out(words: str, rest: str, names: list[str]) -> None:
    assert take_plugins(words.split()) == (rest.split(), names)


@pytest.mark.parametrize("words", ["--plugin", "--plugin --epochs 3", "--plugin=", "--plugins --epochs 3"])
def test_a_plugin_needs_a_name(words: str) -> None:
    with pytest.raises(ConfigError, match="needs the name of a module"):
        take_plugins(words.split())


@pytest.mark.parametrize(
    ("verb", "words"),
    [("train", "--model lenet5 --data shades --dry-run"), ("models", "")],
)
def test_a_plugin_that_is_not_there_ends_every_verb(
    folder: Path, capsys: pytest.CaptureFixture[str], verb: str, words: str
) -> None:
    assert main([verb, *words.split(), "--plugin", "plugg"]) == 2
    assert "error: plugin 'plugg': the module 'plugg' cannot be imported" in capsys.readouterr().err


def _early(folder: Path, words: str) -> tuple[str, str, bool]:
    """Exit code, errors, and whether torch was imported, of a process that has an installed plugin without torch."""
    about = folder / "plug_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[saccade.plugins]\nplug = light\n")
    (folder / "light.py").write_text("loaded = True\n")
    code = (
        f"import sys\nsys.path.insert(0, {str(folder)!r})\nfrom saccade.cli import main\n"
        f"code = main({words.split()!r})\nprint(code, 'light' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=folder)
    found = done.stdout.split()
    assert found[-2] == "True"  # the plugin was asked
    return found[-3], done.stderr, found[-1] == "True"


def test_a_wrong_name_is_answered_early_beside_a_plugin(folder: Path) -> None:
    code, said, with_torch = _early(folder, "train --model resnet81 --data shades")
    assert (code, with_torch) == ("2", False)
    assert "unknown model 'resnet81'. Did you mean 'resnet18'" in said


def test_the_right_name_of_an_installed_plugin_is_not_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = folder / "plug_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[saccade.plugins]\nplug = plug\n")
    monkeypatch.syspath_prepend(folder)
    plugins.installed_plugins.cache_clear()
    assert run("train --model plug_net --data shades --epochs 1 --data.workers 0 --name installed") == 0
    assert yaml.safe_load((folder / "runs/installed/config.yaml").read_text())["plugins"] == []
    assert run("train --model plug_nut --data shades") == 2


def test_the_network_of_a_configurations_plugin_is_not_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.yaml").write_text("model: lenet5\nplugins: plug\ndata: {source: shades}\n")
    assert run("train --config mine.yaml --model plug_net --dry-run") == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"] == "plug_net"
    assert run("train --config mine.yaml --model plug_nut --dry-run") == 2
    assert "unknown model 'plug_nut'. Did you mean 'plug_net'" in capsys.readouterr().err
