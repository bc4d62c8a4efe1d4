"""The loss: finite for any number of objects, in both modes, and with gradients for every part."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saccade.blocks.stochastic_depth import StochasticDepth
from saccade.models.base import Model, Targets
from saccade.structures.batch import pad_targets
from saccade.testing.comparing import attempt, require
from saccade.testing.examples import images_for, inputs_for, targets_for
from saccade.testing.subject import Subject

__all__ = ["LossPass", "check_gradients_reach_every_part", "check_loss_is_finite", "run_loss"]


@dataclass(frozen=True)
class LossPass:
    """One forward and backward pass.

    Args:
        terms: Loss terms by name.
        scalars: Whether each of them is a scalar.
        missing: Parameters without a gradient.
        nonfinite: Parameters whose gradient is not finite.
        still: Parameters whose gradient is zero everywhere.
    """

    terms: dict[str, float]
    scalars: bool
    missing: tuple[str, ...]
    nonfinite: tuple[str, ...]
    still: tuple[str, ...]


def check_loss_is_finite(subject: Subject) -> None:
    """``loss`` gives the same finite scalar terms in both modes, for objects in all, some and none of the images.

    In eval mode it gives equal values again, and for targets that are padded already.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> subject = Subject("lenet5", size=(32, 32))
        >>> subject.model.criterion = lambda logits, labels: F.cross_entropy(logits, labels) / (labels > 0).sum()
        >>> check_loss_is_finite(subject)
        Traceback (most recent call last):
            ...
        AssertionError: loss: 'classification' is inf with 0 and 0 objects in the images, in train mode
    """
    names: list[str] = []
    for _, case, outcome in _passes(subject):
        require(outcome.terms, f"loss gives no terms {case}")
        require(outcome.scalars, f"loss gives terms that are not scalars {case}")
        for name, value in outcome.terms.items():
            require(abs(value) < float("inf"), f"loss: '{name}' is {value} {case}")
        names = names or list(outcome.terms)
        require(
            list(outcome.terms) == names, f"loss gives the terms {list(outcome.terms)} {case}, and {names} otherwise"
        )
    targets = targets_for(subject.model, subject.size, (2, 1), subject.targets)
    first, second, padded = (_evaluate(subject, given) for given in (targets, targets, pad_targets(targets)))
    require(first == second, f"loss in eval mode gives {first}, and then {second} for the same images")
    require(first == padded, f"loss in eval mode gives {first} for a list of targets, {padded} for the same, padded")


def check_gradients_reach_every_part(subject: Subject) -> None:
    """Every parameter has a finite gradient, whatever the images hold, and learns where there are objects.

    In the heads some may have nothing to learn: a level may have no positive, and so no class.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> subject = Subject("lenet5", size=(32, 32))
        >>> subject.model.f6.register_forward_hook(lambda layer, inputs, output: output.detach())
        <...>
        >>> check_gradients_reach_every_part(subject)
        Traceback (most recent call last):
            ...
        AssertionError: c1.weight, c1.bias, ...: no gradient with 2 and 1 objects in the images, in train mode; ...
    """
    heads = tuple(f"{head}." for head in subject.model.head_names)
    names = [name for name, _ in subject.model.named_parameters()]
    predicting = {name for name in names if f"{name}.".startswith(heads)}
    for objects, case, outcome in _passes(subject):
        remedy = "data-parallel training would wait for it (make a buffer of what never learns)"
        require(not outcome.missing, f"{', '.join(outcome.missing)}: no gradient {case}; {remedy}")
        require(not outcome.nonfinite, f"{', '.join(outcome.nonfinite)}: the gradient is not finite {case}")
        if all(objects):
            below = [name for name in outcome.still if name not in predicting]
            require(not below, f"{', '.join(below)}: the gradient is zero {case}")
            require(len(outcome.still) < len(predicting), f"no parameter of the heads has a gradient {case}")


def run_loss(model: Model, size: tuple[int, int], targets: Sequence[Mapping[str, Tensor]], training: bool) -> LossPass:
    """Forward and backward pass of a copy of the network, without dropout.

    Args:
        model: The network.
        size: Canvas (height, width).
        targets: Of :func:`saccade.testing.examples.targets_for`; as many images are made.
        training: In train mode.
    """
    learner = copy.deepcopy(model).train(training)
    for module in learner.modules():
        if isinstance(module, (nn.Dropout, StochasticDepth)):
            module.p = 0.0  # what is left out by chance has no gradient by chance
    images, inputs = images_for(learner, size, len(targets)), inputs_for(learner, size, len(targets))
    terms: dict[str, Tensor] = {}
    shared: dict[str, Tensor] = {}
    for group in learner.loss_groups or ("",):
        if group:  # the others stand still, as they do in training
            learner.requires_grad_(False)
            for parameter in learner.group_parameters(group):
                parameter.requires_grad_(True)
        own = learner.loss(images, targets, *_grouped(learner, group, shared), **inputs)
        total = sum((value.sum() for value in own.values()), torch.zeros(()))
        if total.requires_grad:
            total.backward()
        terms |= own
    gradients = {name: parameter.grad for name, parameter in learner.named_parameters()}
    there = {name: gradient for name, gradient in gradients.items() if gradient is not None}
    return LossPass(
        terms={name: float(value.detach().sum()) for name, value in terms.items()},
        scalars=all(value.ndim == 0 for value in terms.values()),
        missing=tuple(name for name in gradients if name not in there),
        nonfinite=tuple(name for name, gradient in there.items() if not torch.isfinite(gradient).all()),
        still=tuple(name for name, gradient in there.items() if not gradient.any()),
    )


def _passes(subject: Subject) -> Iterator[tuple[tuple[int, ...], str, LossPass]]:
    """Objects of the images, the same and the mode in words, and what came out; computed once for all checks."""
    for training in (True, False):
        for objects in subject.objects:
            mode = "train" if training else "eval"
            case = f"with {' and '.join(map(str, objects))} objects in the images, in {mode} mode"
            key = ("pass", training, objects)
            if key not in subject.shared:
                targets = targets_for(subject.model, subject.size, objects, subject.targets)
                with attempt(f"loss {case}"), _seeded():
                    subject.shared[key] = run_loss(subject.model, subject.size, targets, training)
            yield objects, case, subject.shared[key]


def _evaluate(subject: Subject, targets: Targets) -> dict[str, float]:
    """Loss terms in eval mode; what a loss draws at random, it draws alike."""
    model = subject.model
    images, inputs = images_for(model, subject.size), inputs_for(model, subject.size)
    terms: dict[str, Tensor] = {}
    shared: dict[str, Tensor] = {}
    with attempt("loss in eval mode"), torch.no_grad(), _seeded():
        for group in model.loss_groups or ("",):
            terms |= model.loss(images, targets, *_grouped(model, group, shared), **inputs)
    return {name: float(value) for name, value in terms.items()}


def _grouped(model: Model, group: str, shared: dict[str, Tensor]) -> tuple[Any, ...]:
    """Third and fourth argument of ``loss``."""
    return (group, shared) if model.loss_groups else ()


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
