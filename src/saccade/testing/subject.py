"""What is checked: a builder, the options that make its network small, and the network as if it had been trained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.registry import create_model
from saccade.testing.examples import TargetExample, images_for, inputs_for

__all__ = ["Subject"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A network that is held against the contract.

    Args:
        builder: Name of the registry, ``package.module:builder`` for a network from outside the package, or the builder
            itself.
        options: Arguments of the builder that make the network small.
        size: Canvas (height, width) of nearly all checks; a multiple of every stride.
        odd_size: Another canvas that the network must take, no multiple of its largest stride.
        exported: Whether it is written for other runtimes too; a further size of a network that is need not be.
        folder: Where temporary files are made and removed again; the system's folder if not given.
        targets: Functions that give examples of kinds of ground truth that :mod:`saccade.testing.examples` lacks.
        objects: Batches of the checks of ``loss``, as the number of objects in each image: in all, not in the last, in
            none, in the only one, and not there. Where the ground truth is a class an image, it is that number.
        tolerance: How far the numbers of other runtimes may be away, of their scale, where a network of random weights
            makes more of their rounding than others do; the suite's own if not given.

    Example:
        >>> subject = Subject("lenet5", {"num_classes": 3}, size=(32, 32))
        >>> subject.name, subject.model.class_names
        ('lenet5', ('class 0', 'class 1', 'class 2'))
    """

    builder: str | Callable[..., Model]
    options: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (64, 64)
    odd_size: tuple[int, int] = (75, 101)
    exported: bool = True
    folder: Path | None = None
    targets: Mapping[str, TargetExample] = field(default_factory=dict)
    objects: Sequence[tuple[int, ...]] = ((2, 1), (3, 0), (0, 0), (1,), (0,))
    tolerance: float | None = None
    # What several checks need, computed once.
    shared: dict[object, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def name(self) -> str:
        """Name of the builder, for messages."""
        return self.builder if isinstance(self.builder, str) else getattr(self.builder, "__name__", repr(self.builder))

    def create(self, **options: Any) -> Model:
        """A new network.

        Args:
            options: Replace those of the subject.
        """
        options = {**self.options, **options}
        return create_model(self.builder, **options) if isinstance(self.builder, str) else self.builder(**options)

    def create_on_meta(self, **options: Any) -> Model:
        """A new network without weights, on torch's meta device, where runs ask it what it learns from.

        Args:
            options: Replace those of the subject.
        """
        with torch.device("meta"):
            return self.create(**options)

    @functools.cached_property
    def on_meta(self) -> Model:
        """The network without weights, built once."""
        return self.create_on_meta()

    @functools.cached_property
    def model(self) -> Model:
        """The network in eval mode, built once, as if it had been trained; whoever trains it takes a copy.

        A fresh network has BatchNorms that do nothing, residual branches that start at zero, flat heatmaps, and
        detectors that are sure to see nothing: comparisons of its predictions would hold for nearly any mistake.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.create()
            if model.input_spec.fixed and self.size != model.input_spec.size:
                raise ConfigError(f"'{self.name}' takes one size alone: pass size={model.input_spec.size}.")
            _randomise(model)
            images, inputs = images_for(model, self.size, batch=8, seed=1), inputs_for(model, self.size, batch=8)
            _take_statistics(model, images, inputs)
            _standardise(model, images, inputs)
        model.class_names = tuple(f"class {index}" for index in range(model.num_classes))
        return model.eval()


def _randomise(model: Model) -> None:
    """Weights none of which is zero, one, or the identity."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 1.0)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.xavier_uniform_(module.weight)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):  # layer scale
            nn.init.uniform_(parameter, 0.5, 1.0)


def _take_statistics(model: Model, images: Tensor, inputs: Mapping[str, Tensor]) -> None:
    """Running statistics halfway to those of these images.

    Signals then neither die nor explode on their way, as they do with others; and halfway, because with exactly these a
    network of random weights makes much of the smallest difference, rounding included.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.5
    with torch.no_grad():
        model.train()(images, **inputs)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


def _standardise(model: Model, images: Tensor, inputs: Mapping[str, Tensor]) -> None:
    """Mean and standard deviation one for what the head's last layers (those with a bias) predict for these images.

    For detectors that means scores of all heights and boxes large enough to overlap. A head that all levels of a
    pyramid share follows the first, which is the largest.
    """
    done: set[nn.Module] = set()

    def rescale(module: nn.Conv2d | nn.Linear, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        if module in done:
            return output
        done.add(module)
        assert module.bias is not None
        std, mean = torch.std_mean(output)
        if not std > 0:
            return output
        module.weight /= std
        module.bias.copy_((module.bias - mean) / std + 1.0)
        return (output - mean) / std + 1.0

    hooks = [
        module.register_forward_hook(rescale)
        for head in model.head_names
        for module in _modules(model, head)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None
    ]
    with torch.no_grad():
        model.eval()(images, **inputs)
    for hook in hooks:
        hook.remove()


def _modules(model: Model, part: str) -> list[nn.Module]:
    """Submodules of a part; none if it is a parameter, or not there at all."""
    try:
        return list(model.get_submodule(part).modules())
    except AttributeError:
        return []
