"""``augment.extra``: transforms of the user's own by name, what moves with them, and what is said of wrong ones."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.registries import forgetting

import saccade
from saccade.cli import main
from saccade.data import DatasetInfo, MemoryDataset
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.further_inputs import add_inputs, find_sources
from saccade.data.loading.loader import make_train_loader
from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import EpochSampler, SampleKey
from saccade.data.transforms.config import AugmentConfig
from saccade.data.transforms.extra import ExtraTransform
from saccade.engine.train.config import Phase, TrainConfig
from saccade.engine.train.configfile import config_from_dict, config_to_yaml
from saccade.engine.train.phases import resolve_phases
from saccade.errors import ConfigError
from saccade.results.images import write_image
from saccade.structures.dataset import VisionDataset
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import Sample

OWN = '''
import random
from dataclasses import replace

import numpy as np
import torch
from torchvision.transforms import v2


def darker(sample, rng):
    """Draws from the generator that it is given."""
    return replace(sample, image=(sample.image * rng.uniform(0.2, 0.8)).astype(np.uint8))


def global_noise(sample, rng):
    """Draws from all global generators."""
    level = np.random.randint(50) + random.randrange(50) + int(torch.randint(50, ()))
    return replace(sample, image=np.full_like(sample.image, level))


class Half:
    def __call__(self, sample, rng):
        sample.image //= 2
        return sample


half = Half()
flip = v2.RandomHorizontalFlip(1.0)
sometimes = v2.RandomHorizontalFlip(0.5)
row = [half, v2.RandomHorizontalFlip(1.0), Half]
hidden = lambda sample, rng: sample  # noqa: E731
blur = v2.Compose([v2.GaussianBlur(3), v2.ColorJitter(0.4)])

# What does not do.
number = 3
crop = v2.RandomCrop((16, 16))
floats = v2.ToDtype(torch.float32)


def one_argument(sample):
    return sample


def nothing(sample, rng):
    sample.image //= 2


def smaller(sample, rng):
    return replace(sample, image=sample.image[:16])


def unlabelled(sample, rng):
    return replace(sample, target={})


def torn(sample, rng):
    return replace(sample, target={**sample.target, "labels": sample.target["labels"][:0]})


def depths(sample, rng):
    return replace(sample, target={**sample.target, "depth": np.zeros(3)})


def fails(sample, rng):
    return sample.pixels


class Needs:
    def __init__(self, strength):
        self.strength = strength
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a module of transforms."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    with forgetting(tmp_path):
        yield tmp_path


def pipeline(data: VisionDataset, *extra: str, **augment: Any) -> TrainPipeline:
    return TrainPipeline(data, InputSpec((64, 64)), [AugmentConfig(extra=extra, **augment)])


def first(data: VisionDataset, *extra: str, index: int = 0, epoch: int = 0, **augment: Any) -> Sample:
    return pipeline(data, *extra, **augment)[SampleKey(epoch=epoch, index=index)]


SCENES = DigitScenes("detection", "train", count=4, masks=True)


@pytest.mark.parametrize("name", ["darker", "global_noise", "sometimes"])
def test_the_same_key_gives_the_same_pixels_in_any_process(name: str) -> None:
    made = pipeline(SCENES, f"own:{name}", flip=0.5)
    sampler = EpochSampler(len(SCENES), batch_size=2, seed=0)
    states = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state()  # noqa: NPY002
    for epoch in (0, 1):
        batches = []
        for workers in (0, 2):
            sampler.set_epoch(epoch)
            batches.append(torch.cat([batch.images for batch in make_train_loader(made, sampler, workers)]))
        assert torch.equal(*batches)
    images = [made[SampleKey(epoch=epoch, index=0)].image for epoch in range(8)]
    assert any((image != images[0]).any() for image in images[1:])
    assert np.random.get_state()[1].tolist() == states[0]  # noqa: NPY002
    assert random.getstate() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize("name", ["half", "Half", "row"])
def test_functions_objects_classes_and_rows_are_taken(name: str) -> None:
    plain, made = first(SCENES), first(SCENES, f"own:{name}")
    expected = plain.image // 2
    np.testing.assert_array_equal(made.image, expected[:, ::-1] // 2 if name == "row" else expected)


def test_several_are_run_in_order() -> None:
    plain, made = first(SCENES), first(SCENES, "own:half", "own:flip")
    np.testing.assert_array_equal(made.image, plain.image[:, ::-1] // 2)


def test_it_acts_after_what_moves_pixels_and_before_the_colours() -> None:
    """The mirror comes before it, the erasing after it."""
    mirrored, made = first(SCENES, flip=1.0), first(SCENES, "own:half", flip=1.0)
    np.testing.assert_array_equal(made.image, mirrored.image // 2)
    erased = first(SCENES, "own:half", erase=1.0, erase_area=(0.9, 1.0))
    assert erased.image.max() > 128


def test_boxes_and_masks_follow_torchvision_and_the_geometry_is_right() -> None:
    ours, theirs = first(SCENES, flip=1.0), first(SCENES, "own:flip")
    np.testing.assert_array_equal(theirs.image, ours.image)
    np.testing.assert_allclose(theirs.target["boxes"], ours.target["boxes"], atol=1.0)  # theirs are those of the masks
    np.testing.assert_array_equal(theirs.target["masks"], ours.target["masks"])
    np.testing.assert_array_equal(theirs.target["labels"], ours.target["labels"])
    np.testing.assert_allclose(theirs.info.geometry.matrix, ours.info.geometry.matrix, atol=1e-4)
    original = DigitScenes("detection", "train", count=4).target(0)["boxes"]
    expected = theirs.info.geometry.map_boxes(original)
    np.testing.assert_allclose(expected, ours.info.geometry.map_boxes(original), atol=1e-3)


def test_label_maps_follow() -> None:
    maps = DigitScenes("segmentation", "train", count=2)
    ours, theirs = first(maps, flip=1.0), first(maps, "own:flip")
    np.testing.assert_array_equal(theirs.target["label_map"], ours.target["label_map"])
    np.testing.assert_array_equal(first(maps, "own:blur").target["label_map"], first(maps).target["label_map"])


def faces(pairs: tuple[tuple[int, int], ...]) -> MemoryDataset:
    info = DatasetInfo("faces", "keypoints", ("left", "right"), flip_pairs=pairs)
    points = {"labels": [0], "keypoints": [[[10, 20, 2], [40, 30, 1]]]}
    return MemoryDataset(info, [np.zeros((64, 64, 3), np.uint8)], [points])


def test_left_and_right_points_change_places_in_a_mirror_of_torchvision() -> None:
    data = faces(((0, 1),))
    ours, theirs = first(data, flip=1.0), first(data, "own:flip")
    np.testing.assert_allclose(theirs.target["keypoints"], ours.target["keypoints"], atol=1e-3)
    assert theirs.target["keypoints"][0, 0].tolist() == pytest.approx([24, 30, 1])
    assert first(data, "own:blur").target["keypoints"][0, 0].tolist() == pytest.approx([10, 20, 2])
    with pytest.raises(ConfigError, match=r"augment\.extra 'own:flip': .*mirrors images.*does not name them"):
        first(faces(()), "own:flip")


def test_what_torchvision_cannot_move_is_refused() -> None:
    data = add_inputs(DigitScenes("detection", count=1), find_sources(("proposals",), {}, "fast_rcnn"), workers=0)
    with pytest.raises(ConfigError, match=r"augment\.extra 'own:flip': .* cannot move 'proposals' of digit_scenes"):
        first(data, "own:flip")
    assert first(data, "own:half").inputs.keys() == {"proposals", "proposal_scores"}


def test_a_worker_that_is_not_forked_imports_it_again() -> None:
    transform = ExtraTransform("own:hidden")  # a lambda cannot be pickled
    again = pickle.loads(pickle.dumps(transform))
    assert again.name == "own:hidden"
    assert again(first(SCENES), np.random.default_rng(0)).size == (64, 64)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own", r"augment\.extra 'own': name the module and an object in it: my_package\.mine:NAME"),
        ("own:hallf", r"augment\.extra 'own:hallf': the module 'own' has no 'hallf'. Did you mean 'half'"),
        ("owm:half", r"augment\.extra 'owm:half': the module 'owm' cannot be imported .*Run from the folder"),
        ("own:number", r"augment\.extra 'own:number' is a int. Give a function or object of \(sample, rng\)"),
        ("own:one_argument", r"'own:one_argument' is a function. Give a function or object of \(sample, rng\)"),
        ("own:Needs", r"augment\.extra 'own:Needs': Needs\(\) fails: TypeError.*An object of it"),
    ],
)
def test_what_cannot_be_imported_or_is_no_transform(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pipeline(SCENES, name)
    with pytest.raises(ConfigError, match=message):
        saccade.train(model="yolox_nano", data="digit_scenes", augment={"extra": name})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "returns a NoneType. Return the sample"),
        (
            "smaller",
            r"makes uint8 \(16, 64, 3\) of the image of digit_scenes/train/00000, uint8 \(64, 64, 3\). Keep size",
        ),
        ("crop", r"makes uint8 \(16, 16, 3\) of the image"),
        ("floats", "made float32 .*leave ToDtype, Normalize and Grayscale out"),
        ("unlabelled", "drops 'labels' of digit_scenes/train/00000"),
        ("torn", "leaves .* boxes, 0 labels.*Keep or drop all that belongs to an object"),
        ("depths", "'depth' is no known kind of ground truth"),
        ("fails", r"fails on digit_scenes/train/00000: AttributeError.*own\.py, line \d+"),
    ],
)
def test_what_a_transform_does_wrong_names_it_and_the_image(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"augment\.extra 'own:{name}':? .*{message}"):
        first(DigitScenes("detection", count=1), f"own:{name}")


def test_an_error_reaches_the_user_from_a_worker() -> None:
    made = pipeline(SCENES, "own:fails")
    with pytest.raises(ConfigError, match=r"augment\.extra 'own:fails' fails on .*AttributeError"):
        list(make_train_loader(made, EpochSampler(len(SCENES), batch_size=2, seed=0), workers=1))


def test_it_travels_as_text() -> None:
    config = config_from_dict(TrainConfig, {"model": "lenet5", "augment": {"extra": "own:half"}})
    assert config.augment.extra == ("own:half",)
    assert AugmentConfig(extra="own:half").extra == AugmentConfig(extra=["own:half"]).extra  # type: ignore[arg-type]
    assert config_from_dict(TrainConfig, yaml.safe_load(config_to_yaml(config))) == config
    config.phases = (Phase(-1, augment={"extra": "own:flip"}), Phase(-1, augment={"extra": ()}))
    phases = resolve_phases(config, saccade.create_model("lenet5"))
    assert [phase.augment.extra for phase in phases] == [("own:half",), ("own:flip",), ()]
    again = config_from_dict(TrainConfig, yaml.safe_load(config_to_yaml(config)))
    assert resolve_phases(again, saccade.create_model("lenet5"))[1].augment.extra == ("own:flip",)


def test_a_run_from_the_shell(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, grey in (("dark", 40), ("light", 200)):
        for number in range(5):
            write_image(folder / "shades" / name / f"{number}.png", np.full((32, 32, 3), grey + number, np.uint8))
    words = "train --model lenet5 --data shades --epochs 1 --data.workers 1 --name own"
    assert main([*words.split(), "--augment.extra", "own:half", "own:sometimes", "--loggers"]) == 0
    stored = yaml.safe_load((folder / "runs/own/config.yaml").read_text())
    assert stored["augment"]["extra"] == ["own:half", "own:sometimes"]
    assert main([*words.split(), "--augment.extra", "own:hallf"]) == 2
    assert "augment.extra 'own:hallf'" in capsys.readouterr().err
