"""What heads over feature maps share: sizes of the maps without computing them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saccade.models.detection.base import Detector
from saccade.models.detection.dense import empty_maps, map_rows
from saccade.models.registry import create_model

DETECTORS = {
    "retinanet": {"channels": 32},
    "fcos": {"channels": 64},
    "ssd": {"levels": 4, "size": 96},
}


@pytest.mark.parametrize("name", DETECTORS)
def test_assignment_computes_no_features(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_model(name, num_classes=3, **DETECTORS[name])  # type: ignore[arg-type]
    assert isinstance(model, Detector)
    images, boxes = torch.zeros(1, 3, 96, 160), torch.tensor([[10.0, 10.0, 60.0, 60.0]])
    sizes = [level.shape[2:] for level in model.eval().features(images)]
    locations = model(images)["logits"].shape[1]
    model.train()
    features, devices = type(model).features, []

    def watched(self: Any, images: Tensor) -> Any:
        devices.append(images.device.type)
        return features(self, images)

    monkeypatch.setattr(type(model), "features", watched)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assignment = model.assign(images, [{"boxes": boxes, "labels": torch.tensor([0])}])
    assert model.assignable(boxes, (96, 160)).all()
    assert devices == ["meta"]  # once: then the sizes are known
    assert assignment.owners.shape == (1, locations)
    assert [level.shape[2:] for level in empty_maps(model, images, {})] == sizes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_rows_go_location_by_location_and_anchor_by_anchor() -> None:
    values = torch.arange(2 * 3 * 2 * 2.0).view(1, 6, 2, 2)  # two anchors of three columns
    rows = map_rows(values, 3)
    assert rows.shape == (1, 8, 3)
    assert torch.equal(rows[0, 0], values[0, :3, 0, 0])
    assert torch.equal(rows[0, 1], values[0, 3:, 0, 0])
    assert torch.equal(rows[0, 2], values[0, :3, 0, 1])
