"""R-CNN: fine-tuning against a plain loop, three steps in one run that goes on after a kill, scores, bad input."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.models.detection.small_proposals import ScenesWithProposals, small_run

from saccade.engine.train.config import Step, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets
from saccade.errors import ConfigError
from saccade.models.checkpoint import load_model, save_model
from saccade.models.detection import region_svm
from saccade.models.detection.rcnn import RCNN, feature_extractor, rcnn
from saccade.models.detection.region_cache import RegionCache
from saccade.models.detection.region_svm import RegionHead
from saccade.models.registry import create_model
from saccade.ops.anchors import canvas_size
from saccade.ops.iou import pairwise_iou
from saccade.ops.matching import IGNORED
from saccade.ops.warp_regions import warp_regions
from saccade.structures.batch import Batch, pad_targets
from saccade.weights import load_weights

SMALL: dict[str, Any] = {"num_classes": 10, "backbone": "resnet20_cifar", "region_size": 16, "context": 1}
STEPS = (
    Step("finetune", {"epochs": 1}),
    Step("svm", solver="model"),
    Step("boxes", solver="model"),
)


def build() -> RCNN:
    torch.manual_seed(0)
    model = create_model("rcnn", **SMALL)
    assert isinstance(model, RCNN)
    return model


def data(images: int = 4) -> Datasets:
    return Datasets(ScenesWithProposals("train", images), ScenesWithProposals("val", 2))


def run_config(out: Path) -> TrainConfig:
    return small_run("rcnn", str(out), model_args=SMALL, steps=STEPS)


# --- Fine-tuning.


def test_the_loss_is_that_of_a_plain_loop_over_the_same_regions() -> None:
    model = build().eval()
    images = torch.randn(2, 3, 64, 64)
    targets = pad_targets(
        [
            {"boxes": torch.tensor([[8.0, 8, 40, 40], [30, 20, 60, 62]]), "labels": torch.tensor([3, 7])},
            {"boxes": torch.tensor([[4.0, 20, 20, 50]]), "labels": torch.tensor([0])},
        ]
    )
    proposals = torch.tensor(
        [[[8.0, 8, 38, 42], [0, 0, 9, 9], [32, 20, 60, 60]], [[5, 20, 20, 50], [40, 1, 60, 30], [0, 0, 0, 0]]]
    )
    sample = model.sample(targets["boxes"], targets["labels"], proposals, canvas_size(images))
    total, count = torch.zeros(()), 0
    for image in range(2):
        for box, owner in zip(sample.boxes_xyxy[image], sample.owners[image].tolist(), strict=True):
            if owner == IGNORED:
                continue
            iou = pairwise_iou(targets["boxes"][image], box[None]).amax()
            assert (iou >= 0.5) == (owner >= 0)
            assert box.any()
            wanted = int(targets["labels"][image, owner]) + 1 if owner >= 0 else 0
            crop = warp_regions(images[image : image + 1], box[None, None], 16, 1)[0]
            total = total + F.cross_entropy(
                model.head.classifier(model.backbone(crop)["logits"]), torch.tensor([wanted])
            )
            count += 1
    assert count == 3 + 2 + 2 + 1  # proposals and objects, without the row of padding
    assert torch.allclose(model.loss(images, targets, proposals)["classification"], total / count, atol=1e-5)


@pytest.mark.parametrize("images", [1, 2, 4])
def test_a_batch_has_32_positives_and_96_negatives(images: int) -> None:
    rng = torch.Generator().manual_seed(0)
    near = torch.tensor([10.0, 10, 50, 50]) + torch.rand(images, 60, 4, generator=rng) * 4
    far = torch.tensor([60.0, 60, 80, 80]) + torch.rand(images, 300, 4, generator=rng) * 9
    boxes = torch.tensor([[[10.0, 10, 52, 52]]]).expand(images, 1, 4)
    model = build()
    labels, canvas = torch.zeros(images, 1, dtype=torch.int64), torch.tensor([128.0, 128.0])
    sample = model.sample(boxes, labels, torch.cat((near, far), dim=1), canvas)
    assert int(sample.positive.sum()) == 32
    assert int((sample.owners == -1).sum()) == 96
    other = model.sample(boxes, labels, torch.cat((near, far), dim=1), canvas)
    assert not torch.equal(sample.boxes_xyxy, other.boxes_xyxy)  # drawn anew in training


def test_any_classifier_with_one_last_linear_layer_is_a_backbone() -> None:
    for name, channels in (("darknet19", 1024), ("hrnet_w18_small", 2048), ("resnet20_cifar", 64)):
        assert feature_extractor(name)[1] == channels
    with pytest.raises(ConfigError, match="backbone 'googlenet' does not end in one linear layer"):
        rcnn(backbone="googlenet")
    with pytest.raises(ConfigError, match="backbone 'unet' is a segmentation model"):
        rcnn(backbone="unet")
    with pytest.raises(ConfigError, match="context is 8 pixels on each side of a region of 16"):
        rcnn(region_size=16, context=8)


# --- The run.


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps from its first to its last."""
    folder = tmp_path_factory.mktemp("unbroken")
    result = fit(run_config(folder), model=build(), data=data())
    figures = [{name for name in row if name.startswith("train/")} for row in result.history]
    assert figures[0] >= {"train/classification"}
    assert figures[1] == {"train/positives", "train/hard_negatives", "train/classes"}
    assert figures[2] == {"train/pairs", "train/iou_before", "train/iou_after"}
    assert result.history[2]["train/iou_after"] > result.history[2]["train/iou_before"]
    return result.folder


def test_three_steps_fill_one_head_from_one_cache(unbroken: Path) -> None:
    model = load_model(unbroken / "best.safetensors")
    assert isinstance(model, RCNN)
    seen = {int(label) for index in range(4) for label in data().train.target(index)["labels"]}
    solved = {label for label in range(10) if model.head.svm_weight[label].any()}
    assert solved == seen
    assert model.head.box_weight[4:].any()
    assert not model.head.box_weight[:4].any()  # background stays where it is
    assert len(list((unbroken / "solve" / "regions").glob("*.npz"))) == 4  # once an image, not once a step


def _die_in(step: str, out: Path, after: int) -> None:
    """Run until the step has saved ``after`` images, or begins (0), and die without a word."""
    torch.set_num_threads(1)
    saved = 0
    save, solve = RegionCache.save, RCNN.solve

    def save_and_die(self: RegionCache, key: str, regions: Any) -> None:
        nonlocal saved
        save(self, key, regions)
        saved += 1
        if saved == after:
            os.kill(os.getpid(), signal.SIGKILL)

    def solve_or_die(self: RCNN, name: str, batches: Any) -> dict[str, float]:
        if name == step and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        return solve(self, name, batches)

    RegionCache.save, RCNN.solve = save_and_die, solve_or_die  # type: ignore[method-assign]
    fit(run_config(out), model=build(), data=data())


@pytest.mark.parametrize(("step", "after", "left"), [("svm", 2, 2), ("boxes", 0, 0)])
def test_a_killed_run_goes_on_between_and_inside_steps(
    unbroken: Path, tmp_path: Path, step: str, after: int, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die_in, args=(step, tmp_path, after))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    computed: list[str] = []
    save = RegionCache.save

    def counted(self: RegionCache, key: str, regions: Any) -> None:
        computed.append(key)
        save(self, key, regions)

    monkeypatch.setattr(RegionCache, "save", counted)
    resumed = fit(run_config(tmp_path), resume=True, model=build(), data=data())
    assert len(computed) == left
    for name in ("best.safetensors", "last/model.safetensors"):
        assert (resumed.folder / name).read_bytes() == (unbroken / name).read_bytes()


def test_fine_tuning_again_forgets_machines_of_other_features(unbroken: Path) -> None:
    model = load_model(unbroken / "best.safetensors")
    for step in ("svm", "boxes"):
        model.begin(step, data().train)
    assert model.head.svm_weight.any()  # type: ignore[union-attr]
    model.begin("finetune", data().train)
    assert not any(buffer.any() for buffer in model.head.buffers())  # type: ignore[union-attr]


def test_other_weights_make_the_cache_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = build().eval()
    model.work_folder = tmp_path
    train = data(1).train
    sample = train.read(0)
    image = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float() / 255
    target = {name: torch.from_numpy(sample.target[name]) for name in ("boxes", "labels")}
    batch = Batch(
        image,
        pad_targets([target]),
        [sample.info],
        inputs={"proposals": torch.from_numpy(sample.inputs["proposals"])[None]},
    )
    with caplog.at_level(logging.WARNING, "saccade"):
        model.solve("boxes", [batch])
        assert "other weights" not in caplog.text
        with torch.no_grad():
            next(model.backbone.parameters()).mul_(1.01)
        model.solve("boxes", [batch])
    assert "features of 1 images are of other weights" in caplog.text
    with pytest.raises(ConfigError, match="step 'svms' has the solver 'model', but rcnn solves only the steps svm and"):
        model.solve("svms", [batch])


# --- Scores and boxes.


def test_machines_replace_the_softmax_class_by_class_and_keep_the_order_of_margins() -> None:
    head = RegionHead(6, num_classes=3)
    features = torch.randn(1, 50, 6)
    plain = head(features)
    assert torch.allclose(plain["roi_scores"], plain["roi_logits"].softmax(dim=2))
    assert not plain["roi_codes"].any()
    head.svm_weight[1] = torch.randn(6)
    head.svm_bias[1] = -0.5
    margins = features @ head.svm_weight[1] - 0.5
    scores = head(features)["roi_scores"]
    assert torch.allclose(scores[..., 2], (2 * margins).sigmoid())
    assert torch.equal(scores[..., 2].argsort(), margins.argsort())
    assert torch.equal(scores[..., [0, 1, 3]], plain["roi_scores"][..., [0, 1, 3]])


def test_regressors_move_boxes_of_their_class() -> None:
    model = build().eval()
    with torch.no_grad():
        model.head.svm_weight.fill_(1e-6)
        model.head.svm_bias.fill_(-9.0)
        model.head.svm_bias[[2, 5]] = 2.0
        model.head.box_bias[4 * (1 + 5) : 4 * (1 + 5) + 4] = torch.tensor([0.5, 0.0, 0.0, 0.0])  # half a width
    proposals = torch.tensor([[[8.0, 8, 24, 40], [0, 0, 0, 0], [70, 8, 90, 20]]])  # with padding, and one outside
    decoded = model.predict(torch.randn(1, 3, 64, 64), proposals=proposals)
    assert decoded["count"].tolist() == [2]
    found = dict(zip(decoded["labels"][0, :2].tolist(), decoded["boxes"][0, :2].tolist(), strict=True))
    assert found == {2: [8.0, 8.0, 24.0, 40.0], 5: [16.0, 8.0, 32.0, 40.0]}


def test_a_solved_head_is_saved_and_cut_by_class(unbroken: Path, tmp_path: Path) -> None:
    model = load_model(unbroken / "best.safetensors")
    assert isinstance(model, RCNN)
    again = load_model(save_model(model, tmp_path / "copy.safetensors"))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    names = [model.class_names[label] for label in (7, 3)]
    fewer = create_model("rcnn", **{**SMALL, "num_classes": 2})
    assert isinstance(fewer, RCNN)
    fewer.class_names = tuple(names)
    load_weights(fewer, unbroken / "best.safetensors")
    for own, label in enumerate((7, 3)):
        assert torch.equal(fewer.head.svm_weight[own], model.head.svm_weight[label])
        first, theirs = 4 * (1 + own), 4 * (1 + label)
        assert torch.equal(fewer.head.box_weight[first : first + 4], model.head.box_weight[theirs : theirs + 4])
        assert torch.equal(fewer.head.classifier.weight[1 + own], model.head.classifier.weight[1 + label])


# --- Bad input.


@pytest.mark.parametrize(
    "proposals",
    [
        torch.zeros(1, 8, 4),  # an image without proposals
        torch.tensor([[[70.0, 70, 90, 90], [-20, -20, -5, -1]]]),  # outside
        torch.tensor([[[5.0, 5, 5, 30], [9, 9, 9, 9]]]),  # without area
        torch.tensor([[[10.0, 10, 50, 50]]]).repeat(1, 200, 1),  # all positive
        torch.tensor([[[52.0, 52, 60, 60]]]).repeat(1, 200, 1),  # all negative
    ],
)
@pytest.mark.parametrize("objects", [0, 1, 40])  # 40 of an image are more than its share of positives
def test_bad_proposals_and_many_objects_give_finite_losses_and_predictions(
    proposals: torch.Tensor, objects: int
) -> None:
    model = build().train()
    boxes = torch.tensor([[10.0, 10, 50, 50]]).repeat(objects, 1)
    targets = [{"boxes": boxes, "labels": torch.arange(objects) % 10}]
    images = torch.randn(1, 3, 64, 64)
    loss = model.loss(images, targets, proposals)["classification"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)
    with torch.no_grad():
        decoded = model.eval().predict(images, proposals=proposals)
    inside = (proposals[..., 2:].clamp(max=64) > proposals[..., :2].clamp(min=0)).all(dim=2)
    assert bool(decoded["count"]) == bool(inside.any())


def test_an_image_without_regions_is_cached_and_passed_over(tmp_path: Path) -> None:
    model = build().eval()
    model.work_folder = tmp_path
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    batch = Batch(torch.zeros(1, 3, 64, 64), pad_targets([nothing]), [], inputs={"proposals": torch.zeros(1, 8, 4)})
    assert model.solve("svm", [batch])["positives"] == 0
    assert model.solve("boxes", [batch])["pairs"] == 0
    assert len(list(tmp_path.rglob("*.npz"))) == 1


def test_proposals_have_no_anchors_to_assign() -> None:
    model = build()
    with pytest.raises(ConfigError, match="rcnn has no anchors to assign"):
        model.assign(torch.zeros(1, 3, 64, 64), [])
    boxes = torch.tensor([[0.0, 0, 9, 9], [70, 0, 80, 9], [5, 5, 5, 9]])
    assert model.assignable(boxes, (64, 64)).tolist() == [True, False, False]


def test_rules_are_one_record() -> None:
    model = build()
    model.rules = replace(model.rules, ridge=1.0)
    assert region_svm.RegionRules().ridge == RCNN.rules.ridge == 1000.0
    assert np.isclose(model.rules.svm.negative_iou, 0.3)
