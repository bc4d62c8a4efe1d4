"""Networks in Python: ``models``, ``summary``, ``create_model``, ``list_models`` and ``load``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from saccade.api._open import ModelLike
from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.checkpoint import load_model
from saccade.models.registry import create_model, list_models

if TYPE_CHECKING:
    from saccade.analysis.summary import Summary

__all__ = ["ModelRow", "create_model", "list_models", "load", "models", "summary"]


@dataclass(frozen=True)
class ModelRow:
    """A network of the list, with what is counted and published of it.

    Args:
        name: Builder, as :func:`saccade.create_model` takes it.
        task: Task it solves.
        parameters: Parameters, at its default number of classes.
        macs: Multiply-adds of one image, at its default canvas.
        paper: Authors, venue and year with the arXiv id where there is one.
        published: Names of published weights.
    """

    name: str
    task: str
    parameters: int
    macs: int
    paper: str
    published: tuple[str, ...]


def load(
    path: str | Path,
    earlier_head: int | None = None,
    trust: bool = False,
    weights: str | Path | None = None,
    class_names: str | Path | Sequence[str] | None = None,
) -> Model:
    """Build the network of a checkpoint, or of a Darknet ``.cfg``, and fill it, ready to predict (in eval mode).

    Args:
        path: Checkpoint, folder of a run, which means its best one, or a ``.cfg`` file.
        earlier_head: Number of the head to build it with, of those that the network had before it learnt its present
            classes on a frozen body; 0 is the oldest.
        trust: Import the module of a network from outside the package, which runs it. Not needed where the module was
            imported before.
        weights: The ``.weights`` file of a ``.cfg``.
        class_names: Names of the classes of a ``.cfg``, or the ``.names`` or ``.data`` file that has them; if not
            given, such a file beside it.

    Raises:
        SaccadeError: If a file is damaged, none of these, or does not fit another.

    Example:
        >>> from saccade.models.checkpoint import save_model
        >>> path = save_model(saccade.create_model("lenet5"), "runs/digits/best.safetensors")
        >>> saccade.load(path).builder_name, saccade.load("runs/digits").builder_name
        ('lenet5', 'lenet5')
    """
    if Path(path).suffix == ".cfg":
        from saccade.models.darknet.open import load_darknet

        if weights is None:
            raise ConfigError(f"'{path}' has no weights. Give the file that belongs to it: weights='FILE.weights'.")
        return load_darknet(path, weights, class_names)
    for name, value in (("weights", weights), ("class_names", class_names)):
        if value is not None:
            raise ConfigError(f"{name} belong to a Darknet .cfg; '{path}' has its own. Leave {name} out.")
    return load_model(path, earlier_head, trust)


def models(task: str | None = None) -> list[ModelRow]:
    """Networks by name, with parameters, multiply-adds, paper and published weights; built by none of it.

    Args:
        task: Only those that solve this task.

    Raises:
        ConfigError: If the task is unknown.

    Example:
        >>> {row.name: row.parameters for row in saccade.models("classification")}["lenet5"]
        61706
    """
    from saccade.analysis.counts import counts_of
    from saccade.models.registry import get_builder
    from saccade.weights import PUBLISHED

    rows = []
    for name in list_models(task):
        entry, counts = get_builder(name), counts_of(name)
        published = tuple(one.name for one in PUBLISHED.values() if one.builder == name)
        rows.append(ModelRow(name, entry.task, counts.params, counts.macs, entry.paper, published))
    return rows


def summary(
    model: ModelLike, num_classes: int | None = None, size: Sequence[int] | None = None, trust: bool = False
) -> Summary:
    """Parameters, multiply-adds and shapes of a network, computed without allocating weights.

    Args:
        model: Name of a network, checkpoint, or folder of a run.
        num_classes: Classes without background, for a network given by name; the paper's number if not given.
        size: Canvas (height, width); the network's own if not given.
        trust: Open the checkpoint of a network from outside the package, whose module is imported, that is, run.

    Returns:
        Totals, and rows of modules and stages; ``str()`` is a table.

    Raises:
        SaccadeError: If the name or file is unknown, or the size does not suit the network.

    Example:
        >>> report = saccade.summary("lenet5")
        >>> report.params, report.macs
        (61706, 416520)
    """
    from saccade.analysis.summary import summary as count

    if not isinstance(model, Model) and Path(model).suffix == ".cfg":
        from saccade.models.darknet.open import cfg_builder

        name, arguments = cfg_builder(model)
        with torch.device("meta"):
            model = create_model(name, None, None, **arguments)
    elif not isinstance(model, Model):
        model = load(model, trust=trust) if Path(model).exists() else str(model)
    return count(model, num_classes, size)
