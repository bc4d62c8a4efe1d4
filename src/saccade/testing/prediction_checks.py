"""Predictions: shapes, order, canvases of any size, and that they depend on nothing but image and weights."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.models.base import Decoded, Model
from saccade.models.checkpoint import load_model, save_model
from saccade.models.finish import run_finish
from saccade.ops.iou import pairwise_iou
from saccade.ops.nms import NmsSettings
from saccade.tasks import get_task
from saccade.testing.comparing import (
    NotApplicableError,
    attempt,
    require,
    require_close,
    require_finite,
    require_same_predictions,
    slice_image,
)
from saccade.testing.examples import images_for, inputs_for, pixels_for, targets_for
from saccade.testing.loss_checks import run_loss
from saccade.testing.subject import Subject

__all__ = [
    "check_batch_invariance",
    "check_boxes_by_falling_score",
    "check_checkpoint_round_trip",
    "check_decoded_shapes",
    "check_determinism",
    "check_features",
    "check_odd_size",
]

_INTEGERS = ("labels", "count")
_SHARES = ("probabilities", "scores", "point_scores")


def check_decoded_shapes(subject: Subject) -> None:
    """``predict`` gives ``decoded_keys``, in shapes and types of the task, and finds something in the examples.

    Rows of an image's own come first, the rest is zero. Of a network with ``finish`` the finished prediction is held
    against ``decoded_keys``.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> subject = Subject("lenet5", size=(32, 32))
        >>> subject.model.decoded_keys = ("scores",)
        >>> check_decoded_shapes(subject)
        Traceback (most recent call last):
            ...
        AssertionError: predict gives probabilities, and decoded_keys are scores
    """
    model = subject.model
    with torch.no_grad(), attempt("forward"):
        outputs = model(images_for(model, subject.size), **inputs_for(model, subject.size))
    require_finite(outputs, "forward")
    decoded = _predict(model, subject.size)
    _require_shapes(model, decoded, subject.size)
    rows = _row_keys(model)
    for image, count in enumerate(decoded.get("count", torch.empty(0)).tolist()):
        require(count > 0, "nothing is found in the example images, so nothing can be compared: lower the threshold")
        for name, value in decoded.items():
            if name in rows:
                require(not value[image, count:].any(), f"'{name}' is not zero in the rows beyond 'count'")
        if "scores" in decoded:
            require(decoded["scores"][image, :count].min() > 0, "'scores' is zero in a row within 'count'")


def _row_keys(model: Model) -> set[str]:
    """Decoded tensors whose second dimension counts objects; maps, such as heatmaps, belong to the whole image."""
    shapes = {key.removesuffix("?"): letters for key, letters in get_task(model.task).decoded.items()}
    objects = shapes.get("scores", "")[1:2]
    return {key for key, letters in shapes.items() if objects and letters[1:2] == objects}


def _require_shapes(model: Model, decoded: Mapping[str, Tensor], size: tuple[int, int]) -> None:
    """Keys, types, values and shapes of a prediction for two images."""
    keys, own = tuple(decoded), tuple(model.decoded_keys)
    agree = set(keys) == set(own) if model.finish else keys == own
    require(agree, f"predict gives {', '.join(keys)}, and decoded_keys are {', '.join(own)}")
    require_finite(decoded, "predict")
    task = get_task(model.task)
    shapes = {key.removesuffix("?"): letters for key, letters in task.decoded.items()}
    sides = {"B": 2, "C": model.num_classes, "H": size[0], "W": size[1]}
    for name, value in decoded.items():
        dtype = torch.int64 if name in _INTEGERS else torch.float32
        require(value.dtype == dtype, f"'{name}' is {value.dtype}, not {dtype}")
        letters = shapes.get(name, "")
        message = f"'{name}' has shape {tuple(value.shape)}, which is not {letters} with {sides}"
        require(value.ndim == len(letters), message)
        for letter, side in zip(letters, value.shape, strict=True):
            wanted = int(letter) if letter.isdigit() else sides.setdefault(letter, side)
            require(side == wanted, message)
        if name in _SHARES:
            require(bool(((value >= 0) & (value <= 1)).all()), f"'{name}' leaves 0..1")  # of nothing found too


def check_boxes_by_falling_score(subject: Subject) -> None:
    """Rows come by falling score, their labels are classes, and ``predict`` follows the settings of suppression.

    Of a network with such settings (``nms``), boxes of a class overlap no more than these say where the kind drops
    what overlaps, and suppression of any kind takes something away. A network that needs none (kind ``none``) follows
    them if it is given another.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> check_boxes_by_falling_score(Subject("yolox_nano", {"num_classes": 2}))  # silent: the promise holds
    """
    model = subject.model
    if not {"boxes", "scores"} <= set(model.decoded_keys):
        raise NotApplicableError("it predicts no boxes with scores")
    decoded = _predict(model, subject.size)
    require((decoded["scores"].diff(dim=1) <= 0).all(), "rows do not come by falling score")
    if "labels" in decoded:
        labels = decoded["labels"]
        require((labels >= 0).all() and (labels < model.num_classes).all(), "labels are not 0..num_classes-1")
    nms = getattr(model, "nms", None)
    if not isinstance(nms, NmsSettings):
        return
    _require_little_overlap(decoded, nms)
    other: Any = copy.copy(model)
    if nms.kind == "none":
        other.nms = replace(nms, kind="nms", iou=0.1)
        _require_little_overlap(_predict(other, subject.size), other.nms)
        return
    # Greedy suppression that never drops, since a network may have its own and follow no other field.
    other.nms = replace(nms, iou=1.0) if nms.kind == "nms" else replace(nms, kind="none")
    without = _predict(other, subject.size)
    full = decoded["count"] == decoded["scores"].shape[1]
    lowered = without["scores"].sum(dim=1) > decoded["scores"].sum(dim=1)
    followed = (without["count"] > decoded["count"]) | full | (lowered & (nms.kind in ("soft", "soft_gaussian")))
    require(followed.all(), "suppression by nms.iou changes nothing: predict does not follow it")


def _require_little_overlap(decoded: Decoded, nms: NmsSettings) -> None:
    """Boxes of a class overlap no more than the settings say; of kinds that drop boxes."""
    if nms.kind not in ("nms", "diou"):
        return
    for image, count in enumerate(decoded["count"].tolist()):
        if not count:
            continue
        boxes, labels = decoded["boxes"][image, :count], decoded["labels"][image, :count]
        overlaps = pairwise_iou(boxes, boxes, "diou" if nms.kind == "diou" else "iou").fill_diagonal_(0.0)
        if not nms.class_agnostic:
            overlaps = overlaps * (labels[:, None] == labels)
        among = "any two classes" if nms.class_agnostic else "one class"
        message = f"boxes of {among} overlap by {float(overlaps.max()):.2f}, beyond nms.iou"
        require(overlaps.max() <= nms.iou + 1e-3, message)  # suppression rounds boxes


def check_features(subject: Subject) -> None:
    """``features`` gives maps as ``feature_channels`` and ``feature_strides`` declare.

    Those of a network for one canvas may have fewer locations, where convolutions without padding lost the border.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> subject = Subject("lenet5", size=(32, 32))
        >>> subject.model.feature_strides = (2, 8)
        >>> check_features(subject)
        Traceback (most recent call last):
            ...
        AssertionError: features gives [(2, 6, 16, 16), (2, 16, 8, 8)], and ... [(2, 6, 16, 16), (2, 16, 4, 4)]
    """
    model, (height, width) = subject.model, subject.size
    with torch.no_grad(), attempt("features"):
        maps = model.features(images_for(model, subject.size))
    found = [tuple(value.shape) for value in maps]
    declared: list[tuple[int, ...]] = [
        (2, channels, height // stride, width // stride)
        for channels, stride in zip(model.feature_channels, model.feature_strides, strict=True)
    ]
    if model.input_spec.fixed:  # convolutions without padding lose the border, on the only canvas there is
        fits = [(*one[:2], *map(min, one[2:], own[2:])) for one, own in zip(declared, found, strict=False)]
        declared = fits + declared[len(fits) :]
    require(found == declared, f"features gives {found}, and feature_channels and feature_strides declare {declared}")


def check_odd_size(subject: Subject) -> None:
    """Predicting and training work on a canvas that is no multiple of the strides.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.
        NotApplicableError: If only one size works (``InputSpec.fixed``).

    Example:
        >>> check_odd_size(Subject("lenet5", size=(32, 32), odd_size=(64, 64)))
        Traceback (most recent call last):
            ...
        AssertionError: odd_size (64, 64) is a multiple of the stride 4; choose another
    """
    model, size = subject.model, subject.odd_size
    if model.input_spec.fixed:
        raise NotApplicableError(f"input_spec.fixed: it takes {model.input_spec.size} alone")
    largest = max(model.feature_strides)
    odd = largest == 1 or all(side % largest for side in size)
    require(odd, f"odd_size {size} is a multiple of the stride {largest}; choose another")
    _require_shapes(model, _predict(model, size), size)
    targets = targets_for(model, size, (2, 1), subject.targets)
    with attempt(f"loss on a canvas of {size}"):
        outcome = run_loss(model, size, targets, training=True)
    for name, value in outcome.terms.items():
        require(abs(value) < float("inf"), f"loss on a canvas of {size}: '{name}' is {value}")
    wrong = (*outcome.missing, *outcome.nonfinite)
    require(not wrong, f"{', '.join(wrong)}: no finite gradient on a canvas of {size}")


def check_checkpoint_round_trip(subject: Subject) -> None:
    """A checkpoint builds the network again: classes, input rules, builder, and equal outputs.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> check_checkpoint_round_trip(Subject("lenet5", size=(32, 32)))  # silent: the promise holds
    """
    model = subject.model
    # The file is removed at once: up to 255 MB.
    with (
        tempfile.TemporaryDirectory(dir=subject.folder) as folder,
        attempt("saving and loading a checkpoint"),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(1)  # what the file does not hold comes out otherwise than in the network that was saved
        again = load_model(save_model(model, Path(folder) / "model.safetensors", metrics={"AP": 0.5}))
    require(not again.training, "the loaded network is in train mode")
    for name in ("class_names", "input_spec", "builder_name", "builder_args", "finish", "finish_options"):
        before, after = getattr(model, name), getattr(again, name)
        require(before == after, f"{name} was saved as {before} and loaded as {after}")
    images, inputs = images_for(model, subject.size), inputs_for(model, subject.size)
    with torch.no_grad(), attempt("forward"):
        _require_equal(again(images, **inputs), model(images, **inputs), "the loaded network")


def check_determinism(subject: Subject) -> None:
    """In eval mode the same images give equal outputs and predictions again.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> subject = Subject("lenet5", size=(32, 32))
        >>> subject.model.f6.register_forward_hook(lambda layer, inputs, output: F.dropout(output))
        <...>
        >>> check_determinism(subject)
        Traceback (most recent call last):
            ...
        AssertionError: forward in eval mode, called again: 'logits' is not equal
    """
    model = subject.model
    images, inputs = images_for(model, subject.size), inputs_for(model, subject.size)
    with torch.no_grad(), attempt("forward"):
        first, second = model(images, **inputs), model(images, **inputs)
    _require_equal(second, first, "forward in eval mode, called again")
    with torch.no_grad(), attempt("predict"):
        first, second = model.predict(images, **inputs), model.predict(images, **inputs)
    _require_equal(second, first, "predict in eval mode, called again")


def check_batch_invariance(subject: Subject) -> None:
    """Outputs and predictions for an image do not depend on the images beside it.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> subject = Subject("lenet5", size=(32, 32))
        >>> subject.model.f6.register_forward_hook(lambda layer, inputs, output: output - output.mean(0))
        <...>
        >>> check_batch_invariance(subject)
        Traceback (most recent call last):
            ...
        AssertionError: image 0 of 3, alone and in the batch: 'logits' differs by ..., which is not rounding ...
    """
    model, batch = subject.model, 3
    images, inputs = images_for(model, subject.size, batch), inputs_for(model, subject.size, batch)
    with torch.no_grad(), attempt("forward and predict"):
        together, predicted = model(images, **inputs), model.predict(images, **inputs)
        for image in range(batch):
            own = slice_image(inputs, image, batch)
            alone = images[image : image + 1]
            what = f"image {image} of {batch}, alone and in the batch"
            require_close(model(alone, **own), slice_image(together, image, batch), what)
            require_same_predictions(model.predict(alone, **own), slice_image(predicted, image, batch), what)


def _predict(model: Model, size: tuple[int, int]) -> Decoded:
    """Prediction for two images, finished."""
    with torch.no_grad(), attempt(f"predict on a canvas of {size}"):
        decoded = model.predict(images_for(model, size), **inputs_for(model, size))
        return run_finish(model.finish, decoded, pixels_for(model, size, 2), model.finish_options)


def _require_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    require(list(found) == list(expected), f"{what}: the outputs are {list(found)} and {list(expected)}")
    for name, value in expected.items():
        require(torch.equal(found[name], value), f"{what}: '{name}' is not equal")
