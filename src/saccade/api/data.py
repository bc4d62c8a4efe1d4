"""Data sets in Python: ``check``, ``repair``, ``convert``, ``show`` and ``datasets``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from saccade.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from saccade.api._open import ModelLike
    from saccade.data.check import CheckReport
    from saccade.data.check.describe import DatasetDescription
    from saccade.data.check.repair import RepairReport
    from saccade.data.writers._common import ImagePolicy, LossReport
    from saccade.engine.evaluate.model_check import ModelReport
    from saccade.models.foreign_checkpoint import ConvertedWeights

__all__ = ["DatasetRow", "check", "convert", "datasets", "repair", "show"]


@overload
def check(
    data: str | Path,
    split: str | None = ...,
    format: str | None = ...,
    task: str | None = ...,
    *,
    images: bool = ...,
    model: None = ...,
    steps: int = ...,
    trust: bool = ...,
) -> CheckReport: ...


@overload
def check(
    data: str | Path,
    split: str | None = ...,
    format: str | None = ...,
    task: str | None = ...,
    *,
    images: bool = ...,
    model: ModelLike,
    steps: int = ...,
    trust: bool = ...,
) -> ModelReport: ...


def check(
    data: str | Path,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    *,
    images: bool = True,
    model: ModelLike | None = None,
    steps: int = 100,
    minutes: float = 2.0,
    trust: bool = False,
) -> CheckReport | ModelReport:
    """Find the faults of a data set before training, or what keeps a model from learning it.

    Args:
        data: Data set: name in the catalogue, or path.
        split: Split; several are joined by "+".
        format: Reader; found automatically if not given.
        task: Which ground truth to read, where the data has several.
        images: Decode every image: finds broken files, wrong sizes and copies.
        model: Model to check against the data: name of a network, checkpoint, or folder of a run.
        steps: With a model: training steps in which four images are to overfit; 0 leaves it out.
        minutes: With a model: limit of that training.
        trust: Open the checkpoint of a network from outside the package, whose module is imported, that is, run.

    Returns:
        Faults with file, field and remedy, and counts; ``ok`` if training would take the data. With a model: whether it
        can learn the data.

    Raises:
        SaccadeError: If there is no such data set or model, or the two belong to different tasks.

    Example:
        >>> report = saccade.check("digit_scenes", "val", images=False)
        >>> report.ok, report.images
        (True, 200)
    """
    if model is not None:
        from saccade.engine.evaluate.model_check import check_source as check_model
        from saccade.engine.train.progress import note

        return check_model(model, str(data), split, format, task, steps, trust=trust, minutes=minutes, progress=note)
    from saccade.data.check import check_source
    from saccade.engine.train.progress import track

    return check_source(data, split, format, task, images, progress=lambda parts, total: track(parts, total, "images"))


def repair(
    data: str | Path,
    out: str | Path,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
) -> RepairReport:
    """Write a copy of a data set without the faults that can be repaired, and a list of what was changed.

    In the shell this is ``saccade check DATA --repair OUT``.

    Args:
        data: Data set: name in the catalogue, or path; it is not touched.
        out: Folder to write; it must be empty or not exist.
        split: Split; several are joined by "+". All if not given.
        format: Reader; found automatically if not given.
        task: Which ground truth to read, where the data has several.

    Returns:
        Every change with its reason, and counts.

    Raises:
        SaccadeError: If there is no such data set, or ``out`` is not empty.

    Example:
        >>> from PIL import Image
        >>> for name, color in (("cat", "red"), ("dog", "blue")):
        ...     Path("pets", "train", name).mkdir(parents=True)
        ...     Image.new("RGB", (8, 8), color).save(f"pets/train/{name}/1.png")
        >>> _ = Path("pets/train/dog/2.png").write_bytes(b"not an image")
        >>> saccade.check("pets").ok
        False
        >>> len(saccade.repair("pets", "repaired").changes), saccade.check("repaired").ok
        (1, True)
    """
    from saccade.data.check.repair import repair_source

    return repair_source(data, out, split, format, task)


@overload
def convert(
    data: str | Path,
    out: str | Path,
    to: str,
    *,
    format: str | None = ...,
    split: str | None = ...,
    task: str | None = ...,
    image_files: ImagePolicy = ...,
    images: str | None = ...,
    model: None = ...,
    class_names: None = ...,
    model_args: None = ...,
) -> LossReport: ...


@overload
def convert(
    data: str | Path,
    out: str | Path,
    to: None = ...,
    *,
    format: str | None = ...,
    split: str | None = ...,
    task: str | None = ...,
    image_files: ImagePolicy = ...,
    images: str | None = ...,
    model: str,
    class_names: str | Path | Sequence[str] | None = ...,
    model_args: Mapping[str, Any] | None = ...,
) -> ConvertedWeights: ...


def convert(
    data: str | Path,
    out: str | Path,
    to: str | None = None,
    *,
    format: str | None = None,
    split: str | None = None,
    task: str | None = None,
    image_files: ImagePolicy = "copy",
    images: str | None = None,
    model: str | None = None,
    class_names: str | Path | Sequence[str] | None = None,
    model_args: Mapping[str, Any] | None = None,
) -> LossReport | ConvertedWeights:
    """Write a data set in another format, or a checkpoint of a file of weights that others wrote.

    Args:
        data: Data set (name in the catalogue, folder, or zip of images); with a model, the file of weights.
        out: Folder to write, which must be empty or not exist; with a model, the checkpoint, NAME.safetensors.
        to: Format to write: coco, voc, yolo, labelme, cvat, label_studio, csv, masks, folder, keypoint_csv.
        format: Reader; found automatically if not given.
        split: Split; several are joined by "+".
        task: Which ground truth to read, where the data has several.
        image_files: Copy the images, link them (hard links), or write annotations only (none).
        images: Folder of the images to read, if they do not lie where the format has them; relative to the data folder.
        model: Network that a file of weights is of, or its Darknet .cfg; data is then that file.
        class_names: With a model: text file with the names of its classes, one a line, in the order of the file's rows;
            of a Darknet .cfg also its .data file, and if not given, such a file beside it.
        model_args: With a model: options of the network by name.

    Returns:
        The account: what was kept, changed and dropped, by kind of annotation; of weights what was recognised, and the
        classes and input of the checkpoint.

    Raises:
        SaccadeError: If the data cannot be read, the format cannot hold its ground truth, ``out`` is there already, or
            the weights are not those of the model.

    Example:
        >>> from PIL import Image
        >>> for name in ("cat", "dog"):
        ...     Path("pets", name).mkdir(parents=True)
        ...     Image.new("RGB", (8, 8)).save(f"pets/{name}/{name}1.png")
        >>> saccade.convert("pets", "table", "csv").lossless
        True
        >>> saccade.datasets("table").splits[0].class_counts
        {'cat': 1, 'dog': 1}
    """
    if model is not None:
        if to is not None:
            raise ConfigError("a model is for files of weights, a format (to) for data sets; give one of them.")
        from saccade.models.foreign_checkpoint import convert_weights

        if Path(model).suffix == ".cfg":
            from saccade.models.darknet.open import cfg_builder, names_of_weights, read_darknet_names

            cfg, (model, arguments) = model, cfg_builder(model)
            if class_names is None:
                class_names = names_of_weights(cfg, data)
            elif isinstance(class_names, str | Path):
                class_names = read_darknet_names(class_names)
            model_args = {**arguments, **(model_args or {})}
        return convert_weights(data, out, model, class_names or (), model_args)
    if to is None:
        raise ConfigError(
            "nothing says what to write: give a format (--to coco) for a data set, or the network (--model NAME) for a "
            "file of weights."
        )
    if class_names is not None or model_args is not None:
        raise ConfigError("class_names and model_args belong to a model (--model NAME) and a file of weights.")
    from saccade.data.writers.convert import convert as run

    options = {} if images is None else {"images": images}
    return run(data, out, to, format, split, task, image_files, **options)


def show(
    data: str | Path,
    *,
    recipe: str | None = None,
    model: str | None = None,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    count: int = 16,
    epoch: int = 0,
    seed: int | None = None,
    proposals: str | None = None,
    limit: int | None = None,
    save: str | Path | None = None,
) -> NDArray[Any]:
    """Draw training images with their ground truth as they reach the network, or proposals and their recall.

    Args:
        data: Data set: name in the catalogue, or path.
        recipe: Recipe whose network and augmentation are shown; an unknown name offers the nearest.
        model: Name of a network in place of a recipe, with the usual settings of its task.
        split: Split; several are joined by "+".
        format: Reader; found automatically if not given.
        task: Which ground truth to read, where the data has several and no network decides.
        count: How many images.
        epoch: Epoch of the run, from 0, or from the end if negative.
        seed: Seed of the run; the recipe's if not given.
        proposals: Show proposals in place of training images: selective_search, selective_search_quality, or a JSON
            file in COCO's form.
        limit: With proposals: score so many images, evenly spaced; all if not given.
        save: Image file to write; with proposals also a page (.html).

    Returns:
        A sheet of images, (H, W, 3) uint8 RGB.

    Raises:
        SaccadeError: If a name is unknown, the data cannot be read, or options exclude each other.

    Example:
        >>> sheet = saccade.show("digit_scenes", task="detection", count=4)
        >>> sheet.dtype, sheet.shape[2]
        (dtype('uint8'), 3)
    """
    from saccade.engine.report.show import draw_training_images, on_data, task_of
    from saccade.engine.train.config import TrainConfig
    from saccade.recipes import default_recipe, get_recipe
    from saccade.recipes.defaults import DEFAULTS
    from saccade.results.images import write_image

    data = str(data)
    if proposals is not None:
        if recipe is not None or model is not None or epoch != 0 or seed is not None:
            raise ConfigError("proposals are those of the images as they are. Leave recipe, model, epoch and seed out.")
        from saccade.engine.report.proposals import show_proposals

        shown = show_proposals(data, proposals, split, format, task, count, limit)
        if save is not None:
            shown.save(save)
        return shown.sheet()
    if limit is not None:
        raise ConfigError("limit is the number of images whose proposals are scored. Give proposals with it.")
    if recipe is not None and model is not None:
        raise ConfigError("a recipe names its own network; give a recipe or a model, one of them.")
    if recipe is not None:
        config = get_recipe(recipe)
    elif model is not None:
        config = default_recipe(model, data)
    else:
        config = DEFAULTS.get(task or task_of(data, split, format), TrainConfig)()
    sheet = draw_training_images(on_data(config, data, split, format, seed), count, epoch, task)
    if save is not None:
        write_image(save, sheet)
    return sheet


@dataclass(frozen=True)
class DatasetRow:
    """A data set of the catalogue.

    Args:
        name: By which every verb takes it.
        task: What it is opened for unless another is asked for.
        licence: As its source states it.
        present: Whether its files are on this machine.
        description: One line.
    """

    name: str
    task: str
    licence: str
    present: bool
    description: str


@overload
def datasets(
    data: None = ..., *, task: str | None = ..., download: bool = ..., folder: str | Path | None = ...
) -> list[DatasetRow]: ...


@overload
def datasets(
    data: str | Path, *, task: str | None = ..., download: bool = ..., folder: str | Path | None = ...
) -> DatasetDescription: ...


def datasets(
    data: str | Path | None = None,
    *,
    task: str | None = None,
    download: bool = False,
    folder: str | Path | None = None,
) -> list[DatasetRow] | DatasetDescription:
    """List the data sets of the catalogue, or show what one holds; download it first if asked to.

    Args:
        data: Data set: name in the catalogue, or path; the catalogue is listed if not given.
        task: List only those for this task.
        download: Download it first: resumed after a cut, verified, unpacked, never half there.
        folder: Where a download makes its folder; the cache if not given.

    Returns:
        Rows of the catalogue; of one data set format, licence, folder, and images, objects and classes of each split,
        which are counted where it lies in ``SACCADE_DATA`` or the cache.

    Raises:
        SaccadeError: If there is no such data set or task, or it cannot be downloaded.

    Example:
        >>> [row.name for row in saccade.datasets(task="detection") if row.name == "digit_scenes"]
        ['digit_scenes']
        >>> [(part.split, part.images) for part in saccade.datasets("digit_scenes").splits]
        [('train', 2000), ('val', 200), ('test', 200)]
    """
    if data is None:
        if download:
            raise ConfigError("a download needs the name of a data set (saccade datasets NAME --download).")
        return _rows(task)
    from saccade.data.check.describe import describe_dataset

    where = _fetch(str(data), folder) if download else None
    description = describe_dataset(data)
    return description if where is None or folder is None else replace(description, folder=where)


def _rows(task: str | None) -> list[DatasetRow]:
    from saccade.data.catalogue.catalogue import CATALOGUE, is_present

    tasks = {entry.task for entry in CATALOGUE.values()}
    if task is not None and task not in tasks:
        raise ConfigError(f"no data set for task '{task}'.{did_you_mean(task, tasks)}")
    return [
        DatasetRow(entry.name, entry.task, entry.licence, is_present(entry.name), entry.description)
        for entry in CATALOGUE.values()
        if task in (None, entry.task)
    ]


def _fetch(name: str, folder: str | Path | None) -> Path:
    """Folder of a data set of the catalogue, downloaded under a bar where someone watches."""
    from saccade.data.catalogue.fetch import fetch
    from saccade.weights.download import download

    if not sys.stderr.isatty():
        return fetch(name, folder, download=download)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(name, total=None)
        progress = lambda done, total: bar.update(row, completed=done, total=total)  # noqa: E731
        return fetch(name, folder, progress, download=download)
