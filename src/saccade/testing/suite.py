"""All checks in a row, and the one call that holds a network against them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Model
from saccade.testing.comparing import NotApplicableError
from saccade.testing.examples import TargetExample
from saccade.testing.graph_checks import check_fullgraph, check_runtime_formats, check_torch_export
from saccade.testing.loss_checks import check_gradients_reach_every_part, check_loss_is_finite
from saccade.testing.prediction_checks import (
    check_batch_invariance,
    check_boxes_by_falling_score,
    check_checkpoint_round_trip,
    check_decoded_shapes,
    check_determinism,
    check_features,
    check_odd_size,
)
from saccade.testing.structure_checks import check_attributes, check_class_rows, check_parts_hold_every_parameter
from saccade.testing.subject import Subject

__all__ = ["CHECKS", "check_model"]

logger = logging.getLogger("saccade")

CHECKS: Mapping[str, Callable[[Subject], None]] = {
    "attributes": check_attributes,
    "parts_hold_every_parameter": check_parts_hold_every_parameter,
    "class_rows": check_class_rows,
    "decoded_shapes": check_decoded_shapes,
    "boxes_by_falling_score": check_boxes_by_falling_score,
    "loss_is_finite": check_loss_is_finite,
    "gradients_reach_every_part": check_gradients_reach_every_part,
    "features": check_features,
    "odd_size": check_odd_size,
    "checkpoint_round_trip": check_checkpoint_round_trip,
    "determinism": check_determinism,
    "batch_invariance": check_batch_invariance,
    "fullgraph": check_fullgraph,
    "torch_export": check_torch_export,
    "runtime_formats": check_runtime_formats,
}
"""The checks by name, in the order in which they run; each takes a :class:`Subject` and raises an AssertionError."""


def check_model(
    builder: str | Callable[..., Model],
    *,
    options: Mapping[str, Any] | None = None,
    size: tuple[int, int] = (64, 64),
    odd_size: tuple[int, int] = (75, 101),
    exported: bool = True,
    only: Collection[str] | None = None,
    leave_out: Collection[str] = (),
    targets: Mapping[str, TargetExample] | None = None,
) -> list[str]:
    """Hold a network against the contract of :class:`saccade.models.base.Model`.

    The network gets random weights and statistics as if it had been trained, made-up images, and ground truth of the
    kinds that its ``target_names`` declare. All checks run, also behind one that fails. In a test of one's own::

        def test_my_network_keeps_the_contract():
            check_model("my_package.my_module:my_builder", options={"num_classes": 3, "width": 8})

    Args:
        builder: Name of the registry, ``package.module:builder`` for a network from outside the package, or the builder
            itself.
        options: Arguments of the builder that make the network small.
        size: Canvas (height, width) of nearly all checks; a multiple of every stride.
        odd_size: Another canvas that it must take, no multiple of its largest stride.
        exported: Whether it is written for other runtimes too, which takes seconds.
        only: Names of the checks to run, of ``CHECKS``; all if not given.
        leave_out: Names of checks that do not run.
        targets: Examples of kinds of ground truth that are not built in: functions of (model, size, number of objects)
            that give the tensor of one image.

    Returns:
        Names of the checks that ran. One that has nothing to check in this network is left out, and the log tells why.

    Raises:
        AssertionError: If a promise is broken; the message has a line for each.
        ConfigError: If a name is unknown.

    Example:
        >>> from saccade.models.classification.base import Classifier
        >>> from saccade.structures.class_rows import linear_rows
        >>> from saccade.structures.input_spec import InputSpec
        >>> class Tiny(Classifier):
        ...     input_spec = InputSpec(size=(16, 16))
        ...     feature_channels, feature_strides = (4,), (2,)
        ...     stage_names, head_names, class_rows = ("stem",), ("head",), linear_rows("head")
        ...
        ...     def __init__(self, num_classes=10):
        ...         super().__init__()
        ...         self.num_classes = num_classes
        ...         self.stem, self.head = torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.Linear(4, num_classes)
        ...
        ...     def features(self, images):
        ...         return [self.stem(images).relu()]
        ...
        ...     def forward(self, images):
        ...         return {"logits": self.head(self.features(images)[0].mean((2, 3)))}
        >>> check_model(Tiny, only=["class_rows", "loss_is_finite", "odd_size", "batch_invariance"])
        ['class_rows', 'loss_is_finite', 'odd_size', 'batch_invariance']
    """
    for name in (*(only or ()), *leave_out):
        if name not in CHECKS:
            raise ConfigError(f"no check is named '{name}'.{did_you_mean(name, CHECKS)}")
    subject = Subject(builder, options or {}, size, odd_size, exported, targets=targets or {})
    chosen = [name for name in CHECKS if (only is None or name in only) and name not in leave_out]
    ran: list[str] = []
    broken: dict[str, AssertionError] = {}
    for name in chosen:
        try:
            CHECKS[name](subject)
        except NotApplicableError as reason:
            logger.warning("check '%s' of '%s' was left out: %s.", name, subject.name, reason)
            continue
        except AssertionError as error:
            broken[name] = error
        ran.append(name)
    if broken:
        lines = "\n".join(f"  {name}: {error}" for name, error in broken.items())
        first = next(iter(broken.values()))
        raise AssertionError(f"'{subject.name}' breaks {len(broken)} of {len(ran)} promises:\n{lines}") from first
    return ran
