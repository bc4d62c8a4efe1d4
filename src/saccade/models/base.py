"""The contract of every network: four methods, a few attributes, nothing else public."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from saccade.structures.input_spec import InputSpec
from saccade.weights.heads import EarlierHead

__all__ = ["Decoded", "Model", "Outputs", "Targets"]

# A fixed structure of tensors, so that forward compiles whole and exports.
Outputs = Mapping[str, Tensor]
# Fixed-size tensors with leading dimension B; ragged answers carry their valid count under "count".
Decoded = dict[str, Tensor]
# Torchvision's list of dicts, or the same padded into one dict of tensors (ops.matching.pad_targets).
Targets = Sequence[Mapping[str, Tensor]] | Mapping[str, Tensor]


class Model(nn.Module):
    """Base of every network.

    Attributes:
        task: Name of the task (a file of ``saccade.tasks``).
        num_classes: Classes 0..N-1; never counts background.
        class_names: Their names once trained, else empty.
        input_spec: How images become this network's input.
        feature_channels: Channels of each map that ``features`` returns, fine to coarse.
        feature_strides: Stride of each of those maps.
        builder_name, builder_args: What ``create_model`` needs to build it again (set by the registry).
        loss_groups: Optimiser groups in the order in which they step; empty for one optimiser. With groups, ``loss``
            takes the group's name as
            third argument and ``group_parameters(name)`` gives what its optimiser moves.
        stage_names: Submodules from the stem to the last stage, in the order in which data flows; training only the
            last k stages means the last k of these and the head.
        layer_names: Layers from the input to the last below the head, each as the names of its parts, for a learning
            rate that falls with depth; empty: the children of each stage, in order.
        head_name: Submodule that a new set of classes replaces (the only one whose shapes know ``num_classes``).
        auxiliary_heads: Further submodules that know ``num_classes``, which run in ``loss`` only.
        earlier_heads: Heads for other classes that it had over the same weights; they travel in its checkpoints.
    """

    task: str
    num_classes: int
    input_spec: InputSpec
    class_names: tuple[str, ...] = ()
    feature_channels: tuple[int, ...] = ()
    feature_strides: tuple[int, ...] = ()
    builder_name: str = ""
    builder_args: Mapping[str, Any] = {}
    loss_groups: tuple[str, ...] = ()
    stage_names: tuple[str, ...] = ()
    layer_names: tuple[tuple[str, ...], ...] = ()
    head_name: str = ""
    auxiliary_heads: tuple[str, ...] = ()
    earlier_heads: tuple[EarlierHead, ...] = ()

    def forward(self, images: Tensor) -> Outputs:
        """Raw outputs for normalised ``images`` (B, C, H, W)."""
        raise NotImplementedError

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Named loss terms, already weighted.

        What is minimised is their sum. Works in train and eval mode and for 0 boxes.
        """
        raise NotImplementedError

    def decode(self, outputs: Outputs) -> Decoded:
        """Batched answers of fixed size. The keys belong to the task, see ``saccade.tasks``."""
        raise NotImplementedError

    def group_parameters(self, group: str) -> Iterable[nn.Parameter]:
        """What the optimiser of one of ``loss_groups`` moves."""
        raise NotImplementedError

    def features(self, images: Tensor) -> list[Tensor]:
        """Maps for dense models, fine to coarse, as ``feature_channels`` and ``feature_strides`` say."""
        raise NotImplementedError
