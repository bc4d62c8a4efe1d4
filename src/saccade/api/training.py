"""Training in Python: ``recipe``, ``train`` and ``demo``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.api._start import set_fields, start_config
from saccade.errors import ConfigError
from saccade.structures.plugins import load_plugins

if TYPE_CHECKING:
    from saccade.engine.train.callbacks import Callback
    from saccade.engine.train.config import TrainConfig
    from saccade.engine.train.fit import RunResult
    from saccade.structures.dataset import VisionDataset

__all__ = ["demo", "recipe", "train"]


def recipe(
    name: str | None = None, *, model: str | None = None, data: str | Path | Sequence[str | Path] | None = None
) -> TrainConfig:
    """Configuration of a training run: a recipe by name, or settings that suit a model on data of your own.

    Args:
        name: Recipe; an unknown name offers the nearest.
        model: Name of the network to train; replaces that of a recipe.
        data: Data set: name in the catalogue, or path, or several that are joined by class name; replaces that of a
            recipe.

    Raises:
        ConfigError: If there is neither a name nor a model and data, or one of them is unknown.

    Example:
        >>> config = saccade.recipe(model="yolox_nano", data="digit_scenes")
        >>> config.epochs = 5
        >>> config.name, config.data.source
        ('yolox_nano_digit_scenes', 'digit_scenes')
    """
    return start_config(recipe=name, model=model, data=data)


def train(
    config: TrainConfig | str | Path | None = None,
    *,
    recipe: str | None = None,
    model: str | None = None,
    data: str | Path | Sequence[str | Path] | None = None,
    trainable: str | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    train: VisionDataset | None = None,
    val: VisionDataset | None = None,
    test: VisionDataset | None = None,
    **settings: Any,
) -> RunResult:
    """Train a model: from a recipe, a configuration (object or file), or a model and data.

    Any field of the configuration is a keyword: ``epochs=3``, a group as a mapping, ``optimizer={"lr": 0.01}``, of
    which the other fields stay as they are; in the shell by its name (``--optimizer.lr 0.01``). An unknown one is an
    error that names the nearest.

    Args:
        config: Configuration to start from, such as the config.yaml of an earlier run.
        recipe: Recipe to start from; an unknown name offers the nearest.
        model: Name of the network to train.
        data: Data set: name in the catalogue, or path.
        trainable: What is trained: all, head, or last:k for the last k stages and the head.
        resume: Go on where the run of this name was stopped.
        callbacks: Told of the start, of steps, of every epoch and of the end; each may stop the run.
        train: Data set in memory to train on, in place of data: any object with info, read, target, path and a length.
        val: Data set in memory that is scored after every epoch; images of train are held out if not given.
        test: Data set in memory that is scored once, with the weights that are kept.
        **settings: Fields of the configuration by name.

    Returns:
        Metrics, history, run folder and ``model_path`` of the weights that were kept.

    Raises:
        SaccadeError: If there is nothing to train, a name is unknown, or the data cannot be read.

    Example:
        >>> from PIL import Image
        >>> for name, grey in (("dark", 40), ("light", 200)):
        ...     Path("shades", name).mkdir(parents=True)
        ...     for number in range(10):
        ...         pixels = np.full((32, 32), grey + number, np.uint8)
        ...         Image.fromarray(pixels).save(f"shades/{name}/{number}.png")
        >>> run = saccade.train(model="lenet5", data=Path("shades"), epochs=1, **{"data.workers": 0})
        >>> run.model_path.name, saccade.load(run.model_path).class_names
        ('best.safetensors', ('dark', 'light'))
    """
    from saccade.engine.report.run_report import write_run_report
    from saccade.engine.train.fit import fit
    from saccade.engine.train.given import GivenDatasets, give_datasets

    load_plugins([plugins] if isinstance(plugins := settings.get("plugins", ()), str) else plugins)
    in_memory = any(one is not None for one in (train, val, test))
    given = GivenDatasets(train, val, test) if in_memory else None
    if given is not None and data is not None and not isinstance(data, Mapping):
        raise ConfigError("data names a data set, train is one in memory; give one of them.")
    named = given.name if given is not None and data is None else data
    filled = set_fields(start_config(config, recipe=recipe, model=model, data=named, trainable=trainable), settings)
    if given is not None:
        filled = give_datasets(filled, given)
    result = fit(filled, resume=resume, data=given, callbacks=callbacks)
    if result.is_main:
        write_run_report(result, None if given is None else given(filled))
    return result


def demo(minutes: float = 4.0, out: str | Path = Path("runs/demo")) -> Path:
    """Train, score, draw and export a small detector on generated scenes of real handwriting.

    Args:
        minutes: Training stops after this long.
        out: Folder to write; an earlier demo there is replaced.

    Returns:
        The report, ``report.html``.

    Example:
        >>> saccade.demo(minutes=4).name  # doctest: +SKIP
        'report.html'
    """
    from saccade.engine.report.demo import run_demo
    from saccade.recipes import get_recipe

    return run_demo(get_recipe("demo"), minutes, Path(out))
