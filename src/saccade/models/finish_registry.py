"""The list of functions that run after the graph: what each serves, needs and makes, and how settings are checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Decoded
from saccade.ops.views import View
from saccade.structures.plugins import load_installed

__all__ = ["check_finish", "makes_of", "merge_of", "register_finish", "run_finish"]

Finish = Callable[..., Decoded]
Merge = Callable[[Sequence[Decoded], Sequence[View], Sequence[tuple[int, int]], Mapping[str, Any]], Decoded]


@dataclass(frozen=True)
class _Entry:
    """A registered function and what :func:`register_finish` was told of it."""

    function: Finish
    tasks: tuple[str, ...]
    serves: str
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], object] | None
    merge: Merge | None


_FINISHES: dict[str, _Entry] = {}


def register_finish(
    name: str,
    *,
    tasks: Sequence[str] = (),
    serves: str = "",
    needs: Sequence[str] = (),
    makes: Sequence[str] = (),
    check: Callable[[Mapping[str, Any]], object] | None = None,
    merge: Merge | None = None,
) -> Callable[[Finish], Finish]:
    """Register a function that runs after the graph: ``(decoded, images, **options) -> decoded`` (a decorator).

    ``decoded`` are the tensors of the graph on the CPU, ``images`` the canvases, (B, C, H, W) uint8.

    Args:
        name: By which models, checkpoints and exported files name it.
        tasks: Tasks whose networks it serves; all of them if empty.
        serves: These networks in words, for messages; the tasks if empty.
        needs: Tensors of the graph that it reads.
        makes: Tensors of the task that the graph does not give without it: such a network cannot do without.
        check: Refuses options that are out of their range by ``ConfigError``, before anything runs.
        merge: Merges the graph's tensors of mirrored and resized views, where that is better than merging what the
            function makes of each: ``(decoded of each view, views, flip pairs, options) -> decoded``.

    Raises:
        ConfigError: If another function has that name.

    Example:
        >>> @register_finish("halve_scores")
        ... def halve_scores(decoded, images, factor=0.5):
        ...     return {**decoded, "scores": decoded["scores"] * factor}
        >>> run_finish("halve_scores", {"scores": torch.ones(1, 2)}, torch.zeros(1, 3, 4, 4))["scores"]
        tensor([[0.5000, 0.5000]])
    """

    def decorate(function: Finish) -> Finish:
        entry = _Entry(function, tuple(tasks), serves, tuple(needs), tuple(makes), check, merge)
        known = _FINISHES.setdefault(name, entry).function
        if (known.__module__, known.__qualname__) != (function.__module__, function.__qualname__):
            raise ConfigError(f"two functions are registered as finish '{name}'.")
        _FINISHES[name] = entry
        return function

    return decorate


def run_finish(
    name: str, decoded: Mapping[str, Tensor], images: Tensor, options: Mapping[str, Any] | None = None
) -> Decoded:
    """Run a registered function after the graph; an empty name changes nothing.

    Args:
        name: As registered.
        decoded: Tensors of the graph, on the CPU.
        images: Canvases, (B, C, H, W) uint8.
        options: Keyword arguments of the function.

    Raises:
        ConfigError: If there is no such function, it has no such option, or the graph lacks what it needs.

    Example:
        >>> run_finish("", {"scores": torch.ones(1, 2)}, torch.zeros(1, 3, 4, 4))["scores"]
        tensor([[1., 1.]])
    """
    if not name:
        return dict(decoded)
    check_finish(name, options or {})
    entry = _FINISHES[name]
    missing = [key for key in entry.needs if key not in decoded]
    if missing:
        raise ConfigError(
            f"finish '{name}' needs {', '.join(missing)}; this model gives {', '.join(decoded)}. Leave it out (finish "
            "'')."
        )
    return entry.function(dict(decoded), images, **(options or {}))


def check_finish(name: str, options: Mapping[str, Any], task: str | None = None) -> None:
    """Refuse the name of a function that is not registered, and options that it does not have.

    Args:
        name: As registered.
        options: Keyword arguments of the function.
        task: Of the network; with it, a function that serves other networks is refused before anything runs, and its
            settings are looked at.

    Raises:
        ConfigError: With the nearest name.

    Example:
        >>> check_finish("dense_crf", {"iteration": 5})
        Traceback (most recent call last):
        saccade.errors.ConfigError: finish 'dense_crf' has no option 'iteration'. Did you mean 'iterations'?
    """
    if name not in _FINISHES:
        load_installed()
    if name not in _FINISHES:
        raise ConfigError(
            f"the model ends with '{name}', which is not registered here.{did_you_mean(name, _FINISHES)} "
            "Import the module that registers it (saccade.models.finish.register_finish; in the shell --plugin MODULE)."
        )
    entry = _FINISHES[name]
    parameters = list(inspect.signature(entry.function).parameters.values())[2:]
    known = [one.name for one in parameters]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    for option in options:
        if option not in known and not takes_any:
            raise ConfigError(f"finish '{name}' has no option '{option}'.{did_you_mean(option, known)}")
    if task is None:
        return
    if entry.tasks and task not in entry.tasks:
        serves = entry.serves or f"networks for {' and '.join(entry.tasks)}"
        raise ConfigError(f"finish '{name}' is for {serves}; this one solves {task}. Leave it out.")
    if entry.check is not None:
        entry.check(options)


def makes_of(name: str) -> tuple[str, ...]:
    """Tensors of the task that a network's graph does not give without the function of that name.

    Example:
        >>> makes_of("group_people"), makes_of("dense_crf"), makes_of("")
        (('keypoints', 'point_scores', 'scores', 'count'), (), ())
    """
    return _FINISHES[name].makes if name in _FINISHES else ()


def merge_of(name: str) -> Merge | None:
    """Function that merges the graph's tensors of several views before the function of that name runs, if it has one.

    Example:
        >>> merge_of("dense_crf") is None
        True
    """
    return _FINISHES[name].merge if name in _FINISHES else None
