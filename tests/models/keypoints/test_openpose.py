"""Bottom-up networks: targets to people and back, masks, necks, skeletons, the flip test, exported files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.grouping import FIGURE
from torch import Tensor

import saccade
from saccade.data.open import open_dataset
from saccade.deploy.runtime import EagerRuntime, open_runtime
from saccade.engine.predict.test_time_augmentation import AugmentedRuntime
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.setup import build_model
from saccade.errors import ConfigError
from saccade.metrics.oks import OksEvaluator
from saccade.models.base import Model
from saccade.models.checkpoint import load_model, save_model
from saccade.models.finish import run_finish
from saccade.models.keypoints.part_fields import STRIDE
from saccade.models.keypoints.part_layout import COCO_POINTS, COCO_SKELETON, OPENPOSE_LIMBS, OPENPOSE_POINTS, layout_for
from saccade.results.keypoints import Keypoints
from saccade.structures.dataset import DatasetInfo

SMALL = {"backbone": "mobilenet_v1_0_25", "channels": 8}
TRIANGLE = {"num_classes": 3, "skeleton": [(0, 1), (0, 2), (1, 2)], "stages": 1, **SMALL}


def targets() -> dict[str, Tensor]:
    """One labelled person, one without points, one in a crowd, and padding; canvas 64 x 96."""
    keypoints = torch.zeros(1, 4, 3, 3)
    keypoints[0, 0] = torch.tensor([[20.0, 12, 2], [28, 44, 1], [12, 44, 2]])
    keypoints[0, 2] = torch.tensor([[80.0, 50, 2], [90, 60, 2], [70, 60, 2]])
    boxes = torch.tensor([[[8.0, 8, 32, 56], [40, 0, 64, 24], [64, 40, 96, 64], [0, 0, 0, 0]]])
    return {"keypoints": keypoints, "boxes": boxes, "iscrowd": torch.tensor([[False, False, True, False]])}


@pytest.mark.parametrize("builder", ["openpose_coco", "lightweight_openpose"])
def test_every_stage_has_two_losses_and_learns_nothing_from_unlabelled_people(builder: str) -> None:
    model = saccade.create_model(builder, **{**TRIANGLE, "stages": 3})
    terms = model.loss(torch.randn(1, 3, 64, 96), targets())
    assert sorted(terms) == [f"{branch}_{stage}" for branch in ("fields", "heatmaps") for stage in (1, 2, 3)]
    heatmaps, fields, mask = model.map_targets(targets(), (8, 12))
    assert (heatmaps.shape, fields.shape) == ((1, 4, 8, 12), (1, 6, 8, 12))
    torch.testing.assert_close(heatmaps[:, 3], 1 - heatmaps[:, :3].amax(1))
    expected = torch.ones(8, 12)
    expected[:3, 5:8] = 0
    expected[5:, 8:] = 0
    assert torch.equal(mask[0, 0], expected)
    without_boxes = {"keypoints": targets()["keypoints"]}
    assert model.map_targets(without_boxes, (8, 12))[2].all()


@pytest.mark.data("tiny_coco")
def test_nobody_who_is_labelled_is_left_out_of_the_loss(data_root: Path) -> None:
    """Boxes of crowds hold people whose points are labelled."""
    model = saccade.create_model("lightweight_openpose", num_classes=17, stages=1, **SMALL)
    hidden = points = 0
    for split in ("train2017", "val2017"):
        data = open_dataset(str(data_root / "tiny_coco"), split, task="keypoints")
        for index in range(len(data)):
            target = {name: torch.from_numpy(np.asarray(value)) for name, value in data.target(index).items()}
            height, width = data.read(index).image.shape[:2]
            _, _, mask = model.map_targets([target], (-(-height // STRIDE), -(-width // STRIDE)))
            hidden += int((mask == 0).sum())
            x, y, visible = target["keypoints"][~target["iscrowd"].bool()].float().unbind(-1)
            column, row = (x[visible > 0] / STRIDE).long(), (y[visible > 0] / STRIDE).long()
            assert mask[0, 0, row, column].all()
            points += len(row)
    assert (hidden > 1000, points > 1000) == (True, True)


def test_maps_follow_the_image_whatever_the_backbone() -> None:
    for backbone, multiple in (("resnet18", 8), ("mobilenet_v1_0_25", 32)):
        model = saccade.create_model("openpose_coco", backbone=backbone, stages=2, channels=8).eval()
        assert model.multiple == multiple
        outputs = model(torch.zeros(1, 3, 70, 101))
        assert outputs["heatmaps"].shape == (1, 19, 9, 13)
        assert outputs["fields"].shape == (1, 38, 9, 13)


def test_known_persons_have_their_published_parts() -> None:
    coco, own = layout_for(17), layout_for(18)
    assert (coco.limbs, own.limbs) == (OPENPOSE_LIMBS, OPENPOSE_LIMBS)
    for part, sources in enumerate(coco.parts):
        names = [COCO_POINTS[point] for point in sources]
        assert names == ([OPENPOSE_POINTS[part]] if part != 1 else ["left_shoulder", "right_shoulder"])
    assert layout_for(17, [(b, a) for a, b in COCO_SKELETON]) == coco
    assert [OPENPOSE_POINTS[part] for part in coco.points] == list(COCO_POINTS)
    chain = layout_for(17, [(point, point + 1) for point in range(16)])
    assert (len(chain.parts), chain.names) == (17, ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 21}, "no skeleton for 21 classes.*--model-args.skeleton"),
        ({"num_classes": 3, "skeleton": []}, "no skeleton for 3 classes"),
        ({"num_classes": 3, "skeleton": [(0, 3)]}, r"skeleton has \[0, 3\]; a limb is a pair of different points"),
        ({"num_classes": 3, "skeleton": [(1, 1)]}, r"skeleton has \[1, 1\]"),
        ({"num_classes": 3, "skeleton": [(0, 1), (1, 0)]}, "a pair of points twice"),
        ({"limb_span": 0}, "limb_span is 0"),
        ({"stages": 0, **SMALL}, "stages is 0"),
        ({"sigma": 0, **SMALL}, "sigma is 0; it is a number of pixels above 0"),
    ],
)
def test_mistakes_are_named(options: dict, message: str) -> None:
    for builder in ("openpose_coco", "lightweight_openpose"):
        with pytest.raises(ConfigError, match=message):
            saccade.create_model(builder, **options)


def test_the_skeleton_comes_from_the_data_and_travels(tmp_path: Path) -> None:
    info = DatasetInfo("hands", "keypoints", ("wrist", "thumb", "little"), skeleton=((0, 1), (0, 2)))
    config = TrainConfig(model="lightweight_openpose", model_args={"stages": 1, **SMALL})
    model = build_model(config, info)
    assert model.layout.limbs == ((0, 1), (0, 2))
    again = load_model(save_model(model, tmp_path / "hands.safetensors"))
    assert (again.layout, again.finish_options) == (model.layout, model.finish_options)
    assert again.point_layout.skeleton == ((0, 1), (0, 2))
    with pytest.raises(ConfigError, match="no skeleton for 3 classes"):
        build_model(config, replace(info, skeleton=()))


def test_other_points_without_a_skeleton_are_no_persons() -> None:
    class Data:
        info = DatasetInfo("fish", "keypoints", tuple(f"point {number}" for number in range(17)))

    model = saccade.create_model("openpose_coco", num_classes=17, stages=1, **SMALL)
    with pytest.raises(ConfigError, match=r"fish has 17 points without a skeleton \(point 0.*skeleton"):
        model.begin("", Data())  # type: ignore[arg-type]


def restored(model: Model, keypoints: Tensor, size: tuple[int, int], **options: object) -> dict[str, Tensor]:
    """Ground truth through maps and grouping; keypoints (N, K, 3) in pixels of a canvas of ``size``."""
    cells = (-(-size[0] // STRIDE), -(-size[1] // STRIDE))
    heatmaps, fields, _ = model.map_targets([{"keypoints": keypoints}], cells)
    decoded = model.decode({"heatmaps": heatmaps, "fields": fields})
    return run_finish(model.finish, decoded, torch.zeros(1, 3, *size), {**model.finish_options, **options})


@pytest.mark.data("tiny_coco")
@pytest.mark.parametrize(
    ("scale", "limb_span", "lowest"),
    [
        (2.0, 17, 0.97),  # every two parts of a person are joined, as many points in between are hidden
        (1.0, 1, 0.84),  # limbs of the skeleton alone: people without an elbow come back in two
    ],
)
def test_people_come_back_from_their_maps(scale: float, limb_span: int, lowest: float, data_root: Path) -> None:
    model = saccade.create_model("openpose_coco", num_classes=17, limb_span=limb_span, stages=1, **SMALL)
    evaluator = OksEvaluator(COCO_POINTS)
    people = 0
    for split in ("train2017", "val2017"):
        data = open_dataset(str(data_root / "tiny_coco"), split, task="keypoints")
        for index in range(len(data)):
            target = data.target(index)
            keypoints = torch.from_numpy(np.asarray(target["keypoints"], np.float32)).clone()
            if not (keypoints[..., 2] > 0).any():
                continue
            people += int((keypoints[..., 2] > 0).any(1).sum())
            size = data.read(index).image.shape[:2]
            keypoints[..., :2] *= scale
            found = restored(model, keypoints, (round(scale * size[0]), round(scale * size[1])), min_points=1)
            about = {"path": str(index), "image_id": index, "image_size": size, "class_names": COCO_POINTS}
            arrays = {name: found[name][0].numpy() for name in ("keypoints", "point_scores", "scores")}
            arrays["keypoints"] = arrays["keypoints"] / scale
            evaluator.update([Keypoints(**about, **arrays)], [target])
    assert people == 103
    assert evaluator.compute().values["AP"] >= lowest


def test_people_who_overlap_come_back_within_a_pixel() -> None:
    """Three of one size, a third of their width apart."""
    model = saccade.create_model("openpose_coco", num_classes=17, stages=1, **SMALL)
    figure = 240 * torch.tensor(FIGURE) + torch.tensor([60.0, 10.0])
    points = torch.stack([figure + torch.tensor([35.0 * number, 6.0 * number]) for number in range(3)])
    keypoints = torch.cat((points, torch.full((3, 17, 1), 2.0)), dim=2)
    found = restored(model, keypoints, (288, 288))
    assert found["count"].tolist() == [3]
    order = found["keypoints"][0, :, 0, 0].argsort()
    assert (found["keypoints"][0, order] - points).norm(dim=-1).max() < 1.0
    assert (found["point_scores"] > 0.7).all()  # a point halfway between four cells has peaks of 0.72


def test_a_backbone_of_larger_strides_gives_all_its_maps_of_stride_8_and_more() -> None:
    """The last one alone where its stride is 8."""
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    model = saccade.create_model("openpose_coco", stages=1, **SMALL).eval()
    assert model.backbone.feature_strides == (2, 4, 8, 16, 32)
    maps = model.backbone.features(images)[2:]
    joined = model.map_features(images)
    assert joined.shape == (1, model.map_channels, 8, 12)
    assert torch.equal(joined[:, : maps[0].shape[1]], maps[0])
    last = torch.nn.functional.interpolate(maps[2], (8, 12), mode="bilinear")
    torch.testing.assert_close(joined[:, -maps[2].shape[1] :], last)

    model = saccade.create_model("openpose_coco", stages=1, backbone="resnet18", channels=8).eval()
    assert torch.equal(model.map_features(images), model.backbone.features(images)[-1])


def trained(model: Model, noise: float = 0.1) -> Model:
    """With weights that give maps of all kinds: each about 0, within -0.9 and 0.9 for an image of noise."""
    generator = torch.Generator().manual_seed(0)
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
        outputs = model(torch.randn(1, 3, 64, 96, generator=generator))
        for name in ("heatmaps", "fields"):
            last = getattr(model.stages[-1], name).output
            means = outputs[name].mean((0, 2, 3))
            scales = 0.9 / (outputs[name][0] - means[:, None, None]).abs().amax((1, 2))
            last.weight.mul_(scales[:, None, None, None])
            last.bias.sub_(means).mul_(scales)
    model.class_names = ("nose", "left", "right")
    return model


def test_the_flip_test_is_exact_and_on_maps() -> None:
    """Of an image and its mirror image the merged maps are mirror images, left and right exchanged."""
    model = trained(saccade.create_model("openpose_coco", **TRIANGLE))
    model.finish_options = {**model.finish_options, "min_points": 1}
    runtime = AugmentedRuntime(EagerRuntime(model), flip=True, flip_pairs=((1, 2),))
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    plain, mirrored = runtime(images), runtime(images.flip(3))
    count = int(plain["count"])
    assert count > 0
    assert int(mirrored["count"]) == count
    back = mirrored["keypoints"][:, :, [0, 2, 1]].clone()
    scores = mirrored["point_scores"][:, :, [0, 2, 1]]
    back[..., 0] = torch.where(scores > 0, 96 - back[..., 0], back[..., 0])
    one, other = (sorted(value[0].flatten(1).tolist()) for value in (plain["keypoints"], back))
    np.testing.assert_allclose(one, other, atol=1e-2)
    alone = EagerRuntime(model)(images)
    assert alone["keypoints"].shape != plain["keypoints"].shape or (alone["keypoints"] != plain["keypoints"]).any()


def test_a_skeleton_without_its_mirror_image_is_refused() -> None:
    options = {**TRIANGLE, "skeleton": [(0, 1), (1, 2)]}
    model = trained(saccade.create_model("openpose_coco", **options))
    runtime = AugmentedRuntime(EagerRuntime(model), flip=True, flip_pairs=((1, 2),))
    with pytest.raises(ConfigError, match=r"mirror image of the limb \(0, 1\)"):
        runtime(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_an_exported_file_groups_people(tmp_path: Path) -> None:
    model = trained(saccade.create_model("lightweight_openpose", **TRIANGLE), noise=0.15)
    model.input_spec = model.input_spec.with_size((64, 96))
    model.finish_options = {**model.finish_options, "min_points": 2, "min_support": 0.1}
    path = saccade.export(model, "onnx", tmp_path / "pose").path
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    runtime = open_runtime(path)
    expected, maps = EagerRuntime(model).run_graph(images), runtime.run_graph(images)  # type: ignore[attr-defined]
    for name in ("heatmaps", "fields"):
        torch.testing.assert_close(maps[name], expected[name], atol=1e-3, rtol=1e-3)
    found, people = runtime(images), run_finish(model.finish, maps, images, model.finish_options)
    assert int(found["count"].sum()) > 0
    for name in model.decoded_keys:
        assert torch.equal(found[name], people[name])


def test_what_makes_its_people_cannot_be_left_out() -> None:
    model = trained(saccade.create_model("openpose_coco", **TRIANGLE))
    image = np.zeros((64, 64, 3), np.uint8)
    for finish in ("none", "dense_crf"):
        with pytest.raises(ConfigError, match=r"gives keypoints, .* by 'group_people' only"):
            saccade.predict(model, image, finish=finish)
    with pytest.raises(ConfigError, match="peak_threshold is 3"):
        saccade.predict(model, image, finish={"peak_threshold": 3})
    (found,) = saccade.predict(model, image, finish={"peak_threshold": 0.01, "min_points": 1, "min_score": 0.0})
    (result,) = saccade.predict(model, image, finish={"peak_threshold": 1.0, "min_points": 1, "min_score": 0.0})
    assert (len(found) > 0, len(result)) == (True, 0)
    with pytest.raises(ConfigError, match="'group_people' needs 'limbs'"):
        saccade.predict(saccade.create_model("dsnt", num_classes=3), image, finish="group_people")
    with pytest.raises(ConfigError, match="for networks with part affinity fields; this one solves classification"):
        saccade.predict(saccade.create_model("lenet5"), image, finish="group_people")
