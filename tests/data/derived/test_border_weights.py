"""Weight maps of a data set: what a pixel weighs, what is kept on disk, how the weights travel."""

from __future__ import annotations

import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived import border_weights as derived
from saccade.data.derived.border_weights import BorderWeighted, cached_border_weights
from saccade.data.derived.tiles import TiledDataset
from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.data.transforms.affine import RandomAffine
from saccade.data.transforms.config import AugmentConfig
from saccade.data.transforms.mix import CopyPaste
from saccade.data.transforms.mosaic import Mosaic
from saccade.data.transforms.torchvision_v2 import from_torchvision
from saccade.engine.train.config import BorderConfig, DataConfig, TrainConfig
from saccade.engine.train.setup import open_datasets
from saccade.errors import ConfigError
from saccade.models.registry import create_model
from saccade.ops.border_weights import border_weights, label_cells
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo, Sample


class Cells:
    """Four label maps of squares with gaps; the first has unlabelled pixels."""

    def __init__(self, size=(64, 80)):
        self.info = DatasetInfo("cells", "segmentation", ("gap", "cell"))
        self.maps = [np.zeros(size, np.uint8) for _ in range(4)]
        for number, label_map in enumerate(self.maps):
            label_map[4:30, 4 : 30 + number] = label_map[4:30, 34 + number : 70] = label_map[33:60, 10:50] = 1
        self.maps[0][60:] = 255

    def __len__(self):
        return len(self.maps)

    def path(self, index):
        return f"{index}.png"

    def target(self, index):
        return {"label_map": self.maps[index]}

    def read(self, index):
        label_map = self.maps[index]
        return Sample(
            label_map[..., None] * 100,
            self.target(index),
            ImageInfo(index, self.path(index), Geometry.identity(label_map.shape)),
        )


def test_a_pixel_weighs_what_its_class_does_and_more_in_a_gap():
    data, plain = BorderWeighted(Cells()), Cells()
    pixels = sum(np.bincount(one[one != 255], minlength=2) for one in plain.maps)
    for index, label_map in enumerate(plain.maps):
        expected = (pixels.sum() / 2 / pixels)[np.minimum(label_map, 1)] + border_weights(label_cells(label_map))
        expected[label_map == 255] = 0
        for target in (data.target(index), data.read(index).target):
            np.testing.assert_allclose(target["weight_map"], expected, rtol=1e-6)
            assert target["weight_map"].dtype == np.float32
    unbalanced = BorderWeighted(Cells(), weight=3.0, sigma=2.0, balance=False).target(1)["weight_map"]
    np.testing.assert_allclose(unbalanced, 1 + border_weights(label_cells(plain.maps[1]), 3.0, 2.0), rtol=1e-6)


def test_weights_are_computed_once_for_each_content_and_setting(tmp_path, monkeypatch):
    computed = []
    monkeypatch.setattr(derived, "border_weights", lambda *given: computed.append(given) or border_weights(*given))
    label_map = Cells().maps[1]
    first = cached_border_weights(label_map, 10.0, 5.0, tmp_path)
    again = cached_border_weights(label_map.copy(), 10.0, 5.0, tmp_path)
    assert (len(computed), first.tobytes()) == (1, again.tobytes())
    others = [(label_map, 9.0, 5.0), (label_map, 10.0, 4.0), (label_map[::-1], 10.0, 5.0), (label_map.T, 10.0, 5.0)]
    for number, (content, *settings) in enumerate(others, start=2):
        found = cached_border_weights(content, *settings, tmp_path)
        np.testing.assert_array_equal(found, border_weights(label_cells(content), *settings))
        assert len(computed) == number
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_file_is_made_anew(tmp_path, damage, caplog):
    label_map = Cells().maps[1]
    expected = cached_border_weights(label_map, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-40] if damage is None else damage)
    with caplog.at_level(logging.WARNING, "saccade"):
        np.testing.assert_array_equal(cached_border_weights(label_map, folder=tmp_path), expected)
    assert f"{file}: the file is damaged" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(cached_border_weights(label_map, folder=tmp_path), expected)
    assert not caplog.text


def test_a_folder_that_cannot_be_written_is_named(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    label_map = Cells().maps[1]
    with caplog.at_level(logging.WARNING, "saccade"):
        found = cached_border_weights(label_map, folder=tmp_path / "file" / "weights")
    np.testing.assert_array_equal(found, border_weights(label_cells(label_map)))
    assert "computed each time" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1.0}, "border.weight .* got -1"),
        ({"sigma": 0.0}, "border.sigma .* got 0"),
        ({"weight": np.nan}, "nan"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        BorderWeighted(Cells(), **settings)


def test_data_without_label_maps():
    with pytest.raises(ConfigError, match=r"data set 'digit_scenes' has none\. Set data\.border\.weight to 0"):
        BorderWeighted(DigitScenes("detection", "val", count=2, size=(64, 64)))


class Shown(Cells):
    """Label maps whose image is the weight map, so that image and weights can be compared after any transform."""

    def read(self, index):
        sample = super().read(index)
        weights = BorderWeighted(Cells()).target(index)["weight_map"]
        return replace(sample, image=np.round(weights * 20).astype(np.uint8)[..., None].repeat(3, axis=2))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"flip": 1.0, "flip_vertical": 1.0},
        {"rotate90": 1.0},
        {"elastic": 4.0},
        {"degrees": 20.0, "scale": (0.8, 1.3), "translate": 0.1},
        {"perspective": 0.3},
        {"crop": (40, 40)},
        {"mosaic": 1.0},
        {"mosaic": 1.0, "mosaic_tiles": 9, "degrees": 10.0},
    ],
    ids=lambda settings: "-".join(settings) or "none",
)
def test_weights_move_with_the_image(settings):
    size = (40, 40) if "crop" in settings else (64, 80)
    spec = InputSpec(size, resize="stretch")
    pipeline = TrainPipeline(BorderWeighted(Shown()), spec, [AugmentConfig(fill=0, **settings)])
    for index in range(4):
        sample = pipeline[SampleKey(epoch=0, index=index)]
        weights, shown = sample.target["weight_map"], sample.image[..., 0] / 20
        assert weights.shape == sample.target["label_map"].shape == size
        # Pixels are interpolated, weights are not: they agree where nothing changes nearby.
        smooth = cv2.dilate(weights, np.ones((5, 5))) - cv2.erode(weights, np.ones((5, 5))) < 0.2
        smooth &= sample.target["label_map"] != 255
        assert smooth.mean() > 0.05
        assert (np.abs(weights - shown)[smooth] < 0.3).mean() > 0.99
        assert len(np.unique(weights[smooth].round(1))) > 1
        assert not weights[sample.target["label_map"] == 255].any()


def test_pasted_objects_bring_their_weights():
    def sample(value, left):
        masks = np.zeros((1, 20, 30), np.uint8)
        masks[0, 5:15, left : left + 10] = 1
        target = {
            "masks": masks,
            "labels": np.array([0]),
            "label_map": np.full((20, 30), value, np.uint8),
            "weight_map": np.full((20, 30), value + 0.5, np.float32),
        }
        return Sample(np.zeros((20, 30, 3), np.uint8), target, ImageInfo(0, "x", Geometry.identity((20, 30))))

    pasted = CopyPaste()(sample(1, 0), sample(7, 15), np.random.default_rng(2)).target
    assert set(np.unique(pasted["label_map"])) == {1, 7}
    np.testing.assert_array_equal(pasted["weight_map"], pasted["label_map"] + 0.5)


def test_torchvisions_transforms_move_them_too():
    from torchvision.transforms import v2

    sample = BorderWeighted(Cells()).read(1)
    sample.image = sample.image.repeat(3, axis=2)
    turned = from_torchvision(v2.RandomHorizontalFlip(1.0))(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(turned.target["weight_map"], sample.target["weight_map"][:, ::-1])
    bent = from_torchvision(v2.RandomRotation((30, 30)))(sample, np.random.default_rng(0)).target
    assert (bent["label_map"] == 255).any()
    assert not bent["weight_map"][bent["label_map"] == 255].any()


def test_tiles_have_the_weights_of_the_whole_image():
    whole = BorderWeighted(Cells())
    tiles = TiledDataset(whole, (32, 32), overlap=0.0)
    for number in range(len(tiles)):
        image, top, left = tiles.origin(number)
        expected = whole.target(image)["weight_map"][top : top + 32, left : left + 32]
        np.testing.assert_array_equal(tiles.read(number).target["weight_map"], expected)


def test_a_run_weighs_its_training_images_alone(tmp_path):
    data = DataConfig(source="digit_scenes", border=BorderConfig(weight=10.0, balance=False))
    config = TrainConfig(model="unet", data=data, out=str(tmp_path))
    datasets = open_datasets(config)
    assert isinstance(datasets.train, BorderWeighted)
    target = datasets.train.target(0)
    assert target["weight_map"].shape == target["label_map"].shape
    assert len(list((tmp_path / "border_weights").iterdir())) == 1
    assert "weight_map" not in datasets.val.target(0)
    with pytest.raises(ConfigError, match=r"lenet5 learns classification\. Set data\.border\.weight to 0"):
        open_datasets(replace(config, model="lenet5"))


def test_the_loss_of_every_pixel_has_its_weight():
    torch.manual_seed(0)
    model = create_model("unet", num_classes=2, in_channels=1, base_channels=4).eval()
    targets = [BorderWeighted(Cells()).target(index) for index in range(2)]
    images = torch.randn(2, 1, 64, 80)
    logits = model(images)["logits"].log_softmax(1)
    labels, weights = (
        torch.stack([torch.from_numpy(one[key]) for one in targets]) for key in ("label_map", "weight_map")
    )
    known = labels != 255
    each = -logits.gather(1, (labels * known).long()[:, None])[:, 0]
    torch.testing.assert_close(
        model.loss(images, targets)["cross_entropy"], (each * weights * known).sum() / known.sum()
    )


def test_a_mosaic_of_objects_has_the_maps_of_all_its_images():
    """Regions without annotation (``ignore_map``) come from every image, not from the first alone."""

    def read(number, size):
        target = {
            "boxes": np.array([[8, 8, 40, 40]], np.float32),
            "labels": np.array([number]),
            "ignore_map": np.full((64, 64), number == 3, np.uint8),
        }
        info = ImageInfo(number, "x", Geometry.identity((64, 64)))
        return Sample(np.full((64, 64, 3), 10 * number, np.uint8), target, info)

    joined = Mosaic(RandomAffine(scale=(0.5, 0.5), fill=0))(read, (64, 64), np.random.default_rng(0))
    assert joined.target["labels"].tolist() == [0, 1, 2, 3]
    inside = joined.image[..., 0] == 30
    assert inside.any()
    assert (joined.target["ignore_map"][inside] == 1).all()
    assert (joined.target["ignore_map"][joined.image[..., 0] == 20] == 0).all()
