"""Data sets and model of a run, from the names in its configuration."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from saccade.data.derived.border_weights import BorderWeighted
from saccade.data.derived.cached import CachedDataset
from saccade.data.derived.empty import drop_empty
from saccade.data.derived.further_inputs import add_inputs, find_sources, inputs_folder
from saccade.data.derived.object_crops import ObjectCrops, has_several_objects
from saccade.data.derived.rotated_classes import RotatedClasses
from saccade.data.derived.tiles import TiledDataset
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.progress import track
from saccade.engine.train.sources import open_sources, sources_of
from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.class_names import learnt_class_names
from saccade.models.registry import create_for_classes, example_of, get_builder, input_names_of, target_names_of
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.tasks import get_task

__all__ = ["Datasets", "build_model", "open_datasets", "prepare_datasets", "worker_count"]

logger = logging.getLogger("saccade")


@dataclass
class Datasets:
    """Training, validation and test split of a run.

    Args:
        train: Training images.
        val: Scored after every epoch; decides which weights are kept.
        test: Scored once, with the kept weights.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> Datasets(DigitScenes("classification", "train", count=16), DigitScenes("classification", "val")).describe()
        'digit_scenes: train 16, val 200, 10 classes'
    """

    train: VisionDataset
    val: VisionDataset | None = None
    test: VisionDataset | None = None

    @property
    def left_out(self) -> list[tuple[str, str, str]]:
        """Split, place and reason of every label and image that the policies of ``data`` left out."""
        splits = (("train", self.train), ("val", self.val), ("test", self.test))
        return [(name, *entry) for name, data in splits for entry in getattr(data, "left_out", ())]

    def describe(self) -> str:
        """One line: sizes, classes, and what the label policy repaired or dropped."""
        parts = [
            f"{name} {len(data)}"
            for name, data in (("train", self.train), ("val", self.val), ("test", self.test))
            if data is not None
        ]
        if self.train.info.class_names:
            parts.append(f"{len(self.train.info.class_names)} classes")
        for name, count in getattr(self.train, "repairs", {}).items():
            parts.append(f"{name} {count}")
        return f"{self.train.info.name}: " + ", ".join(parts)


def open_datasets(config: TrainConfig) -> Datasets:
    """Open the splits that ``config.data`` names, with the ground truth that ``config.model`` learns from.

    They are cut into tiles if the configuration asks for it, and have the further inputs that the network takes;
    training images have the weights of their pixels that it asks for. What is computed for these is kept beside the
    run.

    Raises:
        ConfigError: If no data source is named, the tiles make no sense, or a further input is set that the network
            does not take.
        DataError: If a split is missing or its labels are faulty and the policy is ``error``.

    Example:
        >>> from saccade.engine.train.config import DataConfig
        >>> data = open_datasets(TrainConfig(model="lenet5", data=DataConfig(source="digit_scenes")))
        >>> data.train.info.task, len(data.train), len(data.val), data.test
        ('classification', 2000, 200, None)
    """
    data = config.data
    sources_of(data)  # nothing is built for a run without data
    task = get_task(get_builder(config.model).task).ground_truth_task
    wanted = target_names_of(config.model, config.model_args)
    options = {name: True for name in get_task(task).on_demand if name in wanted}
    _check_cuts(config, task)

    splits = {"train": data.train, "val": data.val, "test": data.test}
    wished = {name: split for name, split in splits.items() if split is not None}
    opened = open_sources(data, list(wished.values()), task, **options)
    return prepare_datasets(config, Datasets(**dict(zip(wished, opened, strict=True))))


def prepare_datasets(config: TrainConfig, datasets: Datasets) -> Datasets:
    """What a run makes of its data sets: tiles, weights of pixels, crops, further inputs, images kept in memory.

    Args:
        config: Says which of them.
        datasets: As they were opened; they stay as they are.

    Raises:
        SaccadeError: As :func:`open_datasets`.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.engine.train.config import DataConfig, TileConfig
        >>> config = TrainConfig(model="yolox_nano", data=DataConfig(tile=TileConfig(size=(128, 128), overlap=0.0)))
        >>> len(prepare_datasets(config, Datasets(DigitScenes("detection", count=3))).train)
        12
    """
    data = config.data
    _check_cuts(config, datasets.train.info.task)

    def cut(part: VisionDataset | None, keep_empty: float = 1.0, weighed: bool = False) -> VisionDataset | None:
        if part is None:
            return None
        if weighed:
            folder = Path(config.out) / "border_weights"
            part = BorderWeighted(part, data.border.weight, data.border.sigma, data.border.balance, folder)
        if data.tile.size is None:
            return part
        return TiledDataset(part, data.tile.size, data.tile.overlap, keep_empty, config.seed)

    # Only training may pass over images and tiles without ground truth; scores are those of all.
    some = drop_empty(datasets.train, data.keep_empty, config.seed)
    train = cut(some, data.tile.keep_empty, weighed=data.border.weight != 0)
    assert train is not None
    datasets = Datasets(train, cut(datasets.val), cut(datasets.test))
    _crop_objects(datasets, config)
    _add_inputs(datasets, config)
    if data.cache:
        datasets.train = CachedDataset(datasets.train)
    if data.rotate_classes:  # of what is cached, which is then a quarter
        datasets.train = RotatedClasses(datasets.train)
    return datasets


def _check_cuts(config: TrainConfig, task: str) -> None:
    """Refuse settings of ``data`` that contradict each other or the ground truth, before anything is opened."""
    data = config.data
    if data.border.weight and "label_map" not in get_task(task).target_kinds:
        raise ConfigError(
            f"data.border weighs the pixels of label maps, and {config.model} learns {task}. Set data.border.weight to "
            "0."
        )
    if data.tile.size is not None and data.crop.use == "always":
        raise ConfigError("data.tile and data.crop both cut images. Set data.tile.size to none, or data.crop.use.")


def _crop_objects(datasets: Datasets, config: TrainConfig) -> None:
    """Crops of objects in place of images, where the configuration, the network or the data ask for it."""
    crop, tiled = config.data.crop, config.data.tile.size is not None
    if crop.use == "never" or (tiled and crop.use == "auto"):
        return
    if crop.use == "auto":
        example = example_of(config.model, config.model_args)
        made_for_crops = example.input_spec.object_crops > 0
        if not example.single_object or not (made_for_crops or has_several_objects(datasets.train)):
            return
        if not made_for_crops:
            logger.info("images have several objects: %s learns from crops of them (data.crop)", config.model)
    aspect = _aspect(config)
    for name, part in vars(datasets).items():
        if part is not None:
            setattr(datasets, name, ObjectCrops(part, aspect, crop.enlarge))


def _aspect(config: TrainConfig) -> float:
    """Width / height of the network's canvas."""
    spec = example_of(config.model, config.model_args).input_spec
    height, width = (spec if config.data.size is None else spec.with_size(config.data.size)).canvas
    return width / height


def _add_inputs(datasets: Datasets, config: TrainConfig) -> None:
    """Further inputs of the network for every split."""
    data = config.data
    names = input_names_of(config.model, config.model_args)
    found = find_sources(names, {"proposals": data.proposals}, config.model)
    splits = {name: part for name, part in vars(datasets).items() if part is not None}
    for name, part in splits.items():
        others = [other for other in splits.values() if other is not part]
        added = add_inputs(
            part,
            found,
            inputs_folder(config.out),
            worker_count(data.workers),
            partial(track, label=f"inputs of {part.info.name}, {part.info.split}"),
            others,
        )
        setattr(datasets, name, added)


def build_model(config: TrainConfig, info: DatasetInfo, pretrained: bool = True) -> Model:
    """Build ``config.model`` for the classes of the data.

    Args:
        config: Names the model, its options, the canvas and the weights to start from.
        info: Gives the classes.
        pretrained: Load ``config.weights``; a resumed run has its own weights.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> info = DigitScenes("classification", "train").info
        >>> model = build_model(TrainConfig(model="lenet5"), info)
        >>> model.num_classes, model.class_names[:3]
        (10, ('0', '1', '2'))
    """
    from saccade.weights.published import published_arguments

    # Options that published weights were trained with hold for a resumed run too; the run's own go before them.
    options = {**published_arguments(config.model, config.weights or ""), **config.model_args}
    if info.points.skeleton and "skeleton" in get_builder(config.model).parameters:  # of networks whose limbs it is
        options.setdefault("skeleton", info.points.skeleton)
    classes = get_task(get_builder(config.model).task).network_classes(info.class_names)
    model = create_for_classes(config.model, classes, **options)
    model.class_names = learnt_class_names(model.num_classes, info.class_names)
    model.point_layout = info.points
    if model.single_object:
        model.input_spec = replace(model.input_spec, object_crops=info.object_crops)
    if config.data.size is not None:
        model.input_spec = model.input_spec.with_size(config.data.size)
    if config.weights is not None and pretrained:
        from saccade.weights import load_weights

        report = load_weights(model, config.weights, partial=config.partial_weights)
        if report.file_head is not None and _only_head_trains(config):
            model.earlier_heads = (*report.earlier_heads, report.file_head)
            kept = "the head of %s is kept beside the new one (saccade.load(..., earlier_head=...))"
            logger.info(kept, config.weights)
    return model


def _only_head_trains(config: TrainConfig) -> bool:
    """Whether nothing but the head trains in the whole run, so that the head of before stays valid."""
    freezes = [config.freeze, *(phase.freeze for phase in config.phases if phase.freeze is not None)]
    return all(freeze.trainable == "head" for freeze in freezes)


def worker_count(wanted: int | None) -> int:
    """Number of loader processes: ``wanted``, or one less than the cores, 1 to 8.

    Example:
        >>> worker_count(3)
        3
    """
    if wanted is not None:
        return wanted
    return min(
        max(len(os.sched_getaffinity(0)) - 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 2) - 1, 1), 8
    )
