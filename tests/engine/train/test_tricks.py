"""Tricks of YOLOv5's training, each alone: warm-up, nominal batch, balanced sampling, canvases, cache, AutoAnchor."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.engine.small import Digits, SmallNet

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.cached import CachedDataset, available_memory, cached_bytes
from saccade.data.derived.combine import ConcatDataset, SubsetDataset
from saccade.data.derived.image_sizes import image_sizes
from saccade.data.loading.balance import balanced_weights
from saccade.data.loading.canvases import scaled_canvases
from saccade.data.loading.pipeline import EvalPipeline, TrainPipeline
from saccade.data.loading.sampler import EpochSampler, SampleKey
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.transforms.config import AugmentConfig
from saccade.data.transforms.resize import resize_geometry, resize_image
from saccade.deploy.runtime import EagerRuntime
from saccade.engine.evaluate.evaluate import evaluate, on_rectangles
from saccade.engine.evaluate.learnability import check_learnability
from saccade.engine.train.auto_anchor import auto_anchor, object_sizes
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.optim import build_optimizer, set_rates
from saccade.engine.train.samplers import batches_an_update, build_sampler
from saccade.engine.train.schedule import lr_factor, warmup_share
from saccade.engine.train.setup import Datasets, open_datasets
from saccade.errors import ConfigError
from saccade.models.checkpoint import load_model
from saccade.models.registry import create_model
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import Target

# --- Warm-up.


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_warm_up_is_a_straight_line_for_rates_of_biases_and_momentum(name: str) -> None:
    config = OptimizerConfig(name=name, lr=0.01, momentum=0.937, betas=(0.937, 0.99), warmup_bias_lr=0.1)  # type: ignore[arg-type]
    config = replace(config, warmup_momentum=0.8)
    schedule = ScheduleConfig(name="cosine", warmup_epochs=3.0)
    optimizer = build_optimizer(SmallNet().named_parameters(), config)
    names = {id(parameter): name for name, parameter in SmallNet().named_parameters()}
    assert len(names) > 3
    for epoch in (0.0, 0.75, 1.5, 2.9, 3.0, 7.0):
        set_rates(optimizer, config, lr_factor(schedule, epoch, 10), warmup_share(schedule, epoch))
        usual = 0.01 * lr_factor(schedule, max(epoch, 3.0), 10)
        for group in optimizer.param_groups:
            biases = group["warmup_lr"] > 0
            assert group["lr"] == pytest.approx(np.interp(epoch, (0, 3), (0.1 if biases else 0.0, usual)))
            momentum = group["betas"][0] if name == "adamw" else group["momentum"]
            assert momentum == pytest.approx(np.interp(epoch, (0, 3), (0.8, 0.937)))


def test_only_biases_begin_at_their_own_rate() -> None:
    model = SmallNet()
    optimizer = build_optimizer(model.named_parameters(), OptimizerConfig(warmup_bias_lr=0.1))
    warmed = {id(one) for group in optimizer.param_groups if group["warmup_lr"] for one in group["params"]}
    assert {name for name, one in model.named_parameters() if id(one) in warmed} == {
        name for name, _ in model.named_parameters() if name.endswith("bias")
    }
    plain = build_optimizer(model.named_parameters(), OptimizerConfig())
    assert len(plain.param_groups) < len(optimizer.param_groups) or len(plain.param_groups) == 1


# --- Nominal batch.


@pytest.mark.parametrize(("batch", "processes", "expected"), [(8, 1, 8), (24, 1, 3), (8, 4, 2), (100, 1, 1)])
def test_updates_come_nearest_to_the_nominal_batch(batch: int, processes: int, expected: int) -> None:
    config = TrainConfig(nominal_batch=64, data=DataConfig(batch_size=batch))
    assert batches_an_update(config, processes) == expected


def test_a_nominal_batch_trains_as_accumulation_does(tmp_path: Path) -> None:
    weights = []
    for number, changes in enumerate(({"accumulate": 4}, {"nominal_batch": 16})):
        config = TrainConfig(name=str(number), epochs=1, out=str(tmp_path), data=DataConfig(batch_size=4, workers=0))
        torch.manual_seed(0)
        model = SmallNet()
        fit(replace(config, **changes), model=model, data=Datasets(Digits("train", 32)))  # type: ignore[arg-type]
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with pytest.raises(ConfigError, match="accumulate is 2 and nominal_batch 16"):
        batches_an_update(TrainConfig(accumulate=2, nominal_batch=16))


# --- Balanced sampling.


def test_rare_classes_are_drawn_as_often_as_common_ones() -> None:
    class Skewed(Digits):
        def __init__(self) -> None:
            super().__init__("train", 200)
            self.labels = np.where(np.arange(200) < 190, 0, 1)

    weights = balanced_weights(Skewed())
    assert weights[:190].sum() == pytest.approx(weights[190:].sum())
    drawn: Counter[int] = Counter()
    for epoch in range(20):
        sampler = EpochSampler(200, batch_size=16, weights=weights)
        sampler.set_epoch(epoch)
        drawn.update(int(key.index >= 190) for batch in sampler for key in batch)
    assert drawn.total() == 4000
    assert 0.45 < drawn[1] / 4000 < 0.55
    sampler.set_epoch(7, start_batch=5)  # a resumed run draws the same
    again = EpochSampler(200, batch_size=16, weights=weights)
    again.set_epoch(7)
    assert list(sampler) == list(again)[5:]


class Objects(Digits):
    """Images with several objects, whose classes are given."""

    def __init__(self, *labels: list[int]) -> None:
        super().__init__("train", len(labels))
        self.objects = labels

    def target(self, index: int) -> Target:
        return {"labels": np.array(self.objects[index], np.int64)}


def test_an_image_counts_as_its_rarest_class_and_one_without_objects_as_the_most_common() -> None:
    scenes = Objects([0, 0, 0, 1], [0], [0], [0, 2], [], [2])  # images that show 0: 4, 1: 1, 2: 2
    assert balanced_weights(scenes).tolist() == [4, 1, 1, 2, 1, 2]
    assert balanced_weights(scenes, "sqrt") == pytest.approx([2, 1, 1, 2**0.5, 1, 2**0.5])
    assert balanced_weights(Objects([], [])).tolist() == [1, 1]


def test_label_maps_are_balanced_by_the_classes_that_they_show() -> None:
    class Maps(Digits):
        def target(self, index: int) -> Target:
            return {"label_map": np.array([[0, 255], [0, 1 if index == 2 else 0]], np.uint8)}

    assert balanced_weights(Maps("train", 3)).tolist() == [1, 1, 3]


def test_a_balance_that_makes_no_sense_is_refused() -> None:
    class Unlabelled(Digits):
        def target(self, index: int) -> Target:
            return {}

    with pytest.raises(ConfigError, match="needs labels of images or objects"):
        balanced_weights(Unlabelled("train", 4))
    config = TrainConfig(data=DataConfig(sampler="pairs", balance="full"))
    with pytest.raises(ConfigError, match=r"data.balance is 'full', but data.sampler 'pairs'"):
        build_sampler(config, Digits("train", 8), (), None, InputSpec((8, 8)), divided=False)


def test_processes_share_what_a_balanced_epoch_draws() -> None:
    weights = balanced_weights(Objects(*([0] for _ in range(15)), [1]), "sqrt")
    drawn = [
        [
            key.index
            for rank in range(size)
            for batch in EpochSampler(16, 4, 3, rank, size, weights=weights)
            for key in batch
        ]
        for size in (1, 2)
    ]
    assert sorted(drawn[0]) == sorted(drawn[1])
    assert len(set(drawn[0])) < 16  # with replacement


# --- Canvases.


def test_a_range_of_canvases_holds_every_multiple_of_the_stride() -> None:
    spec = InputSpec((640, 640), resize="letterbox", pad_multiple=32)
    assert scaled_canvases(spec, None, (0.5, 1.5)) == tuple((side, side) for side in range(320, 961, 32))
    wide = scaled_canvases(spec, (192, 256), (0.5, 1.5))
    assert (192, 256) in wide
    assert all(height < width and not height % 32 and not width % 32 for height, width in wide)
    data = DigitScenes("detection", "train", count=8)
    with pytest.raises(ConfigError, match=r"multiscale and augment\.multiscale_range"):
        TrainPipeline(data, spec, [AugmentConfig(multiscale=(64,), multiscale_range=(0.5, 1.5))])
    with pytest.raises(ConfigError, match="multiscale_range is a range"):
        TrainPipeline(data, spec, [AugmentConfig(multiscale_range=(1.5, 0.5))])


def test_batches_are_drawn_from_the_range(tmp_path: Path) -> None:
    sampler = EpochSampler(64, 4, multiscale={0: (((32, 64), (64, 128)), 1)})
    seen = {key.size for batch in sampler for key in batch}
    assert seen == {(32, 64), (64, 128)}
    assert all(len({key.size for key in batch}) == 1 for batch in sampler)


@pytest.mark.parametrize("size", [(427, 640), (640, 427), (640, 640), (33, 500), (1000, 999)])
def test_a_rectangle_is_the_letterbox_without_whole_strides_of_padding(size: tuple[int, int]) -> None:
    square = InputSpec((320, 320), resize="letterbox", pad_multiple=32)
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    canvas, geometry = resize_image(image, replace(square, resize="rectangle"))
    boxed, of_square = resize_image(image, square)
    assert not canvas.shape[0] % 32
    assert not canvas.shape[1] % 32
    assert geometry.matrix[0, 0] == of_square.matrix[0, 0]
    height, width = (round(side * 320 / max(size)) for side in size)
    assert canvas.shape[0] - height < 32
    assert canvas.shape[1] - width < 32
    top, left = (int(offset) for offset in (geometry.matrix[1, 2], geometry.matrix[0, 2]))
    other_top, other_left = (int(offset) for offset in (of_square.matrix[1, 2], of_square.matrix[0, 2]))
    np.testing.assert_array_equal(
        canvas[top : top + height, left : left + width],
        boxed[other_top : other_top + height, other_left : other_left + width],
    )
    assert resize_geometry(size, square).matrix.tolist() == of_square.matrix.tolist()


def test_rectangular_evaluation_is_for_letterboxed_networks() -> None:
    runtime = EagerRuntime(create_model("yolov5n", num_classes=10))
    changed = on_rectangles(runtime)
    assert (runtime.input_spec.resize, changed.input_spec.resize) == ("letterbox", "rectangle")
    pipeline = EvalPipeline(DigitScenes("detection", "val", count=2, size=(60, 200)), changed.input_spec)
    batches = pipeline.collate([pipeline[SampleKey(0, index)] for index in range(2)])
    assert [tuple(batch.images.shape[2:]) for batch in batches] == [(192, 640)]
    with pytest.raises(ConfigError, match="resized by 'none'"):
        on_rectangles(EagerRuntime(create_model("lenet5")))


def test_rectangular_evaluation_predicts_less_padding() -> None:
    model = create_model("yolov5n", num_classes=10).eval()
    model.input_spec = model.input_spec.with_size((320, 320))
    seen = []
    hook = model.backbone.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    data = DigitScenes("detection", "val", count=3, size=(60, 200))
    report = evaluate(on_rectangles(EagerRuntime(model)), data, batch_size=2)
    hook.remove()
    assert seen == [(2, 3, 96, 320), (1, 3, 96, 320)]
    assert np.isfinite(report.values["AP50"])


# --- Cache.


def photographs(folder: Path, count: int) -> TableDataset:
    builder = TableBuilder(["cat"])
    rng = np.random.default_rng(0)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (40, 60, 3), np.uint8))
        builder.add_image(f"{number}.png", size=(40, 60))
        builder.add_object("cat", (10, 5, 30, 35))
    return TableDataset(DatasetInfo("cats", "detection", ("cat",)), folder, builder.build())


def test_a_cache_decodes_once_and_gives_copies(tmp_path: Path) -> None:
    data = photographs(tmp_path, 5)
    assert image_sizes(data, [4]).tolist() == [[40, 60]]
    expected = [data.read(index) for index in range(5)]
    cached = CachedDataset(data)
    for file in tmp_path.glob("*.png"):
        file.unlink()
    for index, sample in enumerate(expected):
        found = cached.read(index)
        np.testing.assert_array_equal(found.image, sample.image)
        assert found.target.keys() == sample.target.keys()
        assert (found.info.path, found.info.image_id, cached.path(index)) == (data.path(index), index, data.path(index))
        found.image[:] = 0
        found.target["boxes"][:] = 0
        np.testing.assert_array_equal(cached.read(index).image, sample.image)
        np.testing.assert_array_equal(cached.read(index).target["boxes"], sample.target["boxes"])
    assert cached.bytes == 5 * 40 * 60 * 3


def test_what_does_not_fit_into_memory_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    data = photographs(tmp_path, 5)
    for file in tmp_path.glob("[1-9].png"):
        file.write_bytes(file.read_bytes()[:60])  # headers are all that is read
    needed = cached_bytes(data)
    assert needed == pytest.approx(5 * 40 * 60 * 3 * 1.1)
    with pytest.raises(ConfigError, match=r"data\.cache: the 5 images of cats take about .* memory are free"):
        CachedDataset(data, available=round(needed / 0.8) - 10)
    assert (available_memory() or 1) > 0


def test_training_reads_from_the_cache(tmp_path: Path) -> None:
    config = TrainConfig(model="lenet5", data=DataConfig(source="digit_scenes", train="test", val="val", cache=True))
    data = open_datasets(config)
    assert isinstance(data.train, CachedDataset)
    assert not isinstance(data.val, CachedDataset)
    assert data.describe() == "digit_scenes: train 200, val 200, 10 classes"


@pytest.mark.parametrize("form", ["alone", "part", "joined", "of a part"])
def test_pixels_of_a_cache_are_decoded_once(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = photographs(tmp_path, 5)
    made: VisionDataset = CachedDataset(SubsetDataset(data, [0, 2, 4]) if form == "of a part" else data)
    if form == "part":
        made = SubsetDataset(made, [4, 1])
    elif form == "joined":
        made = ConcatDataset([made, made])
    monkeypatch.setattr("saccade.data.tables.table_dataset.read_image", lambda *_: pytest.fail("decoded again"))
    pipeline = TrainPipeline(made, InputSpec((32, 32)), [AugmentConfig(mosaic=0.5)])
    for epoch in range(3):
        for index in range(len(made)):
            assert pipeline[SampleKey(epoch, index)].image.any()


# --- AutoAnchor.


def test_anchors_are_fitted_before_the_first_step_and_kept(tmp_path: Path) -> None:
    train = DigitScenes("detection", "train", count=12, size=(64, 64))
    anchors = [[(400.0, 3.0)], [(500.0, 4.0)], [(600.0, 5.0)]]
    config = TrainConfig(
        name="fitted",
        model="yolov5n",
        model_args={"anchors": anchors},
        auto_anchor=True,
        epochs=1,
        out=str(tmp_path),
        data=DataConfig(batch_size=4, workers=0, size=(64, 64)),
        optimizer=OptimizerConfig(lr=1e-4),
    )
    run = fit(config, data=Datasets(train))
    kept = load_model(run.model_path)
    fresh = create_model("yolov5n", num_classes=10, anchors=anchors)
    fresh.input_spec = fresh.input_spec.with_size((64, 64))
    fitted = auto_anchor(fresh, train)
    assert fitted.replaced
    assert fitted.before == 0
    assert fitted.after == 1
    assert torch.equal(kept.anchor_sizes, fresh.anchor_sizes)
    sides = object_sizes(train, fresh.input_spec)
    assert kept.anchor_sizes.min() > 0.25 * sides.min()
    again = fit(replace(config, epochs=2), resume=True, data=Datasets(train))
    assert torch.equal(load_model(again.model_path).anchor_sizes, fresh.anchor_sizes)


def test_anchors_that_fit_already_stay_and_other_networks_are_refused() -> None:
    train = DigitScenes("detection", "train", count=4)
    model = create_model("yolov5n", num_classes=10)
    before = model.anchor_sizes.clone()
    fit_of_all = auto_anchor(model, train)
    assert (fit_of_all.before, fit_of_all.replaced) == (1.0, False)
    assert torch.equal(model.anchor_sizes, before)
    with pytest.raises(ConfigError, match="auto_anchor: yolox_nano has no anchors"):
        auto_anchor(create_model("yolox_nano"), train)


def test_the_check_of_a_network_prints_the_best_possible_recall() -> None:
    data = DigitScenes("detection", "train", count=6)
    text = check_learnability(create_model("yolov5n", num_classes=10), data).to_text()
    assert "best possible recall of the anchors 1.0000; no others were tried" in text
    poor = create_model("yolov5n", num_classes=10, anchors=[[(400.0, 3.0)], [(500.0, 4.0)], [(600.0, 5.0)]])
    notes = check_learnability(poor, data).notes
    assert len(notes) == 1
    assert notes[0].startswith("best possible recall of the anchors 0.0000, of fitted ones 1.0000: ")
    assert notes[0].endswith("(train --auto-anchor)")
    assert not check_learnability(create_model("yolox_nano", num_classes=10), data).notes
