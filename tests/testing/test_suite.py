"""``check_model``: which checks run, what is said of those that fail, and networks of every shape of the contract."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.testing.networks import TinyClassifier, TinyDetector, tiny_classifier
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.models.finish import register_finish
from saccade.models.registry import register_model
from saccade.structures.batch import pad_targets
from saccade.structures.class_rows import linear_rows
from saccade.structures.input_spec import InputSpec
from saccade.structures.kinds import Kind, register_kind
from saccade.testing import CHECKS, Subject, check_model
from saccade.testing.comparing import NotApplicableError

SMALL = {"size": (16, 16), "odd_size": (21, 27)}


def all_but(*names: str) -> list[str]:
    return [name for name in CHECKS if name not in names]


class ProposalClassifier(Model):
    """Classifies the boxes that it is given, best first."""

    task = "detection"
    input_names = ("proposals",)
    target_names = ("boxes", "labels")
    decoded_keys = ("boxes", "scores", "labels", "count")
    input_spec = InputSpec((16, 16))
    feature_channels, feature_strides = (8,), (2,)
    stage_names, head_names = ("body",), ("head",)
    class_rows = linear_rows("head")

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, num_classes)

    def features(self, images: Tensor) -> list[Tensor]:
        return [self.body(images)]

    def forward(self, images: Tensor, proposals: Tensor) -> Outputs:
        maps = self.body(images)
        size = torch.tensor([images.shape[3], images.shape[2]], dtype=maps.dtype, device=maps.device)
        centres = (proposals[..., :2] + proposals[..., 2:]) / size - 1
        rows = F.grid_sample(maps, centres[:, None], align_corners=False)[:, :, 0].transpose(1, 2)
        return {"logits": self.head(rows), "boxes": proposals}

    def loss(self, images: Tensor, targets: Targets, proposals: Tensor) -> dict[str, Tensor]:
        logits, labels = self(images, proposals)["logits"], pad_targets(targets)["labels"]
        pairs = logits[:, : labels.shape[1]].flatten(0, 1), labels[:, : logits.shape[1]].flatten()
        return {"class": F.cross_entropy(*pairs, ignore_index=-1, reduction="sum")}

    def decode(self, outputs: Outputs) -> Decoded:
        scores, labels = outputs["logits"].softmax(-1).max(-1)
        scores, rows = scores.topk(scores.shape[1])
        boxes = outputs["boxes"].gather(1, rows[..., None].expand(-1, -1, 4))
        return {
            "boxes": boxes,
            "scores": scores,
            "labels": labels.gather(1, rows),
            "count": (scores > 0).sum(1),
        }


@register_model("detection", "nowhere")
def proposal_classifier(num_classes: int = 3) -> ProposalClassifier:
    return ProposalClassifier(num_classes)


def test_a_network_with_further_inputs_goes_through_all_checks() -> None:
    name = f"{__name__}:proposal_classifier"
    assert proposal_classifier(3).builder_name == name
    assert check_model(proposal_classifier, options={"num_classes": 3}, **SMALL) == all_but()


@register_finish("tests: count votes")
def count_votes(decoded: Decoded, images: Tensor) -> Decoded:
    return {"probabilities": decoded["votes"] / decoded["votes"].sum(1, keepdim=True)}


class Voting(TinyClassifier):
    """Its graph ends with votes; the probabilities are made of them behind it."""

    finish = "tests: count votes"

    def decode(self, outputs: Outputs) -> Decoded:
        return {"votes": outputs["logits"].exp()}


@register_model("classification", "nowhere")
def voting(num_classes: int = 3) -> Voting:
    return Voting(num_classes)


def test_what_is_done_after_the_graph_counts_as_the_prediction() -> None:
    assert check_model(voting, options={"num_classes": 3}, **SMALL) == all_but("boxes_by_falling_score")


class TwoGroups(TinyClassifier):
    """Stem and the rest step apart, by losses that share one pass."""

    loss_groups = ("below", "above")

    def group_parameters(self, group: str) -> Iterable[nn.Parameter]:
        return [own for name, own in self.named_parameters() if name.startswith("stem") == (group == "below")]

    def loss(
        self, images: Tensor, targets: Targets, group: str = "", shared: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        shared = {} if shared is None else shared
        if group == "below":
            shared["fine"] = self.stem(images)
            return {"size": shared["fine"].square().mean()}
        logits = self.head(self.stage(shared["fine"].detach()).mean((2, 3)))
        return {"classification": self.criterion(logits, pad_targets(targets)["labels"])}


class GroupWithoutHead(TwoGroups):
    def group_parameters(self, group: str) -> Iterable[nn.Parameter]:
        return getattr(self, "stem" if group == "below" else "stage").parameters()


def test_groups_step_one_behind_the_other() -> None:
    wanted = ["loss_is_finite", "gradients_reach_every_part", "odd_size"]
    assert check_model(TwoGroups, options={"num_classes": 3}, only=wanted, **SMALL) == wanted
    with pytest.raises(AssertionError, match=r"head\.weight, head\.bias: no gradient"):
        check_model(GroupWithoutHead, options={"num_classes": 3}, only=wanted, **SMALL)


class OneSize(TinyClassifier):
    input_spec = replace(TinyClassifier.input_spec, fixed=True)


def test_a_check_without_meaning_is_left_out_and_the_log_tells(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NotApplicableError, match=r"input_spec\.fixed: it takes \(16, 16\) alone"):
        CHECKS["odd_size"](Subject(OneSize, {"num_classes": 3}, (16, 16)))
    with pytest.raises(ConfigError, match=r"'OneSize' takes one size alone: pass size=\(16, 16\)"):
        check_model(OneSize, options={"num_classes": 3})
    logging.getLogger("saccade").addHandler(caplog.handler)
    try:
        ran = check_model(
            OneSize,
            options={"num_classes": 3},
            size=(16, 16),
            exported=False,
            only=("odd_size", "features", "torch_export", "boxes_by_falling_score"),
        )
    finally:
        logging.getLogger("saccade").removeHandler(caplog.handler)
    assert ran == ["features"]
    for left_out in ("odd_size", "torch_export", "boxes_by_falling_score"):
        assert f"check '{left_out}' of 'OneSize' was left out" in caplog.text


class TwoFaults(TinyClassifier):
    feature_strides = (2, 8)

    def decode(self, outputs: Outputs) -> Decoded:
        return {"probabilities": outputs["logits"]}


def test_all_faults_are_listed_not_only_the_first() -> None:
    with pytest.raises(AssertionError) as raised:
        check_model(TwoFaults, options={"num_classes": 3}, only=("decoded_shapes", "features", "determinism"), **SMALL)
    first, *lines = str(raised.value).splitlines()
    assert first == "'TwoFaults' breaks 2 of 3 promises:"
    assert [line.split(":")[0].strip() for line in lines] == ["decoded_shapes", "features"]


def test_checks_are_chosen_by_name() -> None:
    few = ("attributes", "parts_hold_every_parameter", "features")
    assert check_model(tiny_classifier, only=few, leave_out=["features"]) == [
        "attributes",
        "parts_hold_every_parameter",
    ]
    with pytest.raises(ConfigError, match=r"no check is named 'feature'. Did you mean 'features'"):
        check_model(tiny_classifier, only=["feature"])
    with pytest.raises(ConfigError, match=r"no check is named 'fullgraf'. Did you mean 'fullgraph'"):
        check_model(tiny_classifier, leave_out=["fullgraf"])


class DepthToo(TinyDetector):
    """Learns from a kind of ground truth of its own."""

    target_names = ("boxes", "labels", "tests_depth")

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        depth = pad_targets(targets)["tests_depth"]
        near = self(images)["objectness"].mean() * depth.mean()
        return {**super().loss(images, targets), "depth": near}


def test_examples_of_an_unknown_kind_are_passed_in() -> None:
    register_kind("tests_depth", Kind("map"))
    with pytest.raises(ConfigError, match=r"learns from 'tests_depth', of which there is no example.* Pass one"):
        check_model(DepthToo, options={"num_classes": 3}, only=["gradients_reach_every_part", "loss_is_finite"])
    ran = check_model(
        DepthToo,
        options={"num_classes": 3},
        only=["loss_is_finite", "gradients_reach_every_part"],
        targets={"tests_depth": lambda model, size, objects: torch.full(size, 1.0 + objects)},
    )
    assert ran == ["loss_is_finite", "gradients_reach_every_part"]


def test_the_network_is_built_once_and_is_the_same_each_time() -> None:
    first, second = (Subject(tiny_classifier, {"num_classes": 3}, (16, 16)) for _ in range(2))
    assert first.model is first.model
    assert first.model is not second.model
    torch.manual_seed(3)  # which changes nothing
    for own, other in zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(own, other)
    # As if trained: statistics are not the initial ones, and predictions are spread.
    assert not torch.equal(first.model.stem[1].running_mean, torch.zeros(4))
