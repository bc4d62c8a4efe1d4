"""A network of somebody else's: written outside the package, held against the contract, and used by every verb."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.errors import WeightsError
from saccade.models import registry
from saccade.models.checkpoint import load_model
from saccade.testing import CHECKS, check_model

COLOURS = ((220, 40, 40), (40, 200, 60), (50, 80, 230))
# The verbs in a process of their own, whose search path does not hold the folder it runs in, as with `saccade`.
RUN_VERBS = """
import json, sys
from saccade.cli import main
for words in json.loads(sys.argv[1]):
    print("$", *words, flush=True)
    if code := main(words):
        sys.exit(code)
"""


def forget() -> None:
    """As if the module had never been imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]
    for name in [name for name in registry._BUILDERS if name.startswith("my_package")]:
        del registry._BUILDERS[name]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: a package with a module of networks."""
    forget()
    folder = tmp_path / "project"
    (folder / "my_package").mkdir(parents=True)
    (folder / "my_package" / "__init__.py").touch()
    shutil.copy(Path(__file__).with_name("networks.py"), folder / "my_package" / "my_module.py")
    monkeypatch.chdir(folder)
    yield folder
    forget()


def draw_scenes(folder: Path, count: int) -> None:
    """Coloured rectangles in the YOLO format, most for training."""
    rng = np.random.default_rng(0)
    for number in range(count):
        part = "train" if number < count - 4 else "val"
        pixels = rng.integers(90, 120, (64, 64, 3)).astype(np.uint8)
        label, width, height = int(rng.integers(3)), int(rng.integers(16, 32)), int(rng.integers(16, 32))
        x, y = int(rng.integers(64 - width)), int(rng.integers(64 - height))
        pixels[y : y + height, x : x + width] = COLOURS[label]
        row = [(x + width / 2) / 64, (y + height / 2) / 64, width / 64, height / 64]
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "images" / part / f"{number}.png")
        (folder / "labels" / part / f"{number}.txt").write_text(" ".join(map(str, [label, *row])))
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [red, green, blue]\n")


def saccade(words: list[list[str]], folder: Path) -> str:
    run = subprocess.run(
        [sys.executable, str(folder.parent / "verbs.py"), json.dumps(words)], cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_a_classifier_from_outside_keeps_the_contract(project: Path) -> None:
    name = "my_package.my_module:tiny_classifier"
    ran = check_model(name, options={"num_classes": 3}, size=(16, 16), odd_size=(21, 27))
    assert ran == [check for check in CHECKS if check != "boxes_by_falling_score"]


def test_a_detector_from_outside_keeps_the_contract(project: Path) -> None:
    name = "my_package.my_module:tiny_detector"
    assert check_model(name, options={"num_classes": 3, "width": 8}) == list(CHECKS)


def test_a_detector_from_outside_is_trained_and_used_by_every_verb(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "my_package.my_module:tiny_detector"
    draw_scenes(project / "scenes", 12)
    (tmp_path / "verbs.py").write_text(RUN_VERBS)
    train = f"train --model {name} --data scenes --name mine --epochs 1 --data.batch-size 4 --data.workers 0"
    saccade([train.split()], project)
    best = project / "runs" / "mine" / "best.safetensors"
    # Another process, which meets the module for the first time through the checkpoint.
    verbs = """\
evaluate --model runs/mine --data scenes --split val --workers 0 --trust
predict --model runs/mine --source scenes/images/val --save predictions --trust
export --model runs/mine --format torch --path mine.pt2 --trust
predict --model mine.pt2 --source scenes/images/val --trust
summary my_package.my_module:tiny_detector
"""
    said = saccade([line.split() for line in verbs.splitlines()], project)
    assert "AP" in said
    assert len(list((project / "predictions").glob("*.png"))) == 4
    assert (project / "mine.pt2").exists()

    with pytest.raises(WeightsError, match=r"best\.safetensors.*outside of Saccade.*trust=True \(--trust\)"):
        load_model(best)
    model = load_model(best, trust=True)
    assert model.builder_name == name
    assert model.class_names == ("red", "green", "blue")
    forget()
    monkeypatch.chdir(tmp_path)  # where nobody knows the module
    with pytest.raises(WeightsError, match=r"best\.safetensors.*'my_package\.my_module' cannot be imported .*Run from"):
        load_model(best, trust=True)
