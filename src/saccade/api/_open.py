"""What verbs are given, opened: a model or the name of one, a runtime, the data set of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from saccade.errors import ConfigError
from saccade.models.base import Model

if TYPE_CHECKING:
    from saccade.deploy.runtime import Runtime
    from saccade.engine.predict.tiled import Tiling
    from saccade.engine.train.config import TrainConfig
    from saccade.structures.dataset import VisionDataset

__all__ = ["ModelLike", "augmented", "open_data", "open_model", "open_network", "run_config", "tiling"]

ModelLike = str | Path | Model
"""A network, the file of one, or the name of one together with weights."""


def open_network(model: ModelLike, weights: str | None) -> Model:
    """A network with its weights: as it is, from a checkpoint, or by name.

    Raises:
        SaccadeError: If there is no such network, checkpoint or weights.
    """
    found = _find(model, weights)
    if isinstance(found, Model):
        return found
    from saccade.models.checkpoint import load_model

    return load_model(found)


def open_model(model: ModelLike, weights: str | None, device: str | None = None) -> Runtime:
    """A runtime of a network, a checkpoint or an exported file.

    Raises:
        SaccadeError: If there is no such network, file, weights or device.
    """
    from saccade.deploy.runtime import open_runtime

    return open_runtime(_find(model, weights), device)


def _find(model: ModelLike, weights: str | None) -> Model | Path:
    """The network itself, or the file it is in."""
    if isinstance(model, Model):
        if weights is not None:
            raise ConfigError("weights belong to a network given by name; this one is built. Leave weights out.")
        return model
    path = Path(model)
    if path.is_file():
        if weights is not None:
            raise ConfigError(f"'{model}' is a file and has its weights; leave weights out.")
        return path
    if weights is None and path.suffix and not path.is_dir():
        return path  # a file that is not there; opening it is the error
    from saccade.models.registry import create_model, get_builder

    name = get_builder(str(model)).name  # an unknown name offers the nearest, a folder the checkpoint in it
    if weights is None:
        raise ConfigError(
            f"'{name}' alone has random weights, from which nothing follows. Give weights: a file (--weights FILE), or "
            "the name of published ones (saccade models lists them)."
        )
    return create_model(name, weights=weights)


def augmented(runtime: Runtime, scales: Sequence[float], flip_pairs: Sequence[tuple[int, int]]) -> Runtime:
    """The runtime with test-time augmentation."""
    from saccade.engine.predict.test_time_augmentation import AugmentedRuntime

    return AugmentedRuntime(runtime, scales=scales, flip_pairs=flip_pairs)


def tiling(tile: int | tuple[int, int] | None, overlap: float) -> Tiling | None:
    """How images are cut; None if they are not."""
    from saccade.engine.predict.tiled import Tiling

    if tile is None:
        return None
    return Tiling((tile, tile) if isinstance(tile, int) else tile, overlap)


def run_config(model: ModelLike | None) -> TrainConfig | None:
    """Configuration of the run that a checkpoint lies in; None if it lies in none."""
    from saccade.engine.train.configfile import load_config

    if model is None or isinstance(model, Model):
        return None
    path = Path(model).parent / "config.yaml"
    return load_config(path) if Path(model).is_file() and path.exists() else None


def open_data(
    model: ModelLike, data: str | Path | None, split: str | None, format: str | None, task: str
) -> VisionDataset:
    """The data set that was named, or that of the run that a checkpoint lies in.

    Raises:
        SaccadeError: If neither is known, or it cannot be read.
    """
    from saccade.data.open import open_dataset

    if data is None:
        config = run_config(model)
        if config is None:
            raise ConfigError(
                "no data was named, and the model does not lie in a run folder that names it. "
                "Pass data=PATH (--data PATH)."
            )
        data, format = config.data.source, config.data.format  # noqa: A001
        split = split or config.data.test or config.data.val or config.data.train
    return open_dataset(data, split or "test", format=format, task=task, bad_labels="drop")
