"""KID of translations over a classifier's features, by the verb and by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import saccade
from saccade.data.transforms.resize import resize_image
from saccade.engine.evaluate.kid import pooled_features
from saccade.errors import SaccadeError
from saccade.metrics.translation import kernel_distance
from saccade.models.base import Model
from saccade.models.checkpoint import save_model
from saccade.models.registry import create_model


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for letter, count, colour in (("A", 3, 60), ("B", 5, 180)):
        (tmp_path / f"test{letter}").mkdir()
        for number in range(count):
            pixels = np.clip(rng.normal(colour, 40, (40, 32, 3)), 0, 255).astype(np.uint8)
            assert cv2.imwrite(str(tmp_path / f"test{letter}" / f"{number}.png"), pixels)
    return tmp_path


def test_kid_is_the_kernel_distance_of_pooled_features_of_each_file_once(domains: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = create_model("resnet20_cifar", num_classes=3)
    generator = create_model("cyclegan_resnet6_generator", base_channels=4)
    file = save_model(classifier, tmp_path / "classifier.safetensors")
    report = saccade.evaluate(generator, domains, "test", features=str(file), workers=0, batch_size=2)
    assert (report.values["images"], report.values["images_wanted"]) == (3, 5)  # A is repeated to the length of B
    assert report.primary == "KID"
    assert not report.higher_is_better

    outputs = [result.output for result in saccade.predict(generator, domains / "testA")]
    real = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in sorted((domains / "testB").iterdir())]
    expected = kernel_distance(pooled_features(classifier, outputs), pooled_features(classifier, real))
    assert report.score == pytest.approx(-expected.value, rel=1e-3)
    assert pooled_features(classifier, real[:1]) == pytest.approx(
        classifier.eval()
        .features(torch.from_numpy(_canvas(real[0], classifier)).permute(2, 0, 1)[None].float())[-1]
        .mean((2, 3))
        .detach()
        .numpy(),
        abs=1e-4,
    )


def _canvas(image: np.ndarray, classifier: Model) -> np.ndarray:
    spec = classifier.input_spec
    pixels = resize_image(image, spec)[0].astype(np.float32)
    return (pixels - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)


def test_what_gives_no_kid_is_named(domains: Path) -> None:
    generator = create_model("cyclegan_resnet6_generator", base_channels=4)
    with pytest.raises(SaccadeError, match="is no classifier with feature maps"):
        saccade.evaluate(generator, domains, "test", features=generator, workers=0)
    with pytest.raises(SaccadeError, match="'resnet18' alone has random weights"):
        saccade.evaluate(generator, domains, "test", features="resnet18", workers=0)
    with pytest.raises(SaccadeError, match=r"compares translated images, and .* solves classification"):
        saccade.evaluate(create_model("lenet5"), "digit_scenes", "test", features=generator, workers=0)
    for path in sorted((domains / "testB").iterdir())[1:]:
        path.unlink()
    with pytest.raises(SaccadeError, match="3 to translate and 1 of the other one"):
        saccade.evaluate(generator, domains, "test", features=create_model("resnet20_cifar", num_classes=3), workers=0)
