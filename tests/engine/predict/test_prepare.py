"""The public halves of a prediction: prepare an image, predict a batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tests.deploy.proposals import proposal_net
from tests.deploy.small import SmallClassifier

from saccade.deploy.runtime import EagerRuntime
from saccade.engine.predict.predict import predict
from saccade.engine.predict.prepare import predict_batch, prepare
from saccade.errors import ConfigError, DataError
from saccade.structures.input_spec import InputSpec

SPEC = InputSpec((32, 48), resize="letterbox")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 40, 3), dtype=np.uint8)


def test_every_form_of_an_image_gives_the_same_canvas(image: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image[..., ::-1])
    expected = prepare(image, SPEC)
    forms = [path, str(path), path.read_bytes(), Image.fromarray(image), torch.from_numpy(image).permute(2, 0, 1)]
    for form in forms:
        np.testing.assert_array_equal(prepare(form, SPEC).canvas, expected.canvas)
    assert prepare(path, SPEC).info.path == str(path)
    assert prepare(path.read_bytes(), SPEC).info.path == "bytes"
    assert prepare(image, SPEC, keep_image=False).info.image is None


def test_a_server_predicts_what_predict_predicts(image: np.ndarray) -> None:
    runtime = EagerRuntime(SmallClassifier())
    images = [image, image[::-1].copy(), image[:, ::-1].copy()]
    ready = [prepare(one, runtime.input_spec, image_id=number) for number, one in enumerate(images)]
    for together, alone in zip(predict_batch(runtime, ready), predict(runtime, images), strict=True):
        assert together.path == alone.path
        np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-6)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda one: predict_batch(runtime, [one])[0].score, ready * 3))
    np.testing.assert_allclose(answers, [result.score for result in predict(runtime, images)] * 3, rtol=1e-5)


def test_inputs_of_the_network_move_with_the_image() -> None:
    runtime = EagerRuntime(proposal_net().eval())
    image = np.zeros((64, 96, 3), np.uint8)  # twice the canvas
    ready = prepare(image, runtime.input_spec, inputs={"proposals": np.array([[10, 20, 50, 60]], np.float32)})
    np.testing.assert_array_equal(ready.inputs["proposals"], [[5, 10, 25, 30]])
    (result,) = predict_batch(runtime, [ready])
    np.testing.assert_allclose(result.boxes_xyxy[:1], [[10, 20, 50, 60]])  # and its boxes are the image's again


def test_a_batch_has_one_canvas(image: np.ndarray) -> None:
    spec = InputSpec((32, 48), resize="none")
    with pytest.raises(ConfigError, match="a batch has one canvas"):
        predict_batch(EagerRuntime(SmallClassifier()), [prepare(image, spec), prepare(image[:30], spec)])


def test_what_is_no_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(DataError):
        prepare(b"nonsense", SPEC)
    with pytest.raises(DataError, match="5 channels"):
        prepare(np.zeros((4, 4, 5), np.uint8), SPEC)
