"""A network has as many class names as classes, and background only where it is a class."""

from __future__ import annotations

import pytest

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.setup import build_model
from saccade.errors import ConfigError, WeightsError
from saccade.models.class_names import check_class_names, learnt_class_names
from saccade.structures.dataset import DatasetInfo


@pytest.mark.parametrize(
    ("count", "names", "expected"),
    [
        (2, ("cat", "dog"), ("cat", "dog")),
        (1, ("cell",), ("cell",)),
        (2, ("background", "cell"), ("background", "cell")),
        (1, ("Background", "cell"), ("cell",)),  # one sigmoid
        (0, ("cat", "dog"), ()),  # an embedding
    ],
)
def test_names_of_a_trained_network(count: int, names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert learnt_class_names(count, names) == expected
    check_class_names(count, expected, "it")


@pytest.mark.parametrize(("count", "names"), [(3, ("cat", "dog")), (1, ("cat", "dog")), (1, ("background", "a", "b"))])
def test_other_numbers_are_refused(count: int, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=rf"the network has {count} classes, the data {len(names)}.*num_classes="):
        learnt_class_names(count, names)
    with pytest.raises(WeightsError, match=f"it has {count} classes and {len(names)} class names"):
        check_class_names(count, names, "it")


def test_a_run_names_the_classes_of_its_network() -> None:
    cells = DatasetInfo("cells", "segmentation", ("background", "cell"))
    options = {"base_channels": 2}
    assert build_model(TrainConfig(model="unet", model_args=options), cells).class_names == ("background", "cell")
    one = build_model(TrainConfig(model="unet", model_args={**options, "num_classes": 1}), cells)
    assert one.class_names == ("cell",)
    with pytest.raises(ConfigError, match="the network has 80 classes, the data 1"):
        build_model(
            TrainConfig(model="yolox_nano", model_args={"num_classes": 80}), DatasetInfo("x", "detection", ("a",))
        )
