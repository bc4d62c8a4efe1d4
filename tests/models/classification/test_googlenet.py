"""GoogLeNet: auxiliary classifiers, and what travels with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision

from saccade.engine.train.config import FreezeConfig
from saccade.engine.train.optim import apply_freeze
from saccade.models.registry import create_model
from saccade.weights import load_weights


def test_auxiliary_losses_are_torchvisions_at_three_tenths() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.googlenet(transform_input=False, init_weights=False, num_classes=5).train()
    model = create_model("googlenet_bn", num_classes=5).train()
    model.load_state_dict(reference.state_dict())
    for net in (reference, model):
        for module in net.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    images, labels = torch.randn(3, 3, 96, 96), torch.tensor([0, 3, 4])
    outputs = reference(images)
    terms = model.loss(images, {"labels": labels})
    expected = {
        "classification": F.cross_entropy(outputs.logits, labels),
        "auxiliary1": 0.3 * F.cross_entropy(outputs.aux_logits1, labels),
        "auxiliary2": 0.3 * F.cross_entropy(outputs.aux_logits2, labels),
    }
    assert list(terms) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-5)


def test_the_papers_form_has_five_by_five_and_no_norm() -> None:
    model = create_model("googlenet", num_classes=4)
    assert model.inception3a.branch3[1].conv.kernel_size == (5, 5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    heads = sum(parameter.numel() for head in (model.aux1, model.aux2) for parameter in head.parameters())
    with torch.device("meta"):
        whole = sum(parameter.numel() for parameter in create_model("googlenet").parameters())
    # The figure without heads of the reference; a head has 1024 weights and a bias for each class.
    assert whole - heads - 2 * 996 * 1025 == 6998552


def test_auxiliary_heads_follow_the_classes_and_the_freezing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(transform_input=False, init_weights=False).state_dict()
    torch.save(theirs, tmp_path / "all.pth")
    model = create_model("googlenet_bn", num_classes=3)
    report = load_weights(model, tmp_path / "all.pth")
    assert set(report.head) == {
        f"{head}.{part}" for head in ("fc", "aux1.fc2", "aux2.fc2") for part in ("weight", "bias")
    }
    without = {name: value for name, value in theirs.items() if not name.startswith("aux")}
    torch.save(without, tmp_path / "without.pth")
    report = load_weights(create_model("googlenet_bn"), tmp_path / "without.pth")
    assert report.missing
    assert all(name.startswith("aux") for name in report.missing)
    apply_freeze(model, FreezeConfig(trainable="head"))
    moving = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert moving == {"fc", "aux1", "aux2"}


@pytest.mark.parametrize("name", ["googlenet", "googlenet_bn"])
def test_auxiliary_heads_are_no_part_of_prediction(name: str) -> None:
    model = create_model(name, num_classes=3).eval()
    ran = []
    for head in (model.aux1, model.aux2):
        head.register_forward_hook(lambda *_: ran.append(True))
    with torch.no_grad():
        assert list(model(torch.randn(1, 3, 96, 96))) == ["logits"]
        assert not ran
