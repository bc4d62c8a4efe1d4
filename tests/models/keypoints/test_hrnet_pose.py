"""HRNet for pose: against timm's branches, the authors' and MMPose's files, its heads, its loss, its flip test."""

from __future__ import annotations

import re

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from saccade.deploy.runtime import EagerRuntime
from saccade.engine.predict.test_time_augmentation import AugmentedRuntime
from saccade.errors import ConfigError
from saccade.models.registry import create_model
from saccade.ops.heatmaps import gaussian
from saccade.structures.point_layout import PointLayout
from saccade.weights import load_weights

CLASSIFICATION_HEAD = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")
# The last fusion of the pose networks makes the finest map alone.
COARSER = re.compile(r"^stage4\.\d+\.fuse_layers\.[123]\.")


class Published(nn.Module):
    """timm's branches under the last convolution of the authors' pose code."""

    def __init__(self, name: str, points: int) -> None:
        super().__init__()
        self.body = timm.create_model(name)
        self.final_layer = nn.Conv2d(self.body.stage4[-1].branches[0][-1].conv2.out_channels, points, 1)

    def forward(self, images: Tensor) -> Tensor:
        body = self.body
        x = body.act1(body.bn1(body.conv1(images)))
        return self.final_layer(body.stages(body.act2(body.bn2(body.conv2(x))))[0])

    def file(self, prefix: str, head: str) -> dict[str, Tensor]:
        last = max(int(key.split(".")[1]) for key in self.body.state_dict() if key.startswith("stage4."))
        body = {
            f"{prefix}{key}": value
            for key, value in self.body.state_dict().items()
            if not key.startswith(CLASSIFICATION_HEAD) and not (COARSER.match(key) and int(key.split(".")[1]) == last)
        }
        return body | {f"{head}final_layer.{key}": value for key, value in self.final_layer.state_dict().items()}


@pytest.mark.parametrize(("prefix", "head"), [("", ""), ("backbone.", "keypoint_head."), ("backbone.", "head.")])
@torch.no_grad()
def test_files_of_the_authors_and_of_mmpose_give_their_heatmaps(tmp_path, scramble, prefix, head):
    torch.manual_seed(0)
    reference = Published("hrnet_w18_small", 5).eval()
    scramble(reference)
    torch.save({"state_dict": reference.file(prefix, head)}, tmp_path / "pose_hrnet.pth")
    model = create_model("hrnet_pose", num_classes=5).eval()
    report = load_weights(model, tmp_path / "pose_hrnet.pth")
    assert report.recognised == "official HRNet pose"
    assert (report.missing, report.unexpected, report.head) == ((), (), ())
    for size in ((64, 96), (32, 160)):
        images = torch.randn(2, 3, *size)
        expected, found = reference(images), model(images)["heatmaps"]
        assert found.shape == (2, 5, size[0] // 4, size[1] // 4)
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("head", ["v1", "v2", "v2p"])
def test_every_head_gives_heatmaps_at_a_quarter_and_trains_all_its_parameters(head):
    torch.manual_seed(0)
    model = create_model("hrnet_pose", num_classes=3, head=head).train()
    keypoints = torch.tensor([[[[20.0, 30, 2], [40, 10, 1], [0, 0, 0]]]]).repeat(2, 1, 1, 1)
    assert model(torch.zeros(1, 3, 64, 96))["heatmaps"].shape == (1, 3, 16, 24)
    model.loss(torch.randn(2, 3, 64, 64), {"keypoints": keypoints})["heatmap"].backward()
    assert [name for name, one in model.named_parameters() if one.grad is None] == []
    parts = (*model.stage_names, *model.neck_names, *model.head_names)
    covered = sum(p.numel() for part in parts for p in model.get_submodule(part).parameters())
    assert covered == sum(p.numel() for p in model.parameters())


def test_head_and_backbone_are_checked():
    with pytest.raises(ConfigError, match=r"head is 'v2P'\. Did you mean .*'v2p'"):
        create_model("hrnet_w32_pose", head="v2P")
    with pytest.raises(ConfigError, match="'resnet18' is no HRNet"):
        create_model("hrnet_pose", backbone="resnet18")
    with pytest.raises(ConfigError, match=r"refine is 'drak'\. Did you mean 'dark'"):
        create_model("hrnet_pose", refine="drak")


def test_the_loss_is_the_squared_error_of_labelled_points_against_gaussians():
    torch.manual_seed(0)
    model = create_model("hrnet_pose", num_classes=2, sigma=1.5).eval()
    images, keypoints = torch.randn(1, 3, 64, 64), torch.tensor([[[[22.0, 30, 2], [40, 10, 0]]]])
    heatmap = model(images)["heatmaps"][0, 0].detach().numpy()
    rows, columns = np.mgrid[:16, :16] + 0.5
    target = np.exp(-((columns - 22 / 4) ** 2 + (rows - 30 / 4) ** 2) / (2 * 1.5**2))
    found = model.loss(images, {"keypoints": keypoints})["heatmap"].item()
    assert found == pytest.approx(((heatmap - target) ** 2).sum(), rel=1e-5)
    nobody = torch.tensor([[[[22.0, 30, 0], [40, 10, 0]]]])
    assert model.loss(images, {"keypoints": nobody})["heatmap"].item() == 0


@pytest.mark.parametrize("cell_centre", [0.5, 0.125])
@pytest.mark.parametrize("refine", ["quarter", "dark"])
def test_decoding_is_the_inverse_of_encoding(refine, cell_centre):
    model = create_model("hrnet_w32_pose", num_classes=9, refine=refine, cell_centre=cell_centre)
    points = torch.from_numpy(np.random.default_rng(0).uniform(40, 150, (4, 9, 2))).float()
    cells = points / 4 + (0.5 - cell_centre)
    heatmaps = gaussian(cells * 2 / torch.tensor([48.0, 64]) - 1, (64, 48), 2.0, peak_one=True)
    decoded = model.decode({"heatmaps": heatmaps})
    error = (decoded["keypoints"][:, 0] - points).abs().max()
    assert error <= (1.001 if refine == "quarter" else 0.05)  # a quarter of a cell, pixels
    assert set(decoded) == set(model.decoded_keys)


def _flip_test_plainly(maps: np.ndarray, mirrored: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    back = mirrored[:, :, :, ::-1].copy()
    for left, right in pairs:
        back[:, [left, right]] = back[:, [right, left]]
    return (maps + back) / 2


@pytest.mark.parametrize("refine", ["quarter", "dark"])
@torch.no_grad()
def test_the_flip_test_averages_heatmaps_before_points_are_read(scramble, refine):
    torch.manual_seed(0)
    model = create_model("hrnet_pose", num_classes=3, refine=refine).eval()
    scramble(model)
    model.point_layout = PointLayout(("nose", "left_eye", "right_eye"), flip_pairs=((1, 2),))
    model.class_names = model.point_layout.names
    plain = EagerRuntime(model)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    decoded = AugmentedRuntime(plain)(images)
    key = "heatmaps" if refine == "quarter" else "smoothed_heatmaps"
    maps, mirrored = (plain(one)[key].numpy() for one in (images, images.flip(3)))
    expected = _flip_test_plainly(maps, mirrored, [(1, 2)])
    np.testing.assert_allclose(decoded[key].numpy(), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert set(decoded) == set(model.decoded_keys)
    for image in range(2):
        for point in range(3):
            row, column = np.unravel_index(expected[image, point].argmax(), (16, 24))
            x, y = decoded["keypoints"][image, 0, point].tolist()
            reach = 0.25 if refine == "quarter" else 1.0
            assert abs(x / 4 - column - 0.5) <= reach + 1e-4
            assert abs(y / 4 - row - 0.5) <= reach + 1e-4
            height = np.clip(expected[image, point].max(), 0, 1)
            assert decoded["point_scores"][image, 0, point].item() == pytest.approx(height, abs=1e-5)


@torch.no_grad()
def test_a_mirrored_network_would_answer_the_same_from_the_flip_test():
    """Heatmaps of an image and those of its mirror image change places, and the points stay in pixels of the image."""
    model = create_model("hrnet_pose", num_classes=2).eval()
    model.point_layout = PointLayout(("left", "right"), flip_pairs=((0, 1),))
    model.class_names = model.point_layout.names
    runtime = AugmentedRuntime(EagerRuntime(model))
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    first, second = runtime(images)["keypoints"], runtime(images.flip(3))["keypoints"]
    back = second.flip(2).clone()
    back[..., 0] = 64 - back[..., 0]
    torch.testing.assert_close(first, back, atol=1e-3, rtol=0)


def test_published_weights_average_points_since_their_cells_have_another_centre():
    model = create_model("hrnet_pose", num_classes=2)
    assert "heatmaps" in model.decoded_keys
    published = create_model("hrnet_w32_pose", num_classes=2, cell_centre=0.125)
    assert published.decoded_keys == ("keypoints", "point_scores", "scores", "count")
