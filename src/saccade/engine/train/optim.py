"""Optimisers from configuration: which parameters decay, which learn faster, which do not move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from saccade.engine.train.config import FreezeConfig, OptimizerConfig
from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Model

__all__ = ["apply_freeze", "build_optimizer", "layers_of"]

_BatchNorm = nn.modules.batchnorm._BatchNorm


def layers_of(model: Model) -> tuple[tuple[str, ...], ...]:
    """Layers from the input to the head, each as the prefixes of its parameters' names: what ``layer_decay`` counts.

    The model's ``layer_names``; else the children of each stage that is a row, and each other stage. What holds nothing
    but norms or biases belongs to the layer before it. The last layer is the head, with the norms right below it.
    """
    groups = [list(names) for names in model.layer_names]
    if not groups:
        for stage in model.stage_names:
            module = model.get_submodule(stage)
            row = type(module) in (nn.Sequential, nn.ModuleList)  # and no brick that is made of one
            children = [f"{stage}.{name}" for name, _ in module.named_children()] if row else [stage]
            groups += [[name] for name in children if next(model.get_submodule(name).parameters(), None) is not None]
    layers: list[tuple[str, ...]] = []
    for names in groups:
        if layers and not any(_has_weights(model, name) for name in names):
            layers[-1] = (*layers[-1], *names)
        else:
            layers.append(tuple(names))
    head = [model.head_name, *model.auxiliary_heads]
    if layers:  # norms that ended up behind the last layer's weights
        kept = [name for name in layers[-1] if _has_weights(model, name)]
        head += [name for name in layers[-1] if name not in kept]
        layers[-1] = tuple(kept)
    return (*layers, tuple(head))


def _has_weights(model: Model, name: str) -> bool:
    return any(parameter.ndim > 1 for parameter in model.get_submodule(name).parameters())


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    config: OptimizerConfig,
    layers: Sequence[Sequence[str]] = (),
) -> Optimizer:
    """One optimiser over the given parameters.

    Parameters of fewer than two dimensions (biases, norms, layer scales) are not decayed unless ``decay_norm_and_bias``
    says so.
    ``lr_scale`` maps a name prefix to a factor; the longest matching prefix wins.

    Args:
        named_parameters: As from ``model.named_parameters()``.
        config: Kind and settings.
        layers: Of :func:`layers_of`, for ``layer_decay``: a parameter of the layer i below the head has the factor
            ``layer_decay ** i``, and what is in no layer (position embeddings, the class token) belongs to the first
            (Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT).

    Raises:
        ConfigError: If a prefix of ``lr_scale`` matches no parameter, or ``layer_decay`` has no layers to go by.
    """
    parameters = list(named_parameters)
    for prefix in config.lr_scale:
        if not any(name.startswith(prefix) for name, _ in parameters):
            roots = {name.split(".")[0] for name, _ in parameters}
            raise ConfigError(f"optimizer.lr_scale: no parameter starts with '{prefix}'.{did_you_mean(prefix, roots)}")
    if config.layer_decay != 1.0 and len(layers) < 2:
        raise ConfigError("optimizer.layer_decay needs a network with stages, and this one names none. Set it to 1.")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        decay = config.weight_decay if parameter.ndim > 1 or config.decay_norm_and_bias else 0.0
        matching = [prefix for prefix in config.lr_scale if name.startswith(prefix)]
        scale = config.lr_scale[max(matching, key=len)] if matching else 1.0
        scale *= config.layer_decay ** _layers_above(name, layers)
        groups.setdefault((decay, scale), []).append(parameter)
    # "base_lr" is what the schedule multiplies; the optimiser's own "lr" changes every step.
    settings = [
        {"params": members, "weight_decay": decay, "lr": config.lr * scale, "base_lr": config.lr * scale}
        for (decay, scale), members in groups.items()
    ]
    if config.name == "sgd":
        return torch.optim.SGD(settings, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=True)
    eps = 1e-8 if config.eps is None else config.eps
    if config.name == "rmsprop":
        return torch.optim.RMSprop(settings, lr=config.lr, alpha=config.alpha, eps=eps, momentum=config.momentum)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(settings, lr=config.lr, betas=config.betas, eps=eps, fused=True)


def _layers_above(name: str, layers: Sequence[Sequence[str]]) -> int:
    """How many layers, the head included, lie above a parameter."""
    own = [
        index for index, names in enumerate(layers) if any(name == one or name.startswith(f"{one}.") for one in names)
    ]
    return len(layers) - 1 - max(own, default=0) if layers else 0


def apply_freeze(model: Model, freeze: FreezeConfig) -> None:
    """Put the model in training mode with what ``freeze`` names standing still.

    ``frozen_stats`` keeps the running statistics of BatchNorm and uses them; ``frozen_all`` also stops its scale and
    shift. Stages that do not train
    keep their statistics as well: a frozen network whose statistics drift is not frozen.

    Args:
        model: With ``stage_names`` and ``head_name`` unless everything trains.
        freeze: What moves.

    Raises:
        ConfigError: If ``freeze.trainable`` is not understood.
    """
    if freeze.trainable == "all":
        model.requires_grad_(True).train()
    else:
        model.requires_grad_(False).eval()
        for name in _trainable_parts(model, freeze.trainable):
            model.get_submodule(name).requires_grad_(True).train()
        model.training = True  # a mode of the whole, which auxiliary heads go by
    if freeze.batch_norm == "train":
        return
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
            if freeze.batch_norm == "frozen_all":
                module.requires_grad_(False)


def _trainable_parts(model: Model, trainable: str) -> tuple[str, ...]:
    if trainable == "head":
        return (model.head_name, *model.auxiliary_heads)
    kind, _, digits = trainable.partition(":")
    if kind != "last" or not digits.isdigit():
        raise ConfigError(
            f"freeze.trainable is '{trainable}'; it must be 'all', 'head' or 'last:k' (such as 'last:2')."
        )
    stages = model.stage_names
    weighted = [name for name in stages if _has_weights(model, name)]  # a norm alone is no stage
    wanted = int(digits)
    if wanted > len(weighted):
        raise ConfigError(
            f"freeze.trainable is '{trainable}', but {model.builder_name} has {len(weighted)} stages: "
            f"{', '.join(weighted)}."
        )
    first = stages.index(weighted[len(weighted) - wanted]) if wanted else len(stages)
    return (*stages[first:], model.head_name, *model.auxiliary_heads)
