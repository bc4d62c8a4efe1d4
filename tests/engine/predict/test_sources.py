"""What predict accepts, what it passes over, and what happens to what is no image."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.cli import main
from saccade.deploy.runtime import FusedRuntime
from saccade.engine.predict.large_images import open_images
from saccade.engine.predict.sources import iter_source
from saccade.errors import ConfigError, DataError
from saccade.models.base import Model
from saccade.models.checkpoint import save_model
from saccade.models.registry import create_model

RAMP = np.arange(24).reshape(4, 6) / 23
EVIL = "cat\x1b[31m\nerror: forged"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch predicts: nothing is converted for each of many calls."""
    monkeypatch.setattr("saccade.deploy.runtime.best_cpu_runtime", lambda model, cached: FusedRuntime(model))


@pytest.fixture(scope="module")
def model() -> Model:
    network = create_model("lenet5", num_classes=3).eval()
    network.class_names = (EVIL, f"{EVIL}2", f"{EVIL}3")
    return network


@pytest.fixture
def run(model: Model, tmp_path: Path) -> Path:
    """Folder of a run, which stands for its best checkpoint."""
    return save_model(model, tmp_path / "runs" / "mine" / "best.safetensors").parent


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (20, 10), (40 * number, 0, 0)).save(folder / f"{number}.jpg")
    (folder / "2.jpg").write_bytes((folder / "2.jpg").read_bytes()[:-40])
    return folder


def test_one_broken_image_does_not_end_a_prediction(
    run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ([], ["--tile", "10"], ["--batch-size", "3"]):
        assert main(["predict", "--model", str(run), "--source", str(photos), *more]) == 1
        out, err = capsys.readouterr()
        assert [Path(line.split(": ")[0]).name for line in out.splitlines()] == ["0.jpg", "1.jpg", "3.jpg", "4.jpg"]
        assert err.count("2.jpg") == 1
        assert err.splitlines()[-1] == "4 images, 1 left out because it cannot be read"
    assert main(["predict", "--model", str(run), "--source", str(photos), "--on-error", "raise"]) == 3
    assert "error: " in capsys.readouterr().err


def test_python_raises_unless_told_to_skip(model: Model, photos: Path) -> None:
    sources: list[Any] = [
        photos,
        [photos / "0.jpg", photos / "gone.jpg", photos / "3.jpg"],
        [np.zeros((4, 4)), np.zeros(3)],
    ]
    for source in sources:
        for tile in (None, 10):
            with pytest.raises(DataError):
                list(saccade.predict(model, source, tile=tile))
            found = saccade.predict(model, source, tile=tile, on_error="skip")
            results = list(found)
            assert len(results) + len(found.skipped) == (5 if source is photos else len(source))
            assert found.skipped[0].reason.endswith(".")
            if source is sources[1]:  # results keep their places in the source
                assert [result.image_id for result in results] == [0, 2]
            assert len(results) >= 1
    with pytest.raises(ConfigError, match=r"on_error is 'ignore'.*skip"):
        saccade.predict(model, photos, on_error="ignore")  # type: ignore[arg-type]


def test_a_folder_of_any_images_and_what_is_left_out(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mix"
    (folder / "below.jpg").mkdir(parents=True)
    for name in ("g.gif", "j.jp2", "a.avif", "w.WEBP", "p.png"):
        Image.new("RGB", (20, 10), "red").save(folder / name)
    Image.new("RGB", (20, 10), "red").save(folder / "f.jfif", format="JPEG")
    for name in ("._p.png", ".hidden.jpg", "Thumbs.db"):
        (folder / name).write_bytes(b"junk")
    for name in ("readme.txt", "b.txt", "Makefile"):
        (folder / name).touch()
    assert main(["predict", "--model", str(run), "--source", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 6
    assert "passed over: 2 .txt, 1 no suffix." in err
    for file in list(folder.iterdir()):
        if file.is_file() and not file.name.startswith("b."):
            file.unlink()
    assert main(["predict", "--model", str(run), "--source", str(folder)]) == 3
    assert "holds no images" in (said := capsys.readouterr().err)
    assert "1 .txt" in said


def test_pipes_and_devices_are_named_with_and_without_tiles(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "zero.png"):
        for more in ([], ["--tile", "10"]):
            assert main(["predict", "--model", str(run), "--source", str(tmp_path / name), *more]) == 1
            assert re.search(rf"{name}: .*this is a (pipe|device)", capsys.readouterr().err)


DEPTHS: dict[str, tuple[Any, Any]] = {
    "uint16": ((RAMP * 65535).astype(np.uint16), RAMP),
    "int32 of 16 bits": ((RAMP * 65535).astype(np.int32), RAMP),
    "int32 of 8 bits": ((RAMP * 200).astype(np.int32), None),
    "float": (RAMP, RAMP),
    "half": (RAMP.astype(np.float16), RAMP),
    "float to 255": (RAMP * 255, None),
    "negative": (-RAMP, None),
    "NaN": (np.full((4, 6), np.nan), None),
    "bool": (RAMP > 0.5, RAMP > 0.5),
    "Pillow I;16": (Image.fromarray((RAMP * 65535).astype(np.uint16)), RAMP),
    "Pillow I": (Image.fromarray((RAMP * 65535).astype(np.int32)), RAMP),
    "Pillow F": (Image.fromarray(RAMP.astype(np.float32)), RAMP),
    "Pillow F to 255": (Image.fromarray((RAMP * 255).astype(np.float32)), None),
    "Pillow 1": (Image.fromarray(RAMP > 0.5), RAMP > 0.5),
    "tensor uint8": (torch.from_numpy(np.rint(RAMP * 255).astype(np.uint8))[None], RAMP),
    "tensor float": (torch.from_numpy(RAMP)[None], RAMP),
    "tensor bfloat16": (torch.from_numpy(RAMP > 0.5).bfloat16()[None], RAMP > 0.5),
    "tensor float to 255": (torch.from_numpy(RAMP * 255)[None], None),
    "complex": (RAMP * 1j, None),
    "text": (np.array([["a"]]), None),
    "ragged": ([[[1], [1, 2]]], None),
}


@pytest.mark.parametrize("kind", DEPTHS)
def test_any_depth_is_read_as_its_file_would_be_or_refused(kind: str) -> None:
    given, wanted = DEPTHS[kind]
    doors = (
        lambda: next(iter_source([given], 3))[1],
        lambda: next(open_images([given], 3)).window(0, 0, (4, 6)),
    )
    for read in doors:
        if wanted is None:
            with pytest.raises(DataError, match="source 0"):
                read()
        else:
            expected = np.repeat((np.asarray(wanted) * 255.0)[..., None], 3, axis=2)
            assert np.abs(read() - expected).max() <= 1


def test_nothing_of_a_name_reaches_the_terminal(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    names = [f"{EVIL}.png", "caf\udce9.png", "a\u202eb.png", "[red]x[bold] :smile:.png"]
    for name in names:
        Image.new("RGB", (20, 10), "red").save(tmp_path / "x.png")
        (tmp_path / "x.png").rename(folder / name)
    (folder / f"broken{EVIL}.png").write_bytes(b"junk")
    (folder / f"text.{EVIL}").touch()
    words = ["predict", "--model", str(run), "--source", str(folder), "--save", str(tmp_path / "out")]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(names)
    assert "\x1b" not in out + err
    assert "\u202e" not in out + err
    assert not any(line.startswith("error: forged") for line in (out + err).splitlines())
    assert "caf\\xe9.png" in out
    assert "[red]x[bold] :smile:.png" in out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(names)
    assert main([*words, "--json"]) == 1
    paths = {Path(json.loads(line)["path"]).name for line in capsys.readouterr().out.splitlines()}
    assert paths == set(names)
    for wrong in (["--batch-size", EVIL], [f"--{EVIL}", "1"], ["--weights", EVIL], [EVIL]):
        assert main([*words, *wrong]) == 2
        said = "".join(capsys.readouterr())
        assert "\x1b" not in said
        assert not any(line.startswith("error: forged") for line in said.splitlines())


def test_results_are_written_whole_or_refused_with_a_remedy(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["predict", "--model", str(run), "--source", str(photos / "0.jpg"), "--save", str(tmp_path / "file")]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "Choose a" in err
