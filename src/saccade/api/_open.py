"""What verbs are given, opened: a model or the name of one, a runtime, the data set of a training run."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from saccade.api._finish import OWN_FINISH, FinishLike, set_finish, with_finish
from saccade.api.options import NmsOptions
from saccade.errors import ConfigError, DataError, did_you_mean
from saccade.structures.plugins import missing_plugins

if TYPE_CHECKING:
    from saccade.deploy.runtime import Runtime
    from saccade.engine.predict.tiled import Tiling
    from saccade.engine.train.config import TrainConfig
    from saccade.models.base import Model
    from saccade.structures.dataset import VisionDataset
    from saccade.structures.input_spec import InputSpec

__all__ = [
    "OWN_NMS",
    "ModelLike",
    "NmsLike",
    "as_exported",
    "augmented",
    "build_alone",
    "input_settings",
    "name_alone",
    "open_data",
    "open_model",
    "open_network",
    "opened_boxes",
    "run_config",
    "tiling",
    "with_depth",
    "with_input_data",
    "with_suppression",
]

logger = logging.getLogger("saccade")

ModelLike: TypeAlias = "str | Path | Model"
"""A network, the file of one, or the name of one together with weights."""


NmsLike = NmsOptions | Mapping[str, Any]
"""Other settings of suppression than a model's own."""

OWN_NMS = NmsOptions()


def open_network(
    model: ModelLike,
    weights: str | None,
    trust: bool = False,
    max_detections: int | None = None,
    nms: NmsLike = OWN_NMS,
    prune: int | None = None,
) -> Model:
    """A network with its weights: as it is, from a checkpoint, or by name; with other settings of suppression if given.

    Pruned to a depth where one is given.

    Raises:
        SaccadeError: If there is no such network, checkpoint or weights, or it has no such settings.
    """
    found = _find(model, weights)
    if isinstance(found, Path):
        from saccade.models.checkpoint import load_model

        found = load_model(found, trust=trust)
    return with_suppression(with_depth(found, prune), nms, max_detections)


def name_alone(model: ModelLike, weights: str | None) -> str:
    """Name of a network that is given without weights; empty for all else."""
    from saccade.models.registry import has_model

    if weights is not None or not isinstance(model, str) or Path(model).exists():
        return ""
    return model if ":" in model or has_model(model) else ""


def build_alone(name: str, class_names: Sequence[str] = ()) -> Model:
    """The network with classes of these names, and weights that are random but always the same."""
    import torch

    from saccade.models.registry import create_for_classes, create_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_for_classes(name, len(class_names)) if class_names else create_model(name)
    network.class_names = tuple(class_names) if network.num_classes else ()
    return network


def open_model(
    model: ModelLike,
    weights: str | None,
    device: str | None = None,
    trust: bool = False,
    max_detections: int | None = None,
    nms: NmsLike = OWN_NMS,
    prune: int | None = None,
    finish: FinishLike = OWN_FINISH,
    cache: bool = True,
) -> Runtime:
    """A runtime of a network, a checkpoint or an exported file, with other settings of suppression if given.

    Pruned to a depth where one is given, and with another function after it where that is given.

    Raises:
        SaccadeError: If there is no such network, file, weights or device, the file has to be trusted, or it has no
            such settings, or its own for good.
    """
    from saccade.deploy.open_file import open_file

    found = _find(model, weights)
    changed = _given(nms)
    if not isinstance(found, Path) or found.suffix == ".safetensors":
        if changed or max_detections is not None or prune is not None:
            found = open_network(found, None, trust, max_detections, nms, prune)
        if finish != OWN_FINISH:
            found = with_finish(open_network(found, None, trust), finish)
    elif changed:
        raise ConfigError(
            f"'{found}' was exported with its own suppression, which cannot be changed. Leave nms out, or give the "
            "checkpoint that it was made from."
        )
    elif prune is not None:
        raise ConfigError(
            f"'{found}' was exported at its depth, which cannot be changed. Leave prune out, or give the checkpoint "
            "that it was made from."
        )
    if isinstance(found, Path) and found.suffix != ".safetensors":
        file = open_file(found, device, trust)
        if max_detections is not None:
            file.limit_detections(max_detections)
        set_finish(file, finish)
        return file
    from saccade.deploy.runtime import open_runtime

    # A network that the caller holds may change.
    return open_runtime(found, device, trust, cache=cache and isinstance(model, str | Path))


def with_depth(model: Model, prune: int | None = None) -> Model:
    """A network pruned to a depth; itself if none is given.

    Raises:
        ConfigError: If it is a network of one depth, or has no such depth.
    """
    from saccade.models.pruning import Prunable

    if prune is None:
        return model
    if not isinstance(model, Prunable):
        name = model.builder_name or type(model).__name__
        raise ConfigError(f"prune is for networks with outputs at several depths; {name} has one. Leave it out.")
    return model.pruned(prune)


def with_suppression(model: Model, nms: NmsLike = OWN_NMS, max_detections: int | None = None) -> Model:
    """A network with other settings of suppression; it shares its weights with the one given.

    Args:
        model: The network; itself if nothing is given.
        nms: What replaces its own settings.
        max_detections: Detections that it outputs for an image.

    Raises:
        ConfigError: If it is no detector with such settings, or a setting is unknown, out of its range, or without
            effect.
    """
    from saccade.ops.nms_settings import NmsSettings

    changed = _given(nms)
    if not changed and max_detections is None:
        return model
    settings = getattr(model, "nms", None)
    if not isinstance(settings, NmsSettings):
        name = model.builder_name or type(model).__name__
        what, lacks = ("nms", "suppression") if changed else ("max_detections", "limit")
        raise ConfigError(f"{what} is for detectors; {name} has no such {lacks}. Leave it out.")
    if max_detections is not None:
        changed |= {"max_detections": max_detections, "pre_nms": max(settings.pre_nms, max_detections)}
    other = copy.copy(model)
    vars(other)["nms"] = new = replace(settings, **changed)
    idle = [name for name in ("iou", "class_agnostic", "sigma") if name in changed and name not in _USED[new.kind]]
    if idle:
        raise ConfigError(
            f"nms.{idle[0]} has no effect: nms.kind is '{new.kind}'"
            f"{'' if 'kind' in changed else f', as {model.builder_name} has it'}. Leave it out, or set nms.kind."
        )
    return other


_OVERLAPS = ("iou", "class_agnostic")
# Settings that have a part in each kind of suppression.
_USED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("nms", "soft", "diou", "wbf"), _OVERLAPS),
    "soft_gaussian": ("sigma", "class_agnostic"),
    "none": (),
}


def _given(nms: NmsLike) -> dict[str, Any]:
    """The settings that are given, by name."""
    names = [field.name for field in fields(NmsOptions)]
    values = dict(nms) if isinstance(nms, Mapping) else {name: getattr(nms, name) for name in names}
    for name in values:
        if name not in names:
            elsewhere = " It is an option of its own." if name == "max_detections" else did_you_mean(str(name), names)
            raise ConfigError(f"nms has no setting '{name}'.{elsewhere}")
    return {name: value for name, value in values.items() if value is not None}


def _find(model: ModelLike, weights: str | None) -> Model | Path:
    """The network itself, or the file it is in."""
    if not isinstance(model, str | Path):
        if weights is not None:
            raise ConfigError("weights belong to a network given by name; this one is built. Leave weights out.")
        return model
    path = Path(model)
    if path.is_dir() and weights is None:
        from saccade.models.checkpoint import find_checkpoint

        return find_checkpoint(path)
    if path.suffix == ".cfg":
        from saccade.models.darknet.open import load_darknet

        if weights is None:
            raise ConfigError(f"'{model}' has no weights. Give the file that belongs to it: --weights FILE.weights.")
        return load_darknet(path, weights)
    if path.exists() and not path.is_dir():
        if weights is not None:
            raise ConfigError(f"'{model}' is a file and has its weights; leave weights out.")
        return path
    if weights is None and path.suffix and not path.is_dir():
        return path  # a file that is not there; opening it is the error
    from saccade.models.foreign_checkpoint import model_of_weights
    from saccade.models.registry import get_builder

    name = get_builder(str(model)).name  # an unknown name offers the nearest
    if weights is None:
        raise ConfigError(
            f"'{name}' alone has random weights, from which nothing follows. Give weights: a file (--weights FILE), or "
            "the name of published ones (saccade models lists them)."
        )
    return model_of_weights(name, weights)


def augmented(runtime: Runtime, scales: Sequence[float], flip_pairs: Sequence[tuple[int, int]]) -> Runtime:
    """The runtime with test-time augmentation."""
    from saccade.engine.predict.test_time_augmentation import AugmentedRuntime

    return AugmentedRuntime(runtime, scales=scales, flip_pairs=flip_pairs)


def opened_boxes(
    runtime: Runtime, boxes: ModelLike | None, tiled: bool = False, trust: bool = False
) -> Runtime | Path | None:
    """The detector, or the file, that says where objects are; None if neither is given.

    Raises:
        ConfigError: If the network takes whole images, or tiles are asked for.
    """
    if not runtime.input_spec.object_crops:
        raise ConfigError(
            f"boxes are for networks that learnt the keypoints of one object from crops; {runtime.name} takes whole "
            "images. Leave boxes out."
        )
    if tiled:
        raise ConfigError("tile: objects are cut out by their boxes, so there is nothing left to cut. Leave tile out.")
    if boxes is None:
        return None
    if isinstance(boxes, str | Path) and Path(boxes).suffix.lower() == ".json":
        return Path(boxes)
    return open_model(boxes, None, trust=trust)


def tiling(tile: int | tuple[int, int] | None, overlap: float) -> Tiling | None:
    """How images are cut; None if they are not."""
    from saccade.engine.predict.tiled import Tiling

    if tile is None:
        return None
    return Tiling((tile, tile) if isinstance(tile, int) else tile, overlap)


def run_config(model: ModelLike | None) -> TrainConfig | None:
    """Configuration of the run that a checkpoint lies in; None if it lies in none."""
    if model is None or not isinstance(model, str | Path):
        return None
    path = Path(model) / "config.yaml" if Path(model).is_dir() else Path(model).parent / "config.yaml"
    if not Path(model).exists() or not path.exists():
        return None
    from saccade.engine.train.configfile import load_config

    return load_config(path)


def input_settings(
    model: ModelLike | None, proposals: str | Path | None, files: bool = True
) -> dict[str, str | Path | None]:
    """Where further inputs come from, by option: as given, else as in the run that a checkpoint lies in.

    Args:
        model: The model.
        proposals: As given.
        files: Take a file that the run had as well, which holds the images of its data set.
    """
    config = None if proposals else run_config(model)
    if config is None or not config.data.proposals:
        return {"proposals": proposals}
    from saccade.data.derived.proposals import METHODS

    if files or config.data.proposals in METHODS:
        proposals = config.data.proposals
    return {"proposals": proposals}


def with_input_data(
    model: ModelLike,
    runtime: Runtime | Model,
    dataset: VisionDataset,
    proposals: str | Path | None = None,
    workers: int | None = None,
) -> VisionDataset:
    """The data set with the further inputs that a network takes, kept beside the runs where it lies in one.

    Raises:
        SaccadeError: If an option is given that it has no use for, or what it names cannot be read.
    """
    from saccade.data.derived.further_inputs import add_inputs, find_sources, inputs_folder
    from saccade.engine.train.progress import track
    from saccade.engine.train.setup import worker_count
    from saccade.models.base import Model

    name = runtime.builder_name if isinstance(runtime, Model) else runtime.name
    found = find_sources(runtime.input_names, input_settings(model, proposals), name)
    runs = None
    if isinstance(model, str | Path) and run_config(model) is not None:
        run = Path(model).resolve()
        runs = run.parent if run.is_dir() else run.parent.parent
    folder = inputs_folder(runs)
    label = f"inputs of {dataset.info.name}, {dataset.info.split}"
    return add_inputs(dataset, found, folder, worker_count(workers), lambda parts, n: track(parts, n, label), None)


def as_exported(model: ModelLike, network: Model, dataset: VisionDataset, spec: InputSpec) -> VisionDataset:
    """The data set as an exported file of a network takes it: crops of objects where it learnt from such, with inputs.

    Args:
        model: As it was given.
        network: The network itself.
        dataset: Images.
        spec: Of the file.

    Raises:
        SaccadeError: If the further inputs cannot be read.
    """
    from saccade.engine.predict.top_down import crops_of_boxes

    return with_input_data(model, network, crops_of_boxes(dataset, spec) if spec.object_crops else dataset)


@contextlib.contextmanager
def _naming_plugins(names: Sequence[str]) -> Iterator[None]:
    """Name the plugins of a run that are not loaded where its data cannot be opened: a file does not load them."""
    try:
        yield
    except DataError as error:
        missing = missing_plugins(names)
        if not missing:
            raise
        raise DataError(
            f"{error} The run had the plugin '{missing[0]}', which is not loaded: --plugin {missing[0]}, or --trust."
        ) from error


def open_data(
    model: ModelLike,
    data: str | Path | VisionDataset | None,
    split: str | None,
    format: str | None,
    task: str,
    decoded_keys: Collection[str] = (),
) -> VisionDataset:
    """The data set that was named, or that of the run that a checkpoint lies in.

    Without a split it is ``test``, else ``val``; where the data have neither, the images that training holds out. Masks
    and keypoints of objects are read where the network gives them and the data have them.

    Raises:
        SaccadeError: If neither is known, or it cannot be read.
    """
    from saccade.data.derived.checked import accept_dataset
    from saccade.data.open import evaluation_split, holds_out, open_dataset
    from saccade.engine.train.sources import open_sources
    from saccade.tasks import get_task

    if data is not None and not isinstance(data, str | Path):
        for name, value in (("split", split), ("format", format)):
            if value is not None:
                raise ConfigError(f"{name} is for data that are opened by name; this is a data set. Leave {name} out.")
        given = accept_dataset(data, "data")
        if given.info.task != task:
            raise ConfigError(f"data is a data set of {given.info.task}; the model is scored on {task}.")
        return given
    if data is None:
        config = run_config(model)
        if config is None:
            raise ConfigError(
                "no data was named, and the model does not lie in a run folder that names it. "
                "Pass data=PATH (--data PATH)."
            )
        run = replace(config.data, bad_labels="drop", bad_images="error")
        chosen, plugins = split or run.test or run.val or run.train, config.plugins

        def read(**options: Any) -> VisionDataset:
            with _naming_plugins(plugins):
                return open_sources(run, [chosen], task, **options)[0]

    else:
        split = split or evaluation_split(data, format, task)
        held = holds_out(data, (split,), format, task) or None
        read = partial(open_dataset, data, split, format=format, task=task, bad_labels="drop", hold_out=held)
    more: dict[str, Any] = {name: True for name in get_task(task).on_demand if name in decoded_keys}
    if more:
        try:
            found = read(**more)
            found.target(0)
        except DataError as error:
            logger.warning("only boxes are scored, not %s: %s", " and ".join(more), error)
        else:
            return found
    return read()
