"""Classes of a run: one list of names for the network and for every split, before the first step."""

from __future__ import annotations

from collections.abc import Sequence

from saccade.data.derived.object_crops import has_several_objects
from saccade.engine.train.setup import Datasets
from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.class_names import check_class_names, learnt_class_names
from saccade.structures.text import printable

__all__ = ["check_classes", "check_objects", "check_splits", "compare_names"]


def check_splits(data: Datasets, open_set: bool = False) -> None:
    """Refuse splits whose classes or ground truth are not those of training.

    Args:
        data: The splits.
        open_set: Their classes may differ, as those of metric learning do.

    Raises:
        ConfigError: If they differ; the message has the names that are missing, new, or in another order.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> check_splits(Datasets(DigitScenes("detection", "train"), DigitScenes("classification", "val")))
        Traceback (most recent call last):
        saccade.errors.ConfigError: data.val is read for classification, data.train for detection. ...
    """
    train = data.train.info
    for name, split in (("val", data.val), ("test", data.test)):
        if split is None:
            continue
        if split.info.task != train.task:
            raise ConfigError(
                f"data.{name} is read for {split.info.task}, data.train for {train.task}. Open both for one task."
            )
        if not open_set and tuple(split.info.class_names) != tuple(train.class_names):
            differ = compare_names(train.class_names, split.info.class_names, "training", f"data.{name}")
            raise ConfigError(
                f"data.{name} ('{printable(split.info.name, limit=80)}', {split.info.split}) has other classes than "
                f"training: {differ}. Give both the same list of classes, or leave the split out (--data.{name} None)."
            )


def check_classes(model: Model, data: Datasets) -> None:
    """Refuse a network whose classes are not those of the data; one without names takes the data's.

    Raises:
        ConfigError: If their number, names or order differ.
        WeightsError: If the network has names for another number of classes.
    """
    title = model.builder_name or type(model).__name__
    names = tuple(data.train.info.class_names)
    check_class_names(model.num_classes, model.class_names, f"the network '{title}'")
    if model.class_names:
        expected = learnt_class_names(model.num_classes, names)
        if tuple(model.class_names) != expected:
            differ = compare_names(expected, model.class_names, "the data", "the network")
            raise ConfigError(
                f"the network '{title}' has other classes than the data: {differ}. Set model.class_names to the data's "
                "names, or build the network for the data."
            )
    elif model.num_classes == len(names) or data.val is not None or data.test is not None:
        model.class_names = learnt_class_names(model.num_classes, names)


def check_objects(model: Model, data: Datasets) -> None:
    """Refuse images with several objects where the network finds one, which would learn the first of them.

    Raises:
        ConfigError: If the training images are whole and one has several objects.
    """
    if not model.single_object or data.train.info.object_crops or not has_several_objects(data.train):
        return
    raise ConfigError(
        f"{model.builder_name or type(model).__name__} finds one object an image, and images of "
        f"'{printable(data.train.info.name, limit=80)}' have several with keypoints. Train on crops of them "
        "(--data.crop.use auto; in Python saccade.data.derived.object_crops.ObjectCrops), or take a network that finds "
        "several."
    )


def compare_names(first: Sequence[str], second: Sequence[str], of_first: str, of_second: str) -> str:
    """What differs between two lists of class names.

    Example:
        >>> compare_names(["cat", "dog"], ["cat", "cow"], "training", "data.val")
        'dog is missing in data.val; cow is missing in training'
        >>> compare_names(["cat", "dog"], ["dog", "cat"], "training", "data.val")
        'the same names in another order (class 0 is cat in training, dog in data.val)'
    """
    parts = []
    for names, others, title in ((first, second, of_second), (second, first, of_first)):
        missing = [printable(name, limit=40) for name in names if name not in others]
        if missing:
            shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
            parts.append(f"{shown} {'is' if len(missing) == 1 else 'are'} missing in {title}")
    if parts:
        return "; ".join(parts)
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            mine, its = (printable(name, limit=40) for name in (one, other))
            return f"the same names in another order (class {number} is {mine} in {of_first}, {its} in {of_second})"
    return f"{len(first)} names in {of_first}, {len(second)} in {of_second}"
