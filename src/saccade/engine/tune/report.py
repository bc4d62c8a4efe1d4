"""``tune.html``: history, importances, parallel coordinates and all trials of a search, in one file."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from saccade.engine.tune.space import Choice, Dimension, Range
from saccade.engine.tune.study import counted, is_recipe
from saccade.results import page
from saccade.results.palette import CHART_COLORS
from saccade.structures.files import write_text

__all__ = ["importances", "trial_rows", "write_tune_report"]

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
# Importances of fewer trials would be a guess.
_ENOUGH = 5


def write_tune_report(
    path: Path, title: str, study: Study, space: Sequence[Dimension], metric: str, config: str
) -> Path:
    """Write the report of a search as one self-contained HTML file.

    Args:
        path: File to write.
        title: Heading.
        study: The study.
        space: Its space.
        metric: Name of what is maximised.
        config: The best configuration as YAML; empty if there is none yet.

    Returns:
        ``path``.
    """
    trials = counted(study)
    complete = [one for one in trials if one.state == TrialState.COMPLETE]
    shares = importances(study)
    figures = [_history(trials, metric), *([_bars(shares)] if shares else [])]
    sections = [
        page.section("Best", _tiles(trials, complete, metric)),
        page.section("History and importance", page.plots(figures) + _why_none(shares)),
        page.section("Parallel coordinates", page.plots([_parallel(complete, space, metric)]) if complete else ""),
        page.section("Trials", page.table(trial_rows(trials, space))),
        page.section("Space", page.table([{"field": one.name, "values": str(one).partition("=")[2]} for one in space])),
        page.section(
            "Best configuration", f"<details><summary>show</summary><pre>{html.escape(config)}</pre></details>"
        )
        if config
        else "",
    ]
    write_text(path, page.page(title, sections))
    return path


def trial_rows(trials: Sequence[FrozenTrial], space: Sequence[Dimension]) -> list[dict[str, Any]]:
    """One row a trial: outcome, fitness, values, and why it failed."""
    return [
        {
            "trial": one.number,
            "state": _STATES[one.state] + (" (recipe)" if is_recipe(one) else ""),
            "fitness": one.value if one.state == TrialState.COMPLETE else one.user_attrs.get("best_epoch_value"),
            "epochs": one.user_attrs.get("epochs"),
            "minutes": one.user_attrs.get("minutes"),
            **{dimension.name: one.params.get(dimension.name) for dimension in space},
            "reason": one.user_attrs.get("reason", ""),
        }
        for one in trials
    ]


def importances(study: Study) -> dict[str, float]:
    """Share of the variance of the fitness that each field explains (fANOVA), largest first; empty for few trials."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < _ENOUGH or len({one.value for one in complete}) < 2:
        return {}
    return dict(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)))


def _why_none(shares: dict[str, float]) -> str:
    return "" if shares else f"<p>Importances need {_ENOUGH} complete trials of different fitness.</p>"


def _tiles(trials: Sequence[FrozenTrial], complete: Sequence[FrozenTrial], metric: str) -> str:
    values: dict[str, Any] = {}
    if complete:
        best = max(complete, key=lambda one: (one.value or 0.0, -one.number))
        values[f"best {metric}"] = best.value
        values["trial"] = best.number
        values |= {f"recipe's {metric}": one.value for one in complete if is_recipe(one)}
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL):
        values[_STATES[state]] = sum(one.state == state for one in trials)
    values["minutes of training"] = float(sum(one.user_attrs.get("minutes") or 0.0 for one in trials))
    tiles = (
        f"<div class=tile><b>{page.show(value)}</b><span>{html.escape(name)}</span></div>"
        for name, value in values.items()
    )
    return f"<div class=tiles>{''.join(tiles)}</div>"


def _axes(title: str, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _history(trials: Sequence[FrozenTrial], metric: str) -> Any:
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes("history", (6, 3.6))
    complete = [(one.number, float(one.value or 0.0)) for one in trials if one.state == TrialState.COMPLETE]
    pruned = [
        (one.number, one.user_attrs["best_epoch_value"])
        for one in trials
        if one.state == TrialState.PRUNED and one.user_attrs.get("best_epoch_value") is not None
    ]
    if complete:
        numbers, values = zip(*complete, strict=True)
        axes.plot(numbers, values, "o", color=CHART_COLORS[0], label="complete")
        axes.step(numbers, np.maximum.accumulate(values), where="post", color=CHART_COLORS[0], label="best so far")
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "x", color=CHART_COLORS[1], label="pruned")
    failed = [one.number for one in trials if one.state == TrialState.FAIL]
    if failed:
        axes.plot(failed, [axes.get_ylim()[0]] * len(failed), "^", color=CHART_COLORS[2], label="failed")
    axes.set_xlabel("trial")
    axes.set_ylabel(metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if complete or pruned or failed:
        axes.legend(frameon=False, fontsize="small")
    return figure


def _bars(shares: dict[str, float]) -> Any:
    figure, axes = _axes("importance (fANOVA: share of the variance)", (6, 1.2 + 0.35 * len(shares)))
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], color=CHART_COLORS[0])
    axes.set_xlim(0, 1)
    return figure


def _parallel(complete: Sequence[FrozenTrial], space: Sequence[Dimension], metric: str) -> Any:
    """One axis a field, one line a complete trial: the better, the stronger; the best in a second colour."""
    figure, axes = _axes("complete trials", (11, 4.2))
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    order = sorted(complete, key=lambda one: one.value or 0.0)
    values = [float(one.value or 0.0) for one in order]
    low, high = values[0], values[-1]
    positions = list(range(len(space) + 1))
    for rank, one in enumerate(order):
        share = (values[rank] - low) / (high - low) if high > low else 1.0
        heights = [*(_height(dimension, one.params.get(dimension.name)) for dimension in space), share]
        is_best = one is order[-1]
        axes.plot(
            positions,
            heights,
            color=CHART_COLORS[1 if is_best else 0],
            alpha=1.0 if is_best else 0.15 + 0.55 * share,
            linewidth=2.4 if is_best else 1.2,
        )
    ends = [*(_ends(dimension) for dimension in space), (f"{low:.4g}", f"{high:.4g}")]
    for position, (bottom, top) in zip(positions, ends, strict=True):
        axes.axvline(position, color=CHART_COLORS[0], linewidth=0.6, alpha=0.5)
        axes.text(position, -0.04, bottom, ha="center", va="top", fontsize="small")
        axes.text(position, 1.03, top, ha="center", va="bottom", fontsize="small")
    axes.set_ylim(-0.12, 1.12)
    axes.set_yticks([])
    axes.set_xticks(positions, [*(one.name.replace(".", ".\n") for one in space), metric])
    return figure


def _height(one: Dimension, value: Any) -> float:
    if isinstance(one, Choice):
        return one.labels.index(value) / (len(one.labels) - 1) if value in one.labels else math.nan
    if value is None:
        return math.nan
    if one.log:
        return math.log(value / one.low) / math.log(one.high / one.low)
    return float((value - one.low) / (one.high - one.low))


def _ends(one: Dimension) -> tuple[str, str]:
    if isinstance(one, Range):
        return f"{one.low:.4g}", f"{one.high:.4g}"
    return str(one.labels[0]), str(one.labels[-1])
