"""What runs after a network, as the verbs are given it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from saccade.api.options import FinishOptions
from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.deploy.file_runtime import FileRuntime
    from saccade.models.base import Model

__all__ = ["OWN_FINISH", "FinishLike", "set_finish", "with_finish"]

FinishLike = FinishOptions | Mapping[str, Any] | str
"""Another function after the network than a model's own, or other options of it."""

OWN_FINISH = FinishOptions()


def with_finish(model: Model, finish: FinishLike = OWN_FINISH) -> Model:
    """A network with another function after it; it shares its weights with the one given.

    Args:
        model: The network; itself if nothing is given.
        finish: Kind and options.

    Raises:
        ConfigError: If the kind or an option is unknown, out of its range, or not for this network.
    """
    if finish == OWN_FINISH:
        return model
    name = model.builder_name or type(model).__name__
    other = copy.copy(model)
    other.finish, other.finish_options = _resolve(finish, model.finish, model.finish_options, model.task, name)
    return other


def set_finish(runtime: FileRuntime, finish: FinishLike = OWN_FINISH) -> None:
    """Let another function run after an exported graph; the file itself stays as it is.

    Raises:
        ConfigError: As :func:`with_finish`.
    """
    if finish == OWN_FINISH:
        return
    metadata = runtime.metadata
    own = metadata.get("finish", ""), metadata.get("finish_options", {})
    kind, options = _resolve(finish, *own, runtime.task, runtime.name)
    metadata.update(finish=kind, finish_options=options)


def _resolve(
    finish: FinishLike, own_kind: str, own_options: Mapping[str, Any], task: str, title: str
) -> tuple[str, dict[str, Any]]:
    """Name and options of the function that runs now."""
    from saccade.models.finish import check_finish, makes_of

    if isinstance(finish, str):
        finish = {"kind": finish}
    values = dict(finish) if isinstance(finish, Mapping) else asdict(finish)
    given = {name: value for name, value in values.items() if value is not None}
    kind = given.pop("kind", own_kind)
    if makes_of(own_kind) and kind != own_kind:
        raise ConfigError(
            f"finish.kind is '{kind}', and {title} gives {', '.join(makes_of(own_kind))} by '{own_kind}' only. Leave "
            "finish.kind out."
        )
    if kind in ("", "none"):
        if given:
            raise ConfigError(
                f"finish.{next(iter(given))} has no effect: nothing runs after {title}. Leave it out, or set "
                "finish.kind."
            )
        return "", {}
    options = {**own_options, **given} if kind == own_kind else given
    check_finish(kind, options, task)
    return kind, options
