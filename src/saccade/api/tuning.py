"""Search for hyper-parameters in Python: ``tune``."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from saccade.api._start import start_config
from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.engine.train.config import TrainConfig
    from saccade.engine.tune.search import TuneResult

__all__ = ["tune"]


def tune(
    config: TrainConfig | str | Path | None = None,
    *,
    recipe: str | None = None,
    model: str | None = None,
    data: str | Path | Sequence[str | Path] | None = None,
    space: Sequence[str] | Mapping[str, str] = (),
    trials: int | None = None,
    sampler: Literal["tpe", "cmaes", "evolve", "random"] | None = None,
    metric: str | None = None,
    prune: bool = True,
    jobs: int = 1,
    out: str | Path | None = None,
    storage: str | None = None,
    resume: bool = False,
) -> TuneResult:
    """Search for the values of a recipe's fields that score best, over any of its fields.

    Args:
        config: Configuration to start from, such as the config.yaml of an earlier run.
        recipe: Recipe to start from; an unknown name offers the nearest.
        model: Name of the network to train.
        data: Data set: name in the catalogue, or path.
        space: Field and its values: NAME=LOW:HIGH, NAME=LOW:HIGH:log, NAME=LOW:HIGH:STEP or NAME=A,B,C, as in
            optimizer.lr=1e-4:1e-2:log; may be given several times.
        trials: Trials in all; 20 if not given, or the number of the search that is resumed.
        sampler: How values are drawn: tpe, cmaes, evolve (mutates the best), random; tpe if not given.
        metric: Figure to maximise, as metrics.csv names it; min:NAME where lower is better.
        prune: Stop trials after an epoch in which they are worse than the median of those before.
        jobs: Processes on this machine, each with a trial of its own.
        out: Folder to write; runs/NAME_tune if not given.
        storage: URL of a database that several machines share, such as postgresql://host/name; a file in the folder if
            not given.
        resume: Go on with the search of that folder.

    Returns:
        Best values, their fitness, ``best.yaml`` for ``saccade train --config``, ``tune.html``, and a row a trial.

    Raises:
        SaccadeError: If there is nothing to train, the space contradicts the recipe, or every trial would fail alike.

    Example:
        >>> from PIL import Image
        >>> for name, grey in (("dark", 40), ("light", 200)):
        ...     Path("shades", name).mkdir(parents=True)
        ...     for number in range(10):
        ...         pixels = np.full((32, 32), grey + number, np.uint8)
        ...         Image.fromarray(pixels).save(f"shades/{name}/{number}.png")
        >>> config = saccade.recipe(model="lenet5", data="shades")
        >>> config.epochs, config.data.workers = 1, 0
        >>> found = saccade.tune(config, space=["optimizer.lr=1e-4:1e-2:log"], trials=1, out="search")
        >>> found.best_config.as_posix(), found.metric, len(found.trials)
        ('search/best.yaml', 'top1', 1)
    """
    if importlib.util.find_spec("optuna") is None or importlib.util.find_spec("cmaes") is None:
        raise ConfigError('tune needs optuna and cmaes. Run: pip install "saccade[tune]".')
    from saccade.engine.tune.search import run_search
    from saccade.engine.tune.space import default_space, parse_space
    from saccade.engine.tune.study import Search

    if resume and config is None and recipe is None and model is None and data is None:
        if out is None:
            raise ConfigError("--resume needs the folder of the search: --out FOLDER.")
        search, folder = None, Path(out)
    else:
        base = start_config(config, recipe=recipe, model=model, data=data)
        folder = Path(out) if out is not None else Path(base.out) / f"{base.name}_tune"
        search = Search(base, parse_space(base, space or default_space(base)), 20, "tpe", metric, prune)
    return run_search(search, folder, jobs, storage, resume, {"trials": trials, "sampler": sampler})
