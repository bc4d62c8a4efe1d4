"""Proposals on their way through training, evaluation, prediction and exported files, with the network of the tests."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.data.derived.test_selective_search import scene
from tests.deploy.proposals import proposal_net
from tests.deploy.small import shake

import saccade
from saccade.cli import main
from saccade.data.derived import proposals as module
from saccade.data.derived.further_inputs import find_sources, inputs_folder
from saccade.data.derived.selective_search import SelectiveSearch, selective_search
from saccade.data.images.decode import read_image
from saccade.data.transforms.config import AugmentConfig
from saccade.data.transforms.move import move_inputs
from saccade.deploy.runtime import EagerRuntime, open_runtime
from saccade.engine.predict.further_inputs import with_inputs
from saccade.engine.predict.predict import predict
from saccade.engine.predict.prepare import predict_batch, prepare
from saccade.engine.predict.test_time_augmentation import AugmentedRuntime
from saccade.engine.predict.tiling import Tiling
from saccade.engine.train.config import DataConfig, OptimizerConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import open_datasets
from saccade.errors import ConfigError, DataError
from saccade.models.checkpoint import save_model
from saccade.results.detections import Detections
from saccade.structures.input_spec import InputSpec

NET = "tests.deploy.proposals:proposal_net"


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A COCO folder of 4 + 2 images with an object each."""
    root = tmp_path / "things"
    (root / "annotations").mkdir(parents=True)
    categories = [{"id": number, "name": name} for number, name in enumerate(("ape", "bee", "cat"), 1)]
    for split, numbers in (("train", range(4)), ("val", range(4, 6))):
        (root / split).mkdir()
        for number in numbers:
            cv2.imwrite(str(root / split / f"{number}.png"), scene(40, 60, seed=number))
        images = [{"id": n, "file_name": f"{n}.png", "height": 40, "width": 60} for n in numbers]
        objects = [
            {"id": n, "image_id": n, "category_id": n % 3 + 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}
            for n in numbers
        ]
        content = {"images": images, "annotations": objects, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def config(coco: Path, **data: Any) -> TrainConfig:
    return TrainConfig(
        name="net",
        model=NET,
        data=DataConfig(source=str(coco), batch_size=2, workers=0, **data),
        augment=AugmentConfig(flip=0.5),
        optimizer=OptimizerConfig(lr=0.001),
        epochs=1,
        precision="32",
        out=str(coco.parent / "runs"),
    )


def test_a_run_computes_proposals_beside_itself_and_every_verb_uses_them(
    coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    searched: list[int] = []

    def counted(image: Any, settings: SelectiveSearch, **options: Any) -> Any:
        searched.append(1)
        return selective_search(image, settings, **options)

    monkeypatch.setattr(module, "selective_search", counted)
    fit(config(coco))
    run = coco.parent / "runs" / "net"
    assert len(searched) == 6
    assert len(list((coco.parent / "runs" / "proposals").glob("*.safetensors"))) == 2
    report = saccade.evaluate(run, workers=0, trust=True)  # from the cache
    assert "AP" in report.values
    assert len(searched) == 6
    # The shell computes those of a new image, and an exported file asks for them by name.
    results = list(saccade.predict(run, coco / "val", trust=True))
    assert len(searched) == 8
    assert [len(result.boxes_xyxy) > 1 for result in results] == [True, True]
    exported = saccade.export(run, "onnx", verify=True, trust=True)
    assert open_runtime(exported.path).input_names == ("proposals",)
    assert exported.parity is not None
    assert exported.parity.passed
    assert len(searched) == 8
    assert main(["predict", "--model", str(exported.path), "--source", str(coco / "val"), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(row["objects"]) for row in rows] == [len(result.boxes_xyxy) for result in results]
    np.testing.assert_allclose(
        [entry["box_xyxy"] for entry in rows[0]["objects"]], results[0].boxes_xyxy, atol=0.51
    )  # printed with rounding


def test_the_network_sees_the_proposals_moved_with_the_image(coco: Path) -> None:
    from saccade.data.loading.pipeline import TrainPipeline
    from saccade.data.loading.sampler import SampleKey

    data = open_datasets(config(coco)).train
    spec = InputSpec((80, 120), resize="stretch")
    plain, mirrored = (TrainPipeline(data, spec, [AugmentConfig(flip=flip)])[SampleKey(0, 1)] for flip in (0.0, 1.0))
    expected = selective_search(data.read(1).image)
    np.testing.assert_array_equal(plain.inputs["proposals"], 2 * expected.boxes_xyxy)
    np.testing.assert_array_equal(mirrored.inputs["proposals"][:, 0], 120 - plain.inputs["proposals"][:, 2])
    np.testing.assert_array_equal(mirrored.inputs["proposal_scores"], expected.scores)


@pytest.mark.parametrize("boxes", [[[90, 0, 99, 20], [60, 60, 70, 80]], []])
def test_a_canvas_without_proposals_has_itself_as_the_one(boxes: list[list[float]]) -> None:
    inputs = {
        "proposals": np.array(boxes, np.float32).reshape(-1, 4),
        "proposal_scores": np.full(len(boxes), 0.3, np.float32),
    }
    moved = move_inputs(inputs, np.eye(3), (30, 50), lambda pixels, fill, linear: pixels, fill=114)
    np.testing.assert_array_equal(moved["proposals"], [[0, 0, 50, 30]])
    np.testing.assert_array_equal(moved["proposal_scores"], [1])


def test_a_file_is_taken_for_all_splits_of_a_run(coco: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = coco.parent / "own.json"
    boxes = [{"image_id": number, "bbox": [number, 0, 30, 30], "score": 0.5} for number in range(6)]
    path.write_text(json.dumps(boxes))
    data = open_datasets(config(coco, proposals=str(path), cache=True))
    assert data.train.read(2).inputs["proposals"].tolist() == [[2, 0, 32, 30]]
    assert data.val is not None
    assert data.val.read(1).inputs["proposals"].tolist() == [[5, 0, 35, 30]]
    assert not (coco.parent / "runs").exists()
    path.write_text(json.dumps([*boxes, {"image_id": 77, "bbox": [0, 0, 1, 1], "score": 1}]))
    with pytest.raises(DataError, match="1 image ids are those of no image of things"):
        open_datasets(config(coco, proposals=str(path)))


def test_an_option_without_use_and_an_unknown_one_are_errors(coco: Path) -> None:
    with pytest.raises(ConfigError, match=r"proposals is 'selective_search', but yolox_nano takes no proposals"):
        open_datasets(TrainConfig(model="yolox_nano", data=DataConfig(str(coco), proposals="selective_search")))
    with pytest.raises(ConfigError, match=r"neither a method nor a file\. Did you mean 'selective_search"):
        open_datasets(config(coco, proposals="selective_serch"))
    with pytest.raises(ConfigError, match=r"lenet5.* takes no proposals"):
        next(saccade.predict(saccade.create_model("lenet5"), np.zeros((9, 9)), proposals="selective_search"))
    with pytest.raises(ConfigError, match="need no proposals"):
        saccade.evaluate(data=coco, predictions="p.json", proposals="selective_search")


@pytest.fixture
def runtime() -> EagerRuntime:
    torch.manual_seed(1)
    model = proposal_net()
    shake(model)
    return EagerRuntime(model.eval(), "cpu", "32")


def boxes_of(results: Any) -> list[Any]:
    return [result.boxes_xyxy.tolist() for result in results if isinstance(result, Detections)]


def test_predictions_are_those_of_the_proposals_that_were_computed(runtime: EagerRuntime) -> None:
    image = scene(64, 96)
    (result,) = predict(runtime, image)
    found = selective_search(image)
    prepared = prepare(image, runtime.input_spec, inputs={"proposals": found.boxes_xyxy})
    assert boxes_of([result]) == boxes_of(predict_batch(runtime, [prepared]))
    np.testing.assert_allclose(np.sort(result.boxes_xyxy, 0), np.sort(found.boxes_xyxy, 0), atol=1e-4)
    # Batches of images with different numbers of proposals.
    images = [image, np.zeros((64, 96, 3), np.uint8)]
    both = list(predict(runtime, images, batch_size=2))
    assert [len(one.boxes_xyxy) for one in both] == [len(found.boxes_xyxy), 1]
    np.testing.assert_allclose(both[1].boxes_xyxy, [[0, 0, 96, 64]], atol=1e-4)


def test_proposals_of_a_file_or_of_the_quality_mode_can_be_chosen(
    runtime: EagerRuntime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), scene(64, 96)[:, :, ::-1])
    own = tmp_path / "own.json"
    own.write_text(json.dumps([{"file_name": "photo.png", "bbox": [10, 12, 200, 20], "score": 0.4}]))
    save_model(runtime.model, tmp_path / "net.safetensors")
    (result,) = saccade.predict(tmp_path / "net.safetensors", photo, proposals=own, trust=True)
    np.testing.assert_allclose(result.boxes_xyxy, [[10, 12, 96, 32]], atol=1e-3)
    words = ["predict", "--model", str(tmp_path / "net.safetensors"), "--source", str(photo), "--trust", "--json"]
    assert main([*words, "--proposals", str(own)]) == 0
    assert len(json.loads(capsys.readouterr().out)["objects"]) == 1
    (result,) = predict(with_inputs(runtime, {"proposals": "selective_search_quality"}), photo)
    expected = selective_search(read_image(photo), SelectiveSearch("quality"))
    assert len(result.boxes_xyxy) == len(expected.boxes_xyxy)
    own.write_text(json.dumps([{"file_name": "other.png", "bbox": [10, 12, 200, 20], "score": 0.4}]))
    with pytest.raises(DataError, match=r"photo\.png: .*own\.json has no image of this name"):
        list(predict(with_inputs(runtime, {"proposals": own}), photo))


def test_each_tile_has_proposals_of_its_own(runtime: EagerRuntime, tmp_path: Path) -> None:
    image = scene(64, 160)
    (result,) = predict(runtime, image, tiling=Tiling((64, 96)))
    assert len(result.boxes_xyxy)
    assert result.boxes_xyxy[:, 2].max() > 150
    assert result.boxes_xyxy[:, 0].min() < 10
    own = tmp_path / "own.json"
    own.write_text(json.dumps([{"image_id": 0, "bbox": [10, 12, 200, 20], "score": 0.4}]))
    with pytest.raises(ConfigError, match="proposals of a file are those of whole images"):
        list(predict(with_inputs(runtime, {"proposals": own}), image, tiling=Tiling((64, 96))))


def test_proposals_move_with_the_views_of_test_time_augmentation(runtime: EagerRuntime) -> None:
    boxes = np.array([[0, 0, 20, 20], [60, 4, 90, 30], [30, 34, 50, 60]], np.float32)
    image = scene(64, 96)
    prepared = prepare(image, runtime.input_spec, inputs={"proposals": boxes})
    augmented = AugmentedRuntime(runtime, scales=(1.0, 2.0))
    (result,) = predict_batch(augmented, [prepared])  # padded to 8 rows, which stay padding in every view
    assert len(result.boxes_xyxy) == 3
    order = np.lexsort(result.boxes_xyxy.T[:1])
    np.testing.assert_allclose(result.boxes_xyxy[order], boxes[[0, 2, 1]], atol=0.01)
    (result,) = saccade.predict(runtime.model, image, tta=True)  # computed on the way
    assert len(result.boxes_xyxy) > 3


class Recorder:
    """Runtime that keeps the further inputs it is given."""

    task, name, class_names = "detection", "recorder", ("thing",)
    input_spec, decoded_keys = InputSpec((4, 6)), ("boxes", "scores", "labels", "count")

    def __init__(self, *names: str) -> None:
        self.input_names, self.given = names, []

    def __call__(self, images: Any, **inputs: Any) -> Any:
        self.given.append(inputs)
        count = torch.zeros(len(images), dtype=torch.int64)
        rows = torch.zeros(len(images), 1)
        return {"boxes": torch.zeros(len(images), 1, 4), "scores": rows, "labels": rows.long(), "count": count}


def test_images_among_the_inputs_move_with_the_views_and_others_are_refused() -> None:
    recorder = Recorder("target_image", "proposal_scores")
    second = torch.arange(24, dtype=torch.uint8).reshape(1, 1, 4, 6).repeat(1, 3, 1, 1)
    scores = torch.rand(1, 8)
    images = torch.zeros(1, 3, 4, 6, dtype=torch.uint8)
    AugmentedRuntime(recorder, scales=(1.0, 2.0))(images, target_image=second, proposal_scores=scores)
    plain, mirrored, large, large_mirrored = (given["target_image"] for given in recorder.given)
    torch.testing.assert_close(plain, second)
    torch.testing.assert_close(mirrored, second.flip(3))
    assert large.shape == (1, 3, 8, 12)
    torch.testing.assert_close(large_mirrored, large.flip(3))
    assert all(given["proposal_scores"] is scores for given in recorder.given)
    with pytest.raises(ConfigError, match="recorder takes label_map, for which test-time augmentation has no rule"):
        AugmentedRuntime(Recorder("label_map"))(images, label_map=second[:, 0])


def test_the_check_of_a_network_on_data_gives_it_proposals(coco: Path) -> None:
    report = saccade.check(coco, model=NET, steps=2, images=False)
    assert report.overfit is not None  # four images were trained on
    assert report.overfit.complete


def test_the_source_is_looked_up_by_the_name_of_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = find_sources(("proposals", "proposal_scores", "target_image"), {}, "net")
    assert list(both.values()) == [SelectiveSearch("fast")]
    assert find_sources(("target_image",), {"proposals": ""}, "net") == {}
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    assert inputs_folder() == tmp_path / "proposals"


def test_kept_and_other_images_are_told(coco: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_datasets(config(coco))
    with caplog.at_level(logging.INFO, logger="saccade"):
        open_datasets(config(coco, proposals="selective_search_quality"))
    assert "was made with other settings and is not used; proposals of 4 images are computed" in caplog.text
