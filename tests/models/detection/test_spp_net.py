"""SPP-Net: the paper's windows, one pass an image, layers below fixed, its classifier on canvases of any size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from saccade.engine.train.config import FreezeConfig
from saccade.engine.train.optim import apply_freeze
from saccade.models.classification.spp_net import SPPNetClassifier
from saccade.models.classification.trunks import build_trunk
from saccade.models.detection.spp_net import SPPNet, map_windows
from saccade.models.registry import create_model
from saccade.weights import load_weights


def build(**options: object) -> SPPNet:
    torch.manual_seed(0)
    model = create_model("spp_net", **{"num_classes": 3, "hidden": 16, "backbone": "resnet20_cifar", **options})
    assert isinstance(model, SPPNet)
    return model


def test_windows_hold_the_locations_whose_centres_lie_inside() -> None:
    torch.manual_seed(0)
    corners = torch.rand(300, 2, 2).sort(dim=1).values * torch.tensor([200.0, 150.0])
    boxes = corners.flatten(1)
    windows = map_windows(boxes, 16, (10, 13))
    for (x1, y1, x2, y2), window in zip(boxes.tolist(), windows.tolist(), strict=True):
        for low, high, first, last, count in ((x1, x2, window[0], window[2], 13), (y1, y2, window[1], window[3], 10)):
            inside = [cell for cell in range(math.floor(high / 16) + 2) if low < 16 * cell < high]
            if inside:  # floor(low / S) + 1 to ceil(high / S) - 1, within the map
                assert (first, last) == (min(inside[0], count - 1), min(inside[-1], count - 1))
            else:
                assert first == last == min(round((low + high) / 32), count - 1)
    # A side that lies on a centre does not take it in (appendix A).
    assert map_windows(torch.tensor([32.0, 16.0, 64.0, 48.0]), 16, (9, 9)).tolist() == [3.0, 2.0, 3.0, 2.0]


def test_features_are_maxima_of_each_window_of_one_map() -> None:
    model = build(levels=(4, 2, 1)).eval()
    images = torch.randn(2, 3, 64, 64)
    boxes = torch.tensor([[[4.0, 8, 50, 60], [0, 0, 64, 64]], [[20, 20, 23, 22], [0, 0, 0, 0]]])
    passes: list[int] = []
    model.backbone.conv1.register_forward_hook(lambda layer, inputs, output: passes.append(len(output)))
    found = model.region_features(images, boxes)
    assert passes == [2]  # one pass an image, whatever the proposals
    conv5 = model.features(images)[-1]
    stride = model.feature_strides[-1]
    for image in range(2):
        for row in range(2):
            x1, y1, x2, y2 = map_windows(boxes[image, row], stride, tuple(conv5.shape[2:])).int().tolist()
            window = conv5[image, :, y1 : y2 + 1, x1 : x2 + 1]
            pooled = torch.cat([F.adaptive_max_pool2d(window, level).flatten() for level in (4, 2, 1)])
            expected = F.relu(model.fc7(F.relu(model.fc6(pooled))))
            assert torch.allclose(found[image, row], expected, atol=1e-5)


def test_layers_below_the_pyramid_are_fixed_in_fine_tuning() -> None:
    model = build()
    apply_freeze(model, FreezeConfig(trainable="head", batch_norm="frozen_all"))
    trained = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"fc6", "fc7", "head"}
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    targets = [{"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}]
    model.loss(torch.randn(1, 3, 64, 64), targets, torch.tensor([[[0.0, 0, 30, 40]]]))["classification"].backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert model.fc6.weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


def test_background_overlaps_by_a_tenth_to_a_half() -> None:
    model = build()
    boxes, labels = torch.tensor([[[0.0, 0, 40, 40]]]), torch.tensor([[2]])
    proposals = torch.tensor([[[0.0, 0, 40, 30], [0, 0, 40, 10], [0, 0, 40, 3], [50, 50, 60, 60]]])
    sample = model.sample(boxes, labels, proposals, torch.tensor([64.0, 64.0]))
    chosen = {
        tuple(box): owner for box, owner in zip(sample.boxes_xyxy[0].tolist(), sample.owners[0].tolist(), strict=True)
    }
    assert chosen[0, 0, 40, 30] == 0
    assert chosen[0, 0, 40, 10] == -1
    assert chosen[0, 0, 40, 3] == chosen[50, 50, 60, 60] == -2  # by less than a tenth: neither


def test_the_detector_starts_from_the_classifier(tmp_path: object) -> None:
    from pathlib import Path

    from saccade.models.checkpoint import save_model

    options = {"backbone": "resnet20_cifar", "hidden": 16}
    torch.manual_seed(1)
    classifier = create_model("spp_net_classifier", num_classes=5, **options)
    assert isinstance(classifier, SPPNetClassifier)
    classifier.class_names = tuple("abcde")
    path = save_model(classifier, Path(str(tmp_path)) / "classifier.safetensors")
    detector = build()
    load_weights(detector, path)
    for name in ("backbone.conv1.weight", "fc6.weight", "fc7.bias"):
        assert torch.equal(detector.state_dict()[name], classifier.state_dict()[name])
    # Sizes in turn: the same weights take both.
    for side in (32, 40):
        assert classifier(torch.zeros(2, 3, side, side))["logits"].shape == (2, 5)


def test_trunks_end_in_the_map_that_regions_are_pooled_from() -> None:
    with torch.device("meta"):
        trunks = {name: build_trunk(name) for name in ("vgg11", "alexnet_2012", "resnet18")}
        for trunk in trunks.values():
            maps = trunk.features(torch.zeros(1, 3, 128, 128))
            expected = [
                (channels, 128 // stride)
                for channels, stride in zip(trunk.feature_channels, trunk.feature_strides, strict=True)
            ]
            assert [(found.shape[1], found.shape[2]) for found in maps] == expected
            assert trunk.feature_strides[-1] == 16
        assert trunks["vgg11"].features(torch.zeros(1, 3, 600, 800))[-1].shape[2:] == (38, 50)  # rounded up
