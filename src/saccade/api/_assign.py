"""The assignment of one image: the detector opened, the ground truth of the image found in its data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.api._open import ModelLike, build_alone, name_alone, open_network, run_config
from saccade.errors import ConfigError, DataError
from saccade.models.base import Model
from saccade.models.detection.base import Detector

if TYPE_CHECKING:
    from saccade.analysis.assignment import AssignedObjects
    from saccade.structures.dataset import VisionDataset
    from saccade.structures.sample import Target

__all__ = ["explain_assignment"]


def explain_assignment(
    model: ModelLike,
    image: Any,
    weights: str | None,
    data: str | Path | None,
    format: str | None,
    target: Mapping[str, Any] | None,
    trust: bool,
) -> AssignedObjects:
    """Which anchors or points of an image a detector assigns to which of its objects.

    Args:
        model: A detector, its checkpoint, or its name; alone, a name has random weights and the classes of the data.
        image: File of the image, or with a target anything that holds one image.
        weights: Of a network given by name.
        data: Where the ground truth of the file is found; that of the model's run if not given.
        format: Reader of the data.
        target: ``boxes`` and ``labels`` in pixels of the image, in place of data.
        trust: Open the checkpoint of a network from outside the package.

    Raises:
        SaccadeError: If the model is no detector, or the image has no ground truth there.
    """
    from saccade.analysis.assignment import explain_assignment as explain
    from saccade.analysis.assignment import no_detector
    from saccade.data.images.decode import match_channels
    from saccade.engine.predict.sources import iter_source
    from saccade.engine.train.sources import sources_of
    from saccade.models.registry import get_builder

    alone = name_alone(model, weights)
    network = None if alone else open_network(model, weights, trust)
    name, task = (alone, get_builder(alone).task) if network is None else (network.builder_name, network.task)
    if task != Detector.task:
        raise no_detector(name, task)
    if target is not None:
        if data is not None:
            raise ConfigError("target is the ground truth of the image already. Leave data out, or target.")
        network = network or build_alone(alone)
        images = list(iter_source(image, network.input_spec.channels))
        if len(images) != 1:
            raise ConfigError(f"explain takes one image at a time; '{image}' holds several.")
        ((path, pixels),) = images
        return explain(network, pixels, target, path)
    sources: Sequence[str | Path]
    if data is None:
        config = run_config(model)
        if config is None:
            raise ConfigError(
                "the assignment needs the ground truth of the image, and the model lies in no run folder that names "
                "its data. Name the data set (--data PATH), or in Python pass target={'boxes': ..., 'labels': ...}."
            )
        sources, format = sources_of(config.data), config.data.format  # noqa: A001
    else:
        sources = (data,)
    if not isinstance(image, str | Path):
        raise ConfigError(
            "an image that is no file has no ground truth in a data set. Pass target={'boxes': ..., 'labels': ...}, or "
            "the path of the file."
        )
    found, left_out = _find_image(sources, format, image)
    network = network or build_alone(alone, found.info.class_names)
    sample = found.read(0)
    pixels = match_channels(sample.image, network.input_spec.channels, sample.info.path)
    renamed = _rename_labels(sample.target, found.info.class_names, network, " and ".join(map(str, sources)))
    return replace(explain(network, pixels, renamed, sample.info.path), left_out=left_out)


def _find_image(
    sources: Sequence[str | Path], format: str | None, image: str | Path
) -> tuple[VisionDataset, tuple[str, ...]]:
    """The image as a data set of its own, in whichever split it is, and the labels that are left out as faulty."""
    from saccade.data.check.run import source_splits
    from saccade.data.derived.combine import subset
    from saccade.data.open import open_raw
    from saccade.data.tables.faults import apply_policy
    from saccade.data.tables.table_dataset import TableDataset

    wanted, namesakes, seen = Path(image).expanduser().resolve(), [], 0
    task, named = Detector.task, " and ".join(map(str, sources))
    for source, split in ((one, split) for one in sources for split in source_splits(one, None, format, task=task)):
        dataset = open_raw(source, split, format=format, task=task)
        seen += len(dataset)
        for index in range(len(dataset)):
            path = dataset.path(index)
            if Path(path).name != wanted.name:
                continue
            if path != str(image) and Path(path).resolve() != wanted:
                namesakes.append(path)
                continue
            one = subset(dataset, [index])
            if not isinstance(one, TableDataset):
                return one, ()
            sound = apply_policy(one.with_table(replace(one.table, faults=())), "drop")
            left = sound.left_out[len(one.left_out) :]
            return sound, tuple(f"{where}: {problem}" for where, problem in left)
    if not namesakes and not wanted.is_file():
        raise DataError(f"{image}: there is no such image. Check the path.")
    nearest = f" Did you mean {namesakes[0]}?" if namesakes else ""
    raise DataError(
        f"{image}: it is none of the {seen} images of {named}, so its ground truth is not known.{nearest} Name the "
        "data set that has it (--data PATH), or in Python pass target={'boxes': ..., 'labels': ...}."
    )


def _rename_labels(target: Target, names: Sequence[str], model: Model, data: str) -> Target:
    """The target with the network's numbers of its classes, which may stand in another order there."""
    if not model.class_names or tuple(names) == tuple(model.class_names):
        return target
    known = list(model.class_names)
    missing = sorted({names[label] for label in target["labels"].tolist() if names[label] not in known})
    if missing:
        raise ConfigError(
            f"the network does not know the classes {', '.join(missing)} of {data}. Name data that it was trained for, "
            "or the network alone, without weights: it then has the classes of the data."
        )
    import numpy as np

    numbers = np.array([known.index(name) if name in known else -1 for name in names], np.int64)
    return {**target, "labels": numbers[target["labels"]]}
