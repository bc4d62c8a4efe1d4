"""The contract of every network: a few methods, a few attributes, nothing else public."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from saccade.structures.class_rows import ClassRows
from saccade.structures.input_spec import InputSpec
from saccade.structures.point_layout import PointLayout
from saccade.weights.heads import EarlierHead

if TYPE_CHECKING:
    from saccade.structures.batch import Batch
    from saccade.structures.dataset import VisionDataset

__all__ = ["Decoded", "Model", "Outputs", "Targets"]

# A fixed structure of tensors, so that forward compiles whole and exports.
Outputs = Mapping[str, Tensor]
# Fixed-size tensors with leading dimension B; ragged predictions carry their valid count under "count".
Decoded = dict[str, Tensor]
# Torchvision's list of dicts, or the same padded into one dict of tensors (structures.batch.pad_targets).
Targets = Sequence[Mapping[str, Tensor]] | Mapping[str, Tensor]


class Model(nn.Module):
    """Base class of every network: the attributes and methods that the engine, export and weights rely on.

    A *part* is the dotted name of a submodule or of a parameter. ``stage_names``, ``neck_names``, ``head_names`` and
    ``auxiliary_heads`` together hold every parameter, each once.

    Attributes:
        task: Name of the task (a file of ``saccade.tasks``).
        num_classes: Classes 0..N-1; ``len(class_names)`` once trained. Detectors never count background; label maps
            may, as class 0 by its name.
        class_names: Their names once trained, else empty.
        single_object: It finds one object an image, so that images with several are cropped object by object.
        point_layout: Names, mirrored pairs and skeleton of the keypoints that it learnt; empty where it has none.
        input_spec: How images become this network's input.
        input_names: Further inputs of ``forward``, such as ``("proposals",)``.
        target_names: Kinds of ground truth that ``loss`` reads, such as ``("boxes", "labels")``.
        decoded_keys: Keys of a prediction: those of the task that are required, and those optional ones that this
            network gives.
        finish: Name of the function that runs after the graph (:mod:`saccade.models.finish`); empty: nothing.
        finish_options: Keyword arguments of that function, plain JSON.
        score_thresholds: Score of each class below which ``predict`` leaves objects out, chosen on validation data;
            empty: none were chosen.
        feature_channels: Channels of each feature map that ``features`` returns, fine to coarse.
        feature_strides: Stride of each of those maps.
        builder_name, builder_args: What ``create_model`` needs to build it again (set by the registry).
        loss_groups: Optimiser groups in the order in which they step; empty for one optimiser. With groups,
            ``group_parameters(name)`` gives the parameters that the group's optimiser updates.
        stage_names: Parts from the stem to the last stage, in the order in which data flows; training only the last k
            stages means the last k of these that are submodules with weights, the necks and the heads.
        neck_names: Parts between backbone and heads, such as a feature pyramid.
        head_names: Parts that predict, which train in every setting.
        auxiliary_heads: Further parts that run in ``loss`` only.
        class_rows: Layout of every tensor whose shape knows ``num_classes``, by its name in the state dict.
        layer_names: Layers from the input to the last below the heads, each as the names of its parts, for a learning
            rate that falls with depth; empty: the children of each stage, in order.
        earlier_heads: Heads for other classes that it had over the same weights; they travel in its checkpoints.
        shots: Examples a class of the episodes that it trains on (``data.episode.shots``), the first of each class in a
            batch; set by the run.
        work_folder: Folder in which ``solve`` may keep large intermediate results, which a run resumed after a kill
            finds again; None outside of a run.

    Example:
        >>> model = saccade.create_model("lenet5")
        >>> images = torch.zeros(2, 1, 32, 32)
        >>> model(images)["logits"].shape, model.predict(images)["probabilities"].shape
        (torch.Size([2, 10]), torch.Size([2, 10]))
        >>> sorted(model.loss(images, {"labels": torch.tensor([3, 7])}))
        ['classification']
    """

    task: str
    num_classes: int
    input_spec: InputSpec
    class_names: tuple[str, ...] = ()
    point_layout: PointLayout = PointLayout()
    single_object: bool = False
    input_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    decoded_keys: tuple[str, ...] = ()
    finish: str = ""
    finish_options: Mapping[str, Any] = {}
    score_thresholds: tuple[float, ...] = ()
    feature_channels: tuple[int, ...] = ()
    feature_strides: tuple[int, ...] = ()
    builder_name: str = ""
    builder_args: Mapping[str, Any] = {}
    loss_groups: tuple[str, ...] = ()
    stage_names: tuple[str, ...] = ()
    neck_names: tuple[str, ...] = ()
    head_names: tuple[str, ...] = ()
    auxiliary_heads: tuple[str, ...] = ()
    class_rows: Mapping[str, ClassRows] = {}
    layer_names: tuple[tuple[str, ...], ...] = ()
    earlier_heads: tuple[EarlierHead, ...] = ()
    shots: int = 1
    work_folder: Path | None = None

    # ``*args: Any, **inputs: Any`` lets a subclass name just the arguments that it has.
    def forward(self, images: Tensor, *args: Any, **inputs: Any) -> Outputs:
        """Raw outputs for normalised ``images`` (B, C, H, W) and the tensors that ``input_names`` declares, by name."""
        raise NotImplementedError

    def loss(self, images: Tensor, targets: Targets, *args: Any, **inputs: Any) -> dict[str, Tensor]:
        """Named loss terms, already weighted.

        What is minimised is their sum. Works in train and eval mode and for 0 boxes. A model with ``loss_groups`` takes
        ``group: str`` (which of them steps now) and ``shared: dict[str, Tensor]`` (new for each batch; the first group
        leaves there what the next ones need) as third and fourth argument.

        Args:
            images: As ``forward`` takes them.
            targets: Ground truth, padded or not.
            *args: Group and shared tensors, for a model with groups.
            **inputs: Tensors that ``input_names`` declares.
        """
        raise NotImplementedError

    def decode(self, outputs: Outputs) -> Decoded:
        """Batched predictions of fixed size. The keys belong to the task, see ``saccade.tasks``."""
        raise NotImplementedError

    def predict(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Decoded predictions for normalised ``images``: ``decode(forward(images))``, decoded in float32.

        Every runtime, export, folding of BatchNorm and explanation call this and never compose the two themselves; a
        model whose last head runs on final boxes overrides it.
        """
        outputs = self(images, **inputs)
        return self.decode({name: _as_float32(value) for name, value in outputs.items()})

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps for dense models, fine to coarse, as ``feature_channels`` and ``feature_strides`` describe."""
        raise NotImplementedError

    def group_parameters(self, group: str) -> Iterable[nn.Parameter]:
        """Parameters that the optimiser of one of ``loss_groups`` updates."""
        raise NotImplementedError

    def begin(self, step: str, data: VisionDataset) -> None:
        """Prepare a step of training: anchors by k-means, weights shared or copied.

        Args:
            step: Name of the step; empty for a run without steps.
            data: What it trains on.
        """

    def solve(self, step: str, batches: Iterable[Batch]) -> dict[str, float]:
        """Do a step without gradients (support vector machines, ridge regression, SVD); figures for the log.

        Args:
            step: Name of the step.
            batches: One pass over the training images, normalised and on the model's device.
        """
        return {}

    def samples(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Images by which a person sees how far training is, (B, 3, H, W) of 0..255 by title; none by default.

        A run draws them for a few fixed images after every epoch (``samples/`` in its folder).
        """
        return {}

    def training_state(self) -> dict[str, Tensor]:
        """Tensors that a resumed run needs and a checkpoint does not, such as a buffer of earlier images."""
        return {}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`training_state` returned."""


def _as_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
