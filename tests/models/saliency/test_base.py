"""Networks for saliency: loss, and the verbs from training to an exported file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.models.saliency.small import SmallSaliency
from torch.nn.functional import binary_cross_entropy_with_logits

import saccade
from saccade.cli import main
from saccade.errors import ConfigError
from saccade.results.saliency import SaliencyMap

NETWORK = "tests.models.saliency.small:small_saliency"


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright discs on dark ground, 40 x 56 pixels, with a mask each; a border of a mask is ignored."""
    root = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :56]
    for split, count in (("train", 12), ("val", 4)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            y, x, radius = rng.integers(12, 28), rng.integers(14, 42), rng.integers(6, 11)
            inside = np.hypot(rows - y, columns - x) <= radius
            image = rng.integers(0, 90, (40, 56, 3)) + 150 * inside[..., None]
            Image.fromarray(image.astype(np.uint8)).save(root / "images" / split / f"{number}.png")
            Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).save(root / "masks" / split / f"{number}.png")
    return root


def kind_of(path: Path) -> tuple[str, tuple[int, int]]:
    with Image.open(path) as image:
        return image.mode, image.size


def test_the_loss_is_the_sum_of_the_cross_entropies_of_all_outputs() -> None:
    torch.manual_seed(0)
    model, images = SmallSaliency().eval(), torch.randn(2, 3, 18, 23)
    labels = torch.randint(0, 2, (2, 18, 23))
    labels[0, :4] = 255
    terms = model.loss(images, {"label_map": labels})
    assert sorted(terms) == ["cross_entropy", "cross_entropy_side"]
    for name, logits in model.supervised(images).items():
        scored = labels != 255
        expected = binary_cross_entropy_with_logits(logits[:, 0][scored], labels[scored].float())
        found = terms["cross_entropy" if name == "logits" else f"cross_entropy_{name}"]
        torch.testing.assert_close(found, expected)
    nothing = model.loss(images, {"label_map": torch.full((2, 18, 23), 255)})
    assert all(value.item() == 0 for value in nothing.values())


def test_data_of_several_classes_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"11 classes \(background, 0, .*train a network for segmentation"):
        saccade.train(model=NETWORK, data="digit_scenes")
    with pytest.raises(ConfigError, match=r"11 classes \(background"):
        saccade.check("digit_scenes", model=NETWORK, steps=0)
    with pytest.raises(ConfigError, match="one foreground, and 3 classes"):
        SmallSaliency(3)


def test_every_verb_takes_a_network_for_saliency(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saccade.deploy.precision.has_bf16", lambda: False)  # networks in memory predict in float32
    config = saccade.recipe(model=NETWORK, data=discs)
    config.out, config.name, config.epochs, config.data.workers = str(tmp_path), "discs", 30, 0
    config.optimizer.lr, config.augment.scale = 0.01, (1.0, 1.0)
    result = saccade.train(config)
    assert result.metrics["max_F"] > 0.9
    assert result.metrics["MAE"] < 0.35
    run = tmp_path / "discs"
    page = (run / "report.html").read_text(encoding="utf-8")
    for word in ("max_F", "weighted_F", "S_measure", "boundary_F", "precision recall", "F measure", "E measure"):
        assert word in page, word

    model = run / "best.safetensors"
    report = saccade.evaluate(model, data=discs, split="val", trust=True)
    assert report.primary == "max_F"
    assert report.values["max_F"] == pytest.approx(result.metrics["max_F"], abs=1e-6)
    image = discs / "images" / "val" / "0.png"
    (found,) = saccade.predict(model, image, trust=True)
    assert isinstance(found, SaliencyMap)
    assert found.class_names == ("background", "foreground")
    assert found.probabilities.shape == found.label_map.shape == (40, 56)
    (tiled,) = saccade.predict(model, image, tile=32, trust=True)
    assert isinstance(tiled, SaliencyMap)
    assert np.mean((tiled.probabilities >= 0.5) == (found.probabilities >= 0.5)) > 0.8
    (both,) = saccade.predict(model, image, trust=True, tta=True)
    assert np.abs(both.probabilities - found.probabilities).mean() < 0.2

    assert main(["evaluate", "--model", str(model), "--data", str(discs), "--split", "val", "--trust"]) == 0
    assert "max_F" in capsys.readouterr().out
    saved = tmp_path / "drawings"
    assert (
        main(["predict", "--model", str(model), "--source", str(image), "--save", str(saved), "--json", "--trust"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["task"] == "saliency"
    assert kind_of(saved / "0.png")[0] == "RGB"
    words = ["predict", "--model", str(model), "--source", str(image), "--trust", "--save", str(saved), "--save-as"]
    for kind, mode in (("cutout", "RGBA"), ("map", "L"), ("labels", "P")):
        assert main([*words, kind]) == 0
        assert kind_of(saved / "0.png") == (mode, (56, 40))
    capsys.readouterr()
    assert main([*words, "cutuot"]) == 2
    assert "not saved as 'cutuot'. Did you mean 'cutout'?" in capsys.readouterr().err
    assert main(["check", str(discs), "--model", str(model), "--steps", "0", "--trust"]) == 0
    assert main(["show", str(discs), "--model", NETWORK, "--save", str(tmp_path / "shown.png")]) == 0

    exported = saccade.export(model, path=tmp_path / "discs.onnx", trust=True).path
    (same,) = saccade.predict(exported, image)
    assert isinstance(same, SaliencyMap)
    np.testing.assert_allclose(same.probabilities, found.probabilities, atol=1e-4)
