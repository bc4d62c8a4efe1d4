"""torchvision's transforms in our pipelines and ours in theirs: the ground truth stays on its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from saccade.data.transforms.affine import Flip, RandomAffine
from saccade.data.transforms.config import AugmentConfig
from saccade.data.transforms.crops import IoUCrop
from saccade.data.transforms.torchvision_v2 import Policy, as_torchvision, from_torchvision
from saccade.errors import ConfigError
from saccade.ops.mask_boxes import boxes_of_masks
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample

SIZE = (90, 120)
SQUARES = [(10, 12, 34, 40), (60, 8, 100, 30), (70, 50, 110, 84), (20, 55, 44, 80)]


def _sample(squares: list[tuple[int, int, int, int]] = SQUARES, channels: int = 3) -> Sample:
    image = np.zeros((*SIZE, channels), np.uint8)
    masks = np.zeros((len(squares), *SIZE), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(squares):
        image[y1:y2, x1:x2] = 50 * (number + 1)
        masks[number, y1:y2, x1:x2] = 1
    boxes, area = boxes_of_masks(masks)
    centres = [[[(x1 + x2) / 2, (y1 + y2) / 2, 2], [0, 0, 0]] for x1, y1, x2, y2 in squares]
    target = {
        "boxes": boxes.astype(np.float64),
        "labels": np.arange(len(squares)),
        "area": area.astype(np.float64),
        "iscrowd": np.zeros(len(squares), bool),
        "masks": masks,
        "label_map": image[..., 0].copy(),
        "keypoints": np.array(centres, np.float32).reshape(-1, 2, 3),
    }
    return Sample(image, target, ImageInfo(3, "x.png", Geometry.identity(SIZE)))


AFFINE = {
    "mirror": v2.RandomHorizontalFlip(1.0),
    "upside down": v2.RandomVerticalFlip(1.0),
    "affine": v2.RandomAffine(25, translate=(0.1, 0.1), scale=(0.7, 1.3), shear=8),
    "rotation": v2.RandomRotation(60, expand=True),
    "resize": v2.Resize((70, 150)),
    "crop": v2.RandomCrop((60, 80)),
    "resized crop": v2.RandomResizedCrop((64, 64), scale=(0.3, 1.0)),
    "zoom out": v2.RandomZoomOut(fill={tv_tensors.Image: 7, "others": 0}, p=1.0),
    "pad": v2.Pad(9, fill=7),
    "several": v2.Compose(
        [v2.RandomHorizontalFlip(1.0), v2.RandomAffine(10), v2.Resize((60, 60)), v2.ColorJitter(0.3)]
    ),
}


@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.parametrize("seed", range(3))
def test_theirs_move_everything_together(name: str, seed: int) -> None:
    moved = from_torchvision(AFFINE[name])(_sample(), np.random.default_rng(seed))
    target = moved.target
    assert target["label_map"].shape == moved.size == moved.info.geometry.size
    assert {len(target[key]) for key in target if key != "label_map"} == {len(target["labels"])}
    assert len(target["labels"]) > 0
    for row, label in enumerate(target["labels"]):
        shown = (target["label_map"] == 50 * (label + 1)).astype(np.uint8)
        np.testing.assert_array_equal(target["masks"][row], shown)
        np.testing.assert_allclose(target["boxes"][row], boxes_of_masks(shown[None])[0][0], atol=0.01)
        assert target["area"][row] == shown.sum()
        centre, unlabelled = target["keypoints"][row]
        assert not unlabelled.any()
        if centre[2]:
            x1, y1, x2, y2 = SQUARES[label]
            back = moved.info.geometry.invert_points(centre[:2])
            np.testing.assert_allclose(back, [(x1 + x2) / 2, (y1 + y2) / 2], atol=0.02)
            if shown.sum() > 100:
                assert shown[int(np.clip(centre[1], 0, shown.shape[0] - 1)), int(min(centre[0], shown.shape[1] - 1))]
    uncovered = target["label_map"] == 255
    assert uncovered.any() == (name in ("affine", "rotation", "zoom out", "pad", "several"))


def test_mirrored_points_are_exact() -> None:
    """Where torchvision alone would be a pixel off."""
    moved = from_torchvision(v2.RandomHorizontalFlip(1.0))(_sample(), np.random.default_rng(0))
    expected = 120 - _sample().target["keypoints"][:, 0, 0]
    np.testing.assert_array_equal(moved.target["keypoints"][:, 0, 0], expected)


@pytest.mark.parametrize("name", AFFINE)
def test_without_masks_boxes_are_torchvisions(name: str) -> None:
    sample = _sample()
    del sample.target["masks"]
    moved = from_torchvision(AFFINE[name])(sample, np.random.default_rng(1)).target
    assert moved["boxes"].dtype == moved["area"].dtype == np.float32
    for label, box in zip(moved["labels"], moved["boxes"], strict=True):
        shown = (moved["label_map"] == 50 * (label + 1)).astype(np.uint8)
        tight = boxes_of_masks(shown[None])[0][0]
        assert (box[:2] <= tight[:2] + 1.1).all()
        assert (box[2:] >= tight[2:] - 1.1).all()


def test_who_sanitizes_boxes_drops_whole_objects() -> None:
    transform = v2.Compose([v2.RandomCrop((40, 60)), v2.SanitizeBoundingBoxes(min_size=15)])
    dropped = 0
    for seed in range(10):
        target = from_torchvision(transform)(_sample(), np.random.default_rng(seed)).target
        assert {len(target[key]) for key in target if key != "label_map"} == {len(target["labels"])}
        for row, label in enumerate(target["labels"]):
            np.testing.assert_array_equal(target["masks"][row], target["label_map"] == 50 * (label + 1))
        dropped += len(SQUARES) - len(target["labels"])
    assert dropped > 10


def test_randomness_comes_from_the_generator_and_torchs_own_is_left_alone() -> None:
    transform = from_torchvision(v2.RandomAffine(40))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second, other = (transform(_sample(), np.random.default_rng(seed)).image for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_images_of_any_channels_without_objects(channels: int) -> None:
    moved = from_torchvision(v2.RandomAffine(20))(_sample([], channels), np.random.default_rng(0))
    assert moved.image.shape == (*SIZE, channels)
    assert moved.target["boxes"].shape == (0, 4)
    assert moved.target["masks"].shape == (0, *SIZE)
    assert moved.target["keypoints"].shape == (0, 2, 3)


def test_nothing_is_changed_in_place() -> None:
    sample, twin = _sample(channels=1), _sample(channels=1)
    for array in (sample.image, *sample.target.values()):
        array.setflags(write=False)
    from_torchvision(v2.Compose([v2.RandomAffine(20), v2.ColorJitter(0.4), v2.RandomInvert(1.0)]))(
        sample, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(sample.image, twin.image)


def test_classes_pass_through() -> None:
    sample = Sample(np.zeros((*SIZE, 3), np.uint8), {"labels": np.int64(4)}, _sample().info)
    moved = from_torchvision(v2.RandomResizedCrop((32, 32)))(sample, np.random.default_rng(0))
    assert moved.size == (32, 32)
    assert moved.target == {"labels": 4}


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (v2.ToDtype(torch.float32, scale=True), "float32"),
        (v2.Grayscale(1), "Grayscale"),
        (v2.RandAugment(), "RandAugment"),
        (v2.Compose([v2.SanitizeKeyPoints()]), "keypoints|KeyPoints"),
    ],
)
def test_transforms_that_cannot_work_are_refused(transform: Any, message: str) -> None:
    sample = _sample()
    sample.target["keypoints"][..., :2] -= 1000  # so that some are to be removed
    with pytest.raises(ConfigError, match=message):
        from_torchvision(transform)(sample, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["randaugment", "autoaugment", "trivialaugment"])
@pytest.mark.parametrize("channels", [1, 3])
def test_policies_change_classes_images_only(name: Any, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, channels)).astype(np.uint8)
    sample = Sample(image, {"labels": np.int64(1)}, _sample().info)
    policy = Policy(AugmentConfig(policy=name))
    images = [policy(sample, np.random.default_rng(seed)) for seed in range(12)]
    assert all(pil_image.image.shape == image.shape for pil_image in images)
    assert len({pil_image.image.tobytes() for pil_image in images}) > 5
    np.testing.assert_array_equal(policy(sample, np.random.default_rng(3)).image, images[3].image)
    with pytest.raises(ConfigError, match="policy"):
        policy(_sample(channels=channels), np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"x\.png"):
        policy(Sample(image.astype(np.uint16), {}, sample.info), np.random.default_rng(0))


def test_policies_are_torchvisions_own() -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    ours = Policy(AugmentConfig(policy="randaugment", policy_magnitude=12, fill=77))(
        Sample(image, {"labels": np.int64(1)}, _sample().info), np.random.default_rng(5)
    )
    torch.manual_seed(int(np.random.default_rng(5).integers(2**62)))
    theirs = v2.RandAugment(2, 12, fill=77)(torch.from_numpy(image).permute(2, 0, 1).contiguous())
    np.testing.assert_array_equal(ours.image, theirs.permute(1, 2, 0).numpy())


# ---- ours in theirs
# ----------------------------------------------------------------------------------------------------------------------


def _tv_target(sample: Sample) -> dict[str, Any]:
    target = {key: torch.from_numpy(np.array(value)) for key, value in sample.target.items()}
    boxes = target["boxes"].float()
    return {
        "boxes": tv_tensors.BoundingBoxes(
            torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1), format="XYWH", canvas_size=SIZE
        ),
        "labels": target["labels"],
        "masks": tv_tensors.Mask(target["masks"]),
        "keypoints": tv_tensors.KeyPoints(target["keypoints"][..., :2], canvas_size=SIZE),
        "image_id": 12,
    }


def test_ours_run_in_a_compose_of_theirs() -> None:
    sample = _sample()
    image = tv_tensors.Image(torch.from_numpy(sample.image).permute(2, 0, 1))
    pipeline = v2.Compose([as_torchvision(IoUCrop()), as_torchvision(Flip(1.0)), v2.ToDtype(torch.float32, scale=True)])
    sizes = set()
    for seed in range(12):
        torch.manual_seed(seed)
        moved, target = pipeline(image, _tv_target(sample))
        assert moved.dtype == torch.float32
        assert target["image_id"] == 12
        assert isinstance(target["boxes"], tv_tensors.BoundingBoxes)
        assert target["boxes"].format == tv_tensors.BoundingBoxFormat.XYXY
        assert target["boxes"].canvas_size == moved.shape[-2:] == target["masks"].shape[-2:]
        assert len(target["boxes"]) == len(target["labels"]) == len(target["masks"]) == len(target["keypoints"])
        np.testing.assert_allclose(target["boxes"], boxes_of_masks(target["masks"].numpy())[0], atol=0.01)
        for label, mask in zip(target["labels"].tolist(), target["masks"], strict=True):
            assert (moved[0][mask > 0] * 255).round().unique().tolist() == [50 * (label + 1)]
        assert (target["visibility"][:, 0] > 0).all() or moved.shape[-2:] != SIZE
        sizes.add(tuple(moved.shape))
    assert len(sizes) > 3


def test_torchs_seed_decides_ours() -> None:
    image = tv_tensors.Image(torch.from_numpy(_sample().image).permute(2, 0, 1))
    transform = as_torchvision(RandomAffine(degrees=30))
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(transform(image))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_ours_take_label_maps_classes_and_pillow_images() -> None:
    from PIL import Image

    sample = _sample()
    pil_image = Image.fromarray(sample.image)
    moved, mask = as_torchvision(Flip(1.0))(pil_image, tv_tensors.Mask(torch.from_numpy(sample.target["label_map"])))
    assert isinstance(moved, tv_tensors.Image)
    assert isinstance(mask, tv_tensors.Mask)
    np.testing.assert_array_equal(mask, sample.target["label_map"][:, ::-1])
    np.testing.assert_array_equal(moved.permute(1, 2, 0), sample.image[:, ::-1])
    assert as_torchvision(Flip(1.0))(pil_image, 3)[1] == 3
    assert as_torchvision(Flip(1.0))(pil_image, torch.tensor(3))[1].item() == 3
    with pytest.raises(ConfigError, match="image, target"):
        as_torchvision(Flip(1.0))({"image": pil_image})


def test_ours_and_back_are_ours() -> None:
    sample = _sample()
    there = from_torchvision(lambda inputs: inputs)(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(there.image, sample.image)
    for key, value in sample.target.items():
        np.testing.assert_allclose(there.target[key], value, atol=1e-4)
    np.testing.assert_allclose(there.info.geometry.matrix, np.eye(3), atol=1e-6)


def test_every_kind_of_boxes_and_maps_follows() -> None:
    sample = _sample()
    sample.target["head_boxes"] = sample.target["boxes"] + np.array([0, 0, -4, -4])
    sample.target["ignore_map"] = (sample.image[..., 0] == 50).astype(np.uint8)
    sample.target["weight_map"] = sample.image[..., 0].astype(np.float32)
    ours, theirs = (
        transform(sample, np.random.default_rng(0)) for transform in (Flip(1.0), from_torchvision(AFFINE["mirror"]))
    )
    for key in ("head_boxes", "ignore_map", "weight_map"):
        np.testing.assert_allclose(theirs.target[key], ours.target[key], err_msg=key)
        assert theirs.target[key].dtype == ours.target[key].dtype
    padded = from_torchvision(AFFINE["pad"])(sample, np.random.default_rng(0)).target
    corners = {key: float(padded[key][0, 0]) for key in ("label_map", "ignore_map", "weight_map")}
    assert corners == {"label_map": 255, "ignore_map": 1, "weight_map": 0}


@pytest.mark.parametrize("key", ["target_image", "proposals"])
def test_what_has_no_tensor_is_refused(key: str) -> None:
    sample = _sample()
    where = sample.inputs if key == "proposals" else sample.target
    where[key] = np.zeros((2, 4) if key == "proposals" else (*SIZE, 3), np.uint8)
    with pytest.raises(ConfigError, match=f"torchvision's RandomHorizontalFlip cannot move '{key}' of x.png"):
        from_torchvision(AFFINE["mirror"])(sample, np.random.default_rng(0))
