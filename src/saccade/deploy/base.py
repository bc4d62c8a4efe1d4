"""Protocol of runtimes, and what those who use one ask about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from saccade.structures.input_spec import InputSpec
from saccade.structures.point_layout import PointLayout

if TYPE_CHECKING:
    from torch import Tensor

    from saccade.models.base import Decoded

__all__ = ["Runtime", "max_detections_of", "num_classes_of", "points_of", "score_thresholds_of"]


class Runtime(Protocol):
    """Protocol of everything that predicts: pixels in, decoded tensors out.

    A network in memory and an exported file look the same from here.

    Attributes:
        task: Name of the task.
        class_names: Names of labels 0..N-1.
        input_spec: How images become its input.
        input_names: Further inputs that it takes, by name.
        decoded_keys: Keys of the decoded tensors.
        name: Model, engine and precision, for messages and tables.

    A runtime may be called from several threads at once; those whose engine cannot, take turns.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime: Runtime = EagerRuntime(saccade.create_model("lenet5"))
        >>> runtime.task, runtime.decoded_keys, runtime.input_spec.size
        ('classification', ('probabilities',), (32, 32))
    """

    task: str
    class_names: tuple[str, ...]
    input_spec: InputSpec
    input_names: tuple[str, ...]
    decoded_keys: tuple[str, ...]
    name: str

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Predict: decoded tensors, on the CPU, of ``images`` (B, C, H, W), uint8 RGB (or grey) on a canvas."""
        ...


def num_classes_of(runtime: Runtime) -> int:
    """Classes that a runtime predicts, also where it does not know their names; 0 where that is not known either.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime = EagerRuntime(saccade.create_model("lenet5"))
        >>> runtime.class_names, num_classes_of(runtime)
        ((), 10)
    """
    return len(runtime.class_names) or int(getattr(runtime, "num_classes", 0))


def points_of(runtime: Runtime) -> PointLayout:
    """Layout of the keypoints that a runtime predicts; empty where it predicts none or does not know it.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> from saccade.structures.point_layout import PointLayout
        >>> model = saccade.create_model("dsnt", num_classes=2)
        >>> model.point_layout = PointLayout(("left_eye", "right_eye"), flip_pairs=((0, 1),))
        >>> points_of(EagerRuntime(model)).flip_pairs
        ((0, 1),)
    """
    layout: PointLayout = getattr(runtime, "point_layout", PointLayout())
    return layout


def max_detections_of(predictor: Any) -> int | None:
    """Most detections that a network or a runtime outputs for an image; None where it has no such limit.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> model = saccade.create_model("yolox_nano")
        >>> max_detections_of(model), max_detections_of(EagerRuntime(model)), max_detections_of(torch.nn.ReLU())
        (100, 100, None)
    """
    number = getattr(predictor, "max_detections", getattr(getattr(predictor, "nms", None), "max_detections", None))
    return number if isinstance(number, int) else None


def score_thresholds_of(runtime: Runtime) -> tuple[float, ...]:
    """Score of each class below which a model leaves objects out when it predicts; empty where none were chosen.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> model = saccade.create_model("yolox_nano", num_classes=2)
        >>> model.score_thresholds = (0.3, 0.55)
        >>> score_thresholds_of(EagerRuntime(model))
        (0.3, 0.55)
    """
    return tuple(getattr(runtime, "score_thresholds", ()))
