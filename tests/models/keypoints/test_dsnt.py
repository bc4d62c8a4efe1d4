from __future__ import annotations

import csv

import cv2
import dsntnn
import pytest
import torch

from saccade.errors import ConfigError
from saccade.models.registry import create_model
from saccade.ops.heatmaps import gaussian


def test_parameters_are_the_backbones_and_one_convolution():
    # ResNet-18 without fc (512 * 1000 weights, 1000 biases), plus a 1x1 from 512 channels to 68 points with bias
    model = create_model("dsnt")
    assert sum(p.numel() for p in model.parameters()) == 11689512 - (512 * 1000 + 1000) + (512 * 68 + 68) == 11211396


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_output_stride_is_the_width_of_a_cell(stride):
    model = create_model("dsnt", num_classes=5, output_stride=stride).eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 3, 64, 96))
    assert outputs["heatmaps"].shape == (2, 5, 64 // stride, 96 // stride)
    torch.testing.assert_close(outputs["heatmaps"].sum((2, 3)), torch.ones(2, 5))


def test_a_backbone_without_dilation_is_enlarged():
    model = create_model("dsnt", num_classes=2, backbone="lenet5", output_stride=2).eval()
    assert model(torch.randn(1, 1, 64, 64))["heatmaps"].shape == (1, 2, 32, 32)
    with pytest.raises(ConfigError, match="stride 4"):
        create_model("dsnt", backbone="lenet5", output_stride=8)


def test_forward_is_the_authors_transform():
    torch.manual_seed(0)
    model = create_model("dsnt", num_classes=4).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        outputs, logits = model(images), model.heatmap_logits(images)
    torch.testing.assert_close(outputs["heatmaps"], dsntnn.flat_softmax(logits))
    torch.testing.assert_close(outputs["coordinates"], dsntnn.dsnt(outputs["heatmaps"]))


def test_decode_inverts_targets_in_pixels():
    model = create_model("dsnt", num_classes=2)
    keypoints = torch.tensor([[[[40.5, 30.25, 2.0], [70.0, 17.0, 1.0]]]])
    ground_truth, visible = model.point_targets({"keypoints": keypoints}, (8, 12))  # canvas 64 x 96
    assert visible.all()
    heatmaps = gaussian(ground_truth, (8, 12), 1.0)
    decoded = model.decode({"heatmaps": heatmaps, "coordinates": ground_truth})
    torch.testing.assert_close(decoded["keypoints"], keypoints[..., :2])
    assert decoded["count"].tolist() == [1]
    assert decoded["point_scores"].shape == (1, 1, 2)
    assert (decoded["point_scores"] > 0.9).all()
    torch.testing.assert_close(decoded["scores"], decoded["point_scores"].mean(-1))
    flat = torch.full_like(heatmaps, 1 / 96)
    assert (model.decode({"heatmaps": flat, "coordinates": ground_truth})["scores"] < 0.3).all()


@pytest.mark.parametrize("size", [(70, 101), (33, 33)])
def test_odd_sizes_keep_pixels(size):
    model = create_model("dsnt", num_classes=3).eval()
    with torch.no_grad():
        outputs = model(torch.randn(1, 3, *size))
        keypoints = model.decode(outputs)["keypoints"]
    height, width = outputs["heatmaps"].shape[-2:]
    assert (height, width) == (-(-size[0] // 8), -(-size[1] // 8))
    torch.testing.assert_close(keypoints[:, 0], (outputs["coordinates"] + 1) / 2 * torch.tensor([width, height]) * 8)


@pytest.mark.parametrize("regularizer", ["js", "kl", "variance"])
@pytest.mark.parametrize("training", [True, False])
def test_loss_equals_the_authors_library(regularizer, training):
    torch.manual_seed(0)
    model = create_model("dsnt", num_classes=4, regularizer=regularizer, sigma=1.2).train(training)
    images = torch.randn(2, 3, 64, 64)
    keypoints = torch.cat((torch.rand(2, 1, 4, 2) * 64, torch.full((2, 1, 4, 1), 2.0)), -1)
    keypoints[0, 0, 1, 2] = 0
    outputs = model(images)
    mu = dsntnn.pixel_to_normalized_coordinates(keypoints[:, 0, :, :2] / 8 - 0.5, (8, 8))
    mask = (keypoints[:, 0, :, 2] > 0).float()
    penalties = {
        "js": lambda: dsntnn.js_reg_losses(outputs["heatmaps"], mu, 1.2),
        "kl": lambda: dsntnn.kl_reg_losses(outputs["heatmaps"], mu, 1.2),
        "variance": lambda: dsntnn.variance_reg_losses(outputs["heatmaps"], 1.2),
    }[regularizer]()
    terms = model.loss(images, [{"keypoints": one} for one in keypoints])
    distance = dsntnn.average_loss(dsntnn.euclidean_losses(outputs["coordinates"], mu), mask)
    torch.testing.assert_close(terms["coordinates"], distance)
    torch.testing.assert_close(terms["regularizer"], dsntnn.average_loss(penalties, mask), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["dsnt", "heatmap_regression", "coordinate_regression"])
def test_without_a_visible_point_nothing_moves(name):
    model = create_model(name, num_classes=4)
    empty = [{"keypoints": torch.zeros(0, 4, 3)}, {"keypoints": torch.zeros(1, 4, 3)}]
    loss = sum(model.loss(torch.randn(2, 3, 64, 64), empty).values())
    loss.backward()
    assert loss == 0
    assert all((p.grad == 0).all() for p in model.parameters())


def test_regularizer_names():
    assert set(
        create_model("dsnt", num_classes=2, regularizer="none").loss(
            torch.randn(2, 3, 64, 64), {"keypoints": torch.ones(2, 1, 2, 3)}
        )
    ) == {"coordinates"}
    with pytest.raises(ConfigError, match="variance"):
        create_model("dsnt", regularizer="varianse")


@pytest.mark.data("facial_keypoints_68")
@pytest.mark.parametrize(
    ("name", "stride", "rate", "steps"),
    [("dsnt", 16, 2e-3, 16), ("heatmap_regression", 4, 1e-3, 26), ("coordinate_regression", 32, 1e-3, 24)],
)
def test_learns_a_few_real_faces(name, stride, rate, steps, data_root):
    folder = data_root / "facial_keypoints_68"
    with (folder / "training_frames_keypoints.csv").open() as file:
        rows = list(csv.reader(file))[1:4]
    torch.manual_seed(0)
    model = create_model(name, output_stride=stride)
    spec = model.input_spec
    images, keypoints = [], []
    for file_name, *values in rows:
        image = cv2.imread(str(folder / "training" / file_name))
        points = torch.tensor([float(value) for value in values]).view(1, 68, 2)
        points = points * torch.tensor([64 / image.shape[1], 64 / image.shape[0]])
        keypoints.append(torch.cat((points, torch.full((1, 68, 1), 2.0)), -1))
        images.append(torch.from_numpy(cv2.resize(image, (64, 64))[..., ::-1].copy()).permute(2, 0, 1).float())
    batch = (torch.stack(images) - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)
    targets = [{"keypoints": one} for one in keypoints]
    optimiser = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        loss = sum(model.loss(batch, targets).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = model.decode(model(batch))["keypoints"]
        assert all(torch.isfinite(term) for term in model.eval().loss(batch, targets).values())
    distance = (found - torch.stack(keypoints)[..., :2]).norm(dim=-1).mean().item()
    mean_face = torch.stack(keypoints)[..., :2].mean(0, keepdim=True)
    baseline = (mean_face - torch.stack(keypoints)[..., :2]).norm(dim=-1).mean().item()
    print(distance, baseline)
    assert distance < 0.6 * baseline
