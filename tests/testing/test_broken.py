"""The proof that the checks can fail: for each of them, networks that break its promise and no other on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from tests.testing.networks import TinyClassifier, TinyDetector
from torch import Tensor, nn

from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.models.detection.base import unpack_targets
from saccade.models.registry import register_model
from saccade.ops.nms import NmsKind
from saccade.structures.class_rows import linear_rows
from saccade.testing import CHECKS, Subject


@dataclass(frozen=True)
class Broken:
    check: str
    message: str
    network: type[Model]
    registered: bool = True


BROKEN: list[Broken] = []


def breaks(check: str, message: str, registered: bool = True) -> Callable[[type[Model]], type[Model]]:
    def decorate(network: type[Model]) -> type[Model]:
        BROKEN.append(Broken(check, message, network, registered))
        return network

    return decorate


def builder_of(broken: Broken) -> Callable[..., Model]:
    def build(num_classes: int = 3) -> Model:
        return broken.network(num_classes)

    build.__name__ = broken.network.__name__
    return register_model(broken.network.task, "nowhere")(build) if broken.registered else build


@breaks("attributes", "stage_names are empty")
class NoStages(TinyClassifier):
    stage_names = ()


@breaks("attributes", "decoded_keys name .'mood'., which classification does not know")
class UnknownKey(TinyClassifier):
    decoded_keys = ("probabilities", "mood")


@breaks("attributes", "decoded_keys lack .'count'.")
class MissingKey(TinyDetector):
    decoded_keys = ("boxes", "scores", "labels")


@breaks("attributes", "'bxes' is no known kind .* Did you mean 'boxes'")
class UnknownKind(TinyDetector):
    target_names = ("bxes", "labels")


@breaks("attributes", "put @register_model before", registered=False)
class Unregistered(TinyClassifier):
    pass


@breaks("attributes", "size .16, 16. is no multiple of pad_multiple 32")
class UnevenCanvas(TinyClassifier):
    input_spec = replace(TinyClassifier.input_spec, pad_multiple=32)


@breaks("attributes", "building on torch's meta device, .* fails with RuntimeError")
class NeedsWeights(TinyClassifier):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__(num_classes)
        self.scale = self.head.weight.abs().max().item()


@breaks("parts_hold_every_parameter", r"no part holds the parameters neck\.weight, neck\.bias")
class LooseNeck(TinyDetector):
    neck_names = ()


@breaks("parts_hold_every_parameter", r"more than one part holds the parameters stage\.0\.weight")
class StageIsHeadToo(TinyClassifier):
    head_names = ("head", "stage.0")


@breaks("parts_hold_every_parameter", r"part 'stem\.2' has nothing to train")
class EmptyPart(TinyClassifier):
    stage_names = ("stem", "stem.2", "stage")


@breaks("class_rows", r"class_rows lacks head\.bias")
class RowsWithoutBias(TinyClassifier):
    class_rows = linear_rows("head", bias=False)


@breaks("class_rows", r"'head\.weight' has rows of 8 classes by class_rows, of 3")
class RowsOfBoxesAsClasses(TinyDetector):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__(num_classes)
        self.class_rows = linear_rows("head")


@breaks("class_rows", "class_rows is empty, and yet the network is built for other classes")
class NoRows(TinyClassifier):
    class_rows = {}  # noqa: RUF012


@breaks("decoded_shapes", r"'probabilities' has shape \(3, 2\), which is not BC")
class Transposed(TinyClassifier):
    def decode(self, outputs: Outputs) -> Decoded:
        return {"probabilities": outputs["logits"].softmax(1).T}


@breaks("decoded_shapes", "predict gives scores, boxes, labels, count, and decoded_keys are boxes, scores")
class OtherOrder(TinyDetector):
    def decode(self, outputs: Outputs) -> Decoded:
        decoded = super().decode(outputs)
        return {name: decoded[name] for name in ("scores", "boxes", "labels", "count")}


@breaks("decoded_shapes", r"'probabilities' is torch\.float64, not torch\.float32")
class Doubles(TinyClassifier):
    def decode(self, outputs: Outputs) -> Decoded:
        return {"probabilities": outputs["logits"].double().softmax(1)}


@breaks("decoded_shapes", r"'probabilities' leaves 0\.\.1")
class NoSoftmax(TinyClassifier):
    def decode(self, outputs: Outputs) -> Decoded:
        return {"probabilities": outputs["logits"]}


@breaks("decoded_shapes", "'boxes' is not zero in the rows beyond 'count'")
class LeavesRowsBehind(TinyDetector):
    def decode(self, outputs: Outputs) -> Decoded:
        decoded = super().decode(outputs)
        return {**decoded, "boxes": decoded["boxes"] + 1, "count": decoded["count"].clamp(max=5)}


@breaks("decoded_shapes", "nothing is found in the example images")
class FindsNothing(TinyDetector):
    def decode(self, outputs: Outputs) -> Decoded:
        return {name: torch.zeros_like(value) for name, value in super().decode(outputs).items()}


@breaks("decoded_shapes", "forward: 'logits' is a list, not a tensor")
class Ragged(TinyClassifier):
    def forward(self, images: Tensor) -> Outputs:
        return {"logits": list(super().forward(images)["logits"])}  # type: ignore[dict-item]

    def decode(self, outputs: Outputs) -> Decoded:
        return super().decode({"logits": torch.stack(outputs["logits"])})


@breaks("boxes_by_falling_score", "rows do not come by falling score")
class WorstFirst(TinyDetector):
    def decode(self, outputs: Outputs) -> Decoded:
        return {name: value.flip(1) if value.ndim > 1 else value for name, value in super().decode(outputs).items()}


@breaks("boxes_by_falling_score", r"boxes of one class overlap by 1\.00, beyond nms\.iou")
class EachBoxTwice(TinyDetector):
    def decode(self, outputs: Outputs) -> Decoded:
        decoded = super().decode(outputs)
        twice = {name: value.repeat_interleave(2, 1) for name, value in decoded.items() if name != "count"}
        return {**twice, "count": 2 * decoded["count"]}


class LargeBoxes(TinyDetector):
    """Its boxes overlap their neighbours by more than half."""

    def decode(self, outputs: Outputs) -> Decoded:
        return super().decode({**outputs, "boxes": outputs["boxes"] + torch.tensor([0.0, 0.0, 1.5, 1.5])})


@breaks("boxes_by_falling_score", r"boxes of any two classes overlap by 0\.\d\d, beyond nms\.iou")
class SuppressesByClassAlone(LargeBoxes):
    def decode(self, outputs: Outputs) -> Decoded:
        # All classes are asked for, and one class at a time is given.
        self.nms = replace(self.nms, class_agnostic=False)
        decoded = super().decode(outputs)
        self.nms = replace(self.nms, class_agnostic=True)
        return decoded


@breaks("boxes_by_falling_score", "predict does not follow it")
class OwnSuppression(LargeBoxes):
    def decode(self, outputs: Outputs) -> Decoded:
        given, self.nms = self.nms, replace(self.nms, iou=0.5)
        decoded = super().decode(outputs)
        self.nms = given
        return decoded


@breaks("boxes_by_falling_score", r"boxes of one class overlap by 0\.\d\d, beyond nms\.iou")
class NeverSuppresses(LargeBoxes):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__(num_classes)
        self.nms = replace(self.nms, kind="none")

    def decode(self, outputs: Outputs) -> Decoded:
        given, self.nms = self.nms, replace(self.nms, kind="none")
        decoded = super().decode(outputs)
        self.nms = given
        return decoded


@breaks("boxes_by_falling_score", "labels are not 0..num_classes-1")
class LabelsBehindTheLastClass(TinyDetector):
    def decode(self, outputs: Outputs) -> Decoded:
        decoded = super().decode(outputs)
        return {**decoded, "labels": decoded["labels"] + self.num_classes * (decoded["scores"] > 0)}


@breaks("loss_is_finite", "loss: 'box' is nan with 0 and 0 objects in the images, in train mode")
class NanWithoutObjects(TinyDetector):
    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        objects = (unpack_targets(targets)[1] >= 0).sum()
        return {name: term * objects / objects for name, term in super().loss(images, targets).items()}


@breaks("loss_is_finite", "loss with 0 and 0 objects .* fails with IndexError")
class NeedsObjects(TinyDetector):
    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        boxes, labels = unpack_targets(targets)
        largest = boxes[labels >= 0].amax(0)
        return {name: term / largest.max() for name, term in super().loss(images, targets).items()}


@breaks("loss_is_finite", r"loss gives the terms \['objectness'\] with 0 and 0 objects")
class OtherTermsWithoutObjects(TinyDetector):
    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        terms = super().loss(images, targets)
        return terms if (unpack_targets(targets)[1] >= 0).any() else {"objectness": terms["objectness"]}


@breaks("loss_is_finite", "loss gives terms that are not scalars")
class TermOfEachImage(TinyClassifier):
    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")


@breaks("loss_is_finite", "and then .* for the same images")
class CountsItsCalls(TinyClassifier):
    calls = 0

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        return super().criterion(logits, labels) * self.calls


@breaks("loss_is_finite", "for a list of targets, .* for the same, padded")
class CountsPadding(TinyDetector):
    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        labels = targets["labels"] if isinstance(targets, Mapping) else torch.cat([one["labels"] for one in targets])
        return {name: term * labels.numel() for name, term in super().loss(images, targets).items()}


@breaks("gradients_reach_every_part", r"stem\.0\.weight, .*: no gradient with 2 and 1 objects")
class DetachedStem(TinyClassifier):
    def features(self, images: Tensor) -> list[Tensor]:
        fine = self.stem(images)
        return [fine, self.stage(fine.detach())]


@breaks("gradients_reach_every_part", r"spare\.weight: no gradient")
class UnusedPart(TinyClassifier):
    stage_names = ("stem", "stage", "spare")

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__(num_classes)
        self.spare = nn.Linear(8, 8, bias=False)


@breaks("gradients_reach_every_part", r"stem\.0\.weight, .*: the gradient is zero")
class StemTimesZero(TinyClassifier):
    def features(self, images: Tensor) -> list[Tensor]:
        fine = self.stem(images)
        return [fine, self.stage(fine * 0)]


@breaks("gradients_reach_every_part", r"neck\.weight, .*: no gradient with 0 and 0")
class IdleWithoutObjects(TinyDetector):
    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        if (unpack_targets(targets)[1] >= 0).any():
            return super().loss(images, targets)
        zero = images.new_zeros((), requires_grad=True)
        return {"box": zero * 1, "objectness": zero * 1, "class": zero * 1}


@breaks("features", r"features gives .*\(2, 8, 4, 4\).*declare .*\(2, 8, 2, 2\)")
class CoarserThanItIs(TinyClassifier):
    feature_strides = (2, 8)


@breaks("odd_size", r"predict on a canvas of \(21, 27\) fails with RuntimeError")
class MultiplesOnly(TinyClassifier):
    def features(self, images: Tensor) -> list[Tensor]:
        fine = self.stem(F.pixel_shuffle(F.pixel_unshuffle(images, 2), 2))
        return [fine, self.stage(fine)]


@breaks("checkpoint_round_trip", "the loaded network: 'logits' is not equal")
class ForgetsItsShift(TinyClassifier):
    shift: Tensor

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__(num_classes)
        self.register_buffer("shift", torch.rand(num_classes), persistent=False)

    def forward(self, images: Tensor) -> Outputs:
        return {"logits": super().forward(images)["logits"] + self.shift}


@breaks("checkpoint_round_trip", "saving and loading a checkpoint fails with WeightsError: .*@register_model", False)
class NotFoundAgain(TinyClassifier):
    pass


@breaks("determinism", "forward in eval mode, called again: 'logits' is not equal")
class AlwaysDropsOut(TinyClassifier):
    def forward(self, images: Tensor) -> Outputs:
        return {"logits": F.dropout(super().forward(images)["logits"], 0.5, training=True)}


@breaks("determinism", "predict in eval mode, called again: 'probabilities' is not equal")
class GuessesInDecode(TinyClassifier):
    def decode(self, outputs: Outputs) -> Decoded:
        return {"probabilities": (outputs["logits"] + torch.randn_like(outputs["logits"])).softmax(1)}


@breaks("batch_invariance", "image 0 of 3, alone and in the batch: 'logits' differs by .*, which is not rounding")
class LooksAtItsNeighbours(TinyClassifier):
    def forward(self, images: Tensor) -> Outputs:
        logits = super().forward(images)["logits"]
        return {"logits": logits - logits.mean(0)}


@breaks("batch_invariance", "image 0 of 3, alone and in the batch: DIFFERENT numbers")
class DecodesItsNeighbours(TinyClassifier):
    def decode(self, outputs: Outputs) -> Decoded:
        return {"probabilities": (outputs["logits"] - outputs["logits"].amax(0)).softmax(1)}


@breaks("fullgraph", r"torch\.compile\(fullgraph=True\) fails with Unsupported")
class AsksItsTensors(TinyClassifier):
    def forward(self, images: Tensor) -> Outputs:
        logits = super().forward(images)["logits"]
        return {"logits": logits if logits.max() > 0 else 2 * logits}


@breaks("torch_export", r"torch\.export with any number of images fails with .*batch")
class LoopsOverImages(TinyClassifier):
    def forward(self, images: Tensor) -> Outputs:
        return {"logits": torch.stack([super(LoopsOverImages, self).forward(one[None])["logits"][0] for one in images])}


@breaks("runtime_formats", "export to onnx fails with ExportError: .* cannot be exported as one graph")
class AsksInDecode(TinyClassifier):
    def decode(self, outputs: Outputs) -> Decoded:
        logits = outputs["logits"]
        return {"probabilities": (logits if logits.max() > 0 else 2 * logits).softmax(1)}


@breaks("runtime_formats", "DIFFERENT numbers")
class OtherwiseWhereItIsCompiled(TinyClassifier):
    def decode(self, outputs: Outputs) -> Decoded:
        return {"probabilities": (outputs["logits"] * (1.1 if torch.compiler.is_compiling() else 1.0)).softmax(1)}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken.check}-{broken.network.__name__}")
def test_a_broken_promise_is_caught(broken: Broken) -> None:
    dense = issubclass(broken.network, TinyDetector)
    size, odd_size = ((64, 64), (75, 101)) if dense else ((16, 16), (21, 27))
    with pytest.raises(AssertionError, match=broken.message):
        CHECKS[broken.check](Subject(builder_of(broken), {"num_classes": 3}, size, odd_size))


def test_every_check_is_shown_to_fail() -> None:
    assert {broken.check for broken in BROKEN} == set(CHECKS)


@pytest.mark.parametrize("kind", get_args(NmsKind))
@pytest.mark.parametrize("agnostic", [False, True])
def test_suppression_of_every_kind_keeps_the_promise(kind: NmsKind, agnostic: bool) -> None:
    subject = Subject(builder_of(Broken("", "", LargeBoxes)), {"num_classes": 3}, (64, 64), (75, 101))
    model = subject.model
    assert isinstance(model, TinyDetector)
    model.nms = replace(model.nms, kind=kind, class_agnostic=agnostic)
    CHECKS["boxes_by_falling_score"](subject)
