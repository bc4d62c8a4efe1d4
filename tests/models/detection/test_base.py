"""What detectors share: targets for assignment, and which objects can have a positive."""

from __future__ import annotations

import pytest
import torch

from saccade.models.detection.base import Detector, match_one_to_one, unpack_targets
from saccade.models.registry import create_model, list_models


@pytest.mark.parametrize("name", list_models("detection"))
def test_every_detector_keeps_its_contract(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name)
    assert isinstance(model, Detector)
    assert model.decoded_keys[:4] == ("boxes", "scores", "labels", "count")
    assert model.nms.score_threshold <= 0.05  # what average precision needs
    boxes = torch.tensor([[0.0, 0.0, 60.0, 60.0]])
    assert model.assignable(boxes, (320, 352)).tolist() == [True]
    assert model.assignable(boxes[:0], (320, 352)).tolist() == []


@pytest.mark.parametrize("padded", [False, True])
def test_crowds_difficult_objects_and_padding_do_not_train(padded: bool) -> None:
    from saccade.structures.batch import pad_targets

    targets = [
        {
            "boxes": torch.arange(12).view(3, 4),
            "labels": torch.tensor([4, 5, 6]),
            "iscrowd": torch.tensor([False, True, False]),
            "difficult": torch.tensor([True, False, False]),
        },
        {
            "boxes": torch.zeros(0, 4, dtype=torch.int64),
            "labels": torch.zeros(0, dtype=torch.int64),
            "iscrowd": torch.zeros(0, dtype=torch.bool),
            "difficult": torch.zeros(0, dtype=torch.bool),
        },
    ]
    given = pad_targets(targets) if padded else targets
    boxes, labels = unpack_targets(given)
    assert boxes.dtype == torch.float32
    assert boxes.shape == (2, 8, 4)
    assert labels.tolist() == [[-1, -1, 6, *[-1] * 5], [-1] * 8]
    if padded:
        assert given["labels"].tolist()[0][:3] == [4, 5, 6]  # the targets themselves stay


def test_as_many_objects_as_possible_get_a_candidate() -> None:
    # Greedy choice would give the first object candidate 0 and leave nothing to the second.
    candidates = torch.tensor([[True, True, False], [True, False, False], [False, False, False], [True, True, True]])
    assert match_one_to_one(candidates).tolist() == [True, True, False, True]
    assert match_one_to_one(torch.zeros(0, 5, dtype=torch.bool)).tolist() == []
