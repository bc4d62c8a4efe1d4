"""Optimisers from configuration: which parameters decay, which learn faster, which are frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from saccade.engine.train.config import FreezeConfig, OptimizerConfig
from saccade.errors import ConfigError, WeightsError, did_you_mean
from saccade.models.base import Model

__all__ = [
    "apply_freeze",
    "build_optimizer",
    "describe_freeze",
    "layers_of",
    "load_optimizer_state",
    "optimizer_state",
    "set_rates",
    "trainable_parts",
]

_BatchNorm = nn.modules.batchnorm._BatchNorm


def layers_of(model: Model) -> tuple[tuple[str, ...], ...]:
    """List the layers from the input to the heads, each as the names of its parts: what ``layer_decay`` counts.

    The model's ``layer_names``; else the children of each stage that is a row, and each other stage. What holds nothing
    but norms or biases, and a part that is a single parameter (a class token), belongs to the layer before it. The last
    layer is the heads with the norms right below them and the necks: those are as new as the heads, and learn at the
    same rate.

    Example:
        >>> layers_of(saccade.create_model("lenet5"))
        (('c1',), ('c3',), ('c5',), ('f6',), ('output',))
    """
    groups = [list(names) for names in model.layer_names]
    if not groups:
        for stage in model.stage_names:
            module = _submodule(model, stage)
            row = type(module) in (nn.Sequential, nn.ModuleList)  # and no block that is made of one
            children = [f"{stage}.{name}" for name, _ in module.named_children()] if row and module else [stage]
            groups += [[name] for name in children if _parameters(model, name)]
    layers: list[tuple[str, ...]] = []
    for names in groups:
        if layers and not any(_has_weights(model, name) for name in names):
            layers[-1] = (*layers[-1], *names)
        else:
            layers.append(tuple(names))
    heads = [*model.head_names, *model.auxiliary_heads, *model.neck_names]
    if layers:  # norms that ended up behind the last layer's weights
        kept = [name for name in layers[-1] if _has_weights(model, name)]
        heads += [name for name in layers[-1] if name not in kept]
        layers[-1] = tuple(kept)
    return (*layers, tuple(heads))


def _submodule(model: Model, part: str) -> nn.Module | None:
    """The part, unless it is a parameter."""
    try:
        return model.get_submodule(part)
    except AttributeError:
        return None


def _parameters(model: Model, part: str) -> list[nn.Parameter]:
    """Parameters of a part, which may be one itself."""
    module = _submodule(model, part)
    return [model.get_parameter(part)] if module is None else list(module.parameters())


def _has_weights(model: Model, part: str) -> bool:
    """Whether a part is a submodule with more than norms and biases."""
    module = _submodule(model, part)
    return module is not None and any(parameter.ndim > 1 for parameter in module.parameters())


def _belongs(name: str, parts: Iterable[str]) -> bool:
    """Whether one of the parts holds the parameter of that name."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    config: OptimizerConfig,
    layers: Sequence[Sequence[str]] = (),
) -> Optimizer:
    """Build an optimiser over the given parameters, grouped by weight decay and learning rate.

    Parameters of fewer than two dimensions (biases, norms, layer scales) are not decayed unless ``decay_norm_and_bias``
    is set. ``lr_scale`` maps a name prefix to a factor; the longest matching prefix wins.

    Args:
        named_parameters: As from ``model.named_parameters()``.
        config: Kind and settings.
        layers: Of :func:`layers_of`, for ``layer_decay``: a parameter of the layer i below the heads has the factor
            ``layer_decay ** i`` (Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT).

    Raises:
        ConfigError: If a prefix of ``lr_scale`` matches no parameter, or ``layer_decay`` has no layers to go by, or a
            parameter is in none of them.

    Example:
        >>> model = saccade.create_model("lenet5")
        >>> optimizer = build_optimizer(model.named_parameters(), OptimizerConfig(name="adamw", weight_decay=0.05))
        >>> [group["weight_decay"] for group in optimizer.param_groups]  # matrices and kernels; biases
        [0.05, 0.0]
    """
    parameters = list(named_parameters)
    for prefix in config.lr_scale:
        if not any(name.startswith(prefix) for name, _ in parameters):
            roots = {name.split(".")[0] for name, _ in parameters}
            raise ConfigError(f"optimizer.lr_scale: no parameter starts with '{prefix}'.{did_you_mean(prefix, roots)}")
    if config.layer_decay != 1.0 and len(layers) < 2:
        raise ConfigError("optimizer.layer_decay needs a network with stages, and this one names none. Set it to 1.")
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        decay = config.weight_decay if parameter.ndim > 1 or config.decay_norm_and_bias else 0.0
        matching = [prefix for prefix in config.lr_scale if name.startswith(prefix)]
        scale = config.lr_scale[max(matching, key=len)] if matching else 1.0
        if config.layer_decay != 1.0:
            scale *= config.layer_decay ** _layers_above(name, layers)
        warms = config.warmup_bias_lr is not None and name.rpartition(".")[2] == "bias"
        groups.setdefault((decay, scale, warms), []).append(parameter)
    # "base_lr" is what the schedule multiplies; the optimiser's own "lr" changes every step.
    settings = [
        {
            "params": members,
            "weight_decay": decay,
            "lr": config.lr * scale,
            "base_lr": config.lr * scale,
            "warmup_lr": config.warmup_bias_lr if warms else 0.0,
        }
        for (decay, scale, warms), members in groups.items()
    ]
    if config.name == "sgd":
        return torch.optim.SGD(settings, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=True)
    eps = 1e-8 if config.eps is None else config.eps
    if config.name == "rmsprop":
        return torch.optim.RMSprop(settings, lr=config.lr, alpha=config.alpha, eps=eps, momentum=config.momentum)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(settings, lr=config.lr, betas=config.betas, eps=eps, fused=True)


def set_rates(optimizer: Optimizer, config: OptimizerConfig, factor: float, warm: float) -> None:
    """Set learning rates and momentum of a step.

    Args:
        optimizer: Of :func:`build_optimizer`.
        config: Its settings.
        factor: On the learning rate, by the schedule.
        warm: Share of the warm-up that is over, 1 behind it. Until then rates of biases go from ``warmup_bias_lr``,
            and the momentum from ``warmup_momentum``, in a straight line to their usual values.

    Example:
        >>> config = OptimizerConfig(lr=0.01, warmup_bias_lr=0.1, warmup_momentum=0.8)
        >>> optimizer = build_optimizer(saccade.create_model("lenet5").named_parameters(), config)
        >>> set_rates(optimizer, config, factor=0.5, warm=0.5)
        >>> [(round(group["lr"], 3), round(group["momentum"], 2)) for group in optimizer.param_groups]
        [(0.005, 0.85), (0.055, 0.85)]
    """
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
        if group["warmup_lr"] and warm < 1:
            group["lr"] = group["warmup_lr"] + (group["base_lr"] - group["warmup_lr"]) * warm
        if config.warmup_momentum is None:
            continue
        usual = config.betas[0] if "betas" in group else config.momentum
        momentum = config.warmup_momentum + (usual - config.warmup_momentum) * warm
        if "betas" in group:
            group["betas"] = (momentum, config.betas[1])
        else:
            group["momentum"] = momentum


def optimizer_state(optimizer: Optimizer, names: Mapping[int, str]) -> dict[str, dict[str, Any]]:
    """State of an optimiser by the names of its parameters, without its settings, which are the configuration's.

    Args:
        optimizer: The optimiser.
        names: Name of each parameter by its ``id``.

    Example:
        >>> model = saccade.create_model("lenet5")
        >>> optimizer = build_optimizer(model.named_parameters(), OptimizerConfig(name="adamw"))
        >>> model.forward(torch.zeros(1, 1, 32, 32))["logits"].sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer_state(optimizer, {id(one): name for name, one in model.named_parameters()})["output.bias"])
        ['exp_avg', 'exp_avg_sq', 'step']
    """
    return {names[id(parameter)]: dict(values) for parameter, values in optimizer.state.items()}


def load_optimizer_state(
    optimizer: Optimizer, names: Mapping[int, str], state: Mapping[str, Mapping[str, Any]]
) -> None:
    """Load what :func:`optimizer_state` gave; parameters may be grouped in another way by now.

    Args:
        optimizer: The optimiser, of the same kind.
        names: Name of each parameter by its ``id``.
        state: By the names of parameters; one without state begins anew.

    Raises:
        WeightsError: If a tensor of the state is not of its parameter's shape.
    """
    indexed: dict[int, dict[str, Any]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        values = dict(state.get(names[id(parameter)], {}))
        for key, value in values.items():
            if isinstance(value, Tensor) and value.numel() > 1 and value.shape != parameter.shape:
                raise WeightsError(
                    f"the optimiser's '{key}' of parameter '{names[id(parameter)]}' has shape {tuple(value.shape)}, "
                    f"the parameter {tuple(parameter.shape)}. Start the run anew under another --name."
                )
        if values and isinstance(optimizer, torch.optim.RMSprop):  # momentum may have been switched on
            values.setdefault("momentum_buffer", torch.zeros_like(parameter))
        if values:
            indexed[index] = values
    optimizer.load_state_dict({"state": indexed, "param_groups": optimizer.state_dict()["param_groups"]})


def _layers_above(name: str, layers: Sequence[Sequence[str]]) -> int:
    """How many layers, the heads included, lie above a parameter."""
    own = [index for index, parts in enumerate(layers) if _belongs(name, parts)]
    if not own:
        raise ConfigError(
            f"optimizer.layer_decay: parameter '{name}' is in no layer of the network. Name its part in stage_names, "
            "neck_names, head_names or auxiliary_heads (and in layer_names, if the network has them), or set "
            "layer_decay to 1."
        )
    return len(layers) - 1 - max(own)


def apply_freeze(model: Model, freeze: FreezeConfig) -> None:
    """Put a model in training mode, with the parts that ``freeze`` names frozen.

    ``frozen_stats`` keeps the running statistics of BatchNorm and uses them; ``frozen_all`` also stops its scale and
    shift. Parts that do not train keep their statistics as well: a frozen network whose statistics drift is not frozen.

    Args:
        model: With all its parts named unless everything trains.
        freeze: What trains and what is frozen.

    Raises:
        ConfigError: If ``freeze.trainable`` is not understood, or a parameter is in no part.

    Example:
        >>> model = saccade.create_model("resnet18", num_classes=3)
        >>> apply_freeze(model, FreezeConfig(trainable="head"))
        >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        ['fc.weight', 'fc.bias']
    """
    if freeze.trainable == "all":
        model.requires_grad_(True).train()
    else:
        parts = trainable_parts(model, freeze.trainable)  # refuses before anything is changed
        model.requires_grad_(False).eval()
        for part in parts:
            module = _submodule(model, part)
            if module is not None:
                module.train()
            for parameter in _parameters(model, part):
                parameter.requires_grad_(True)
        model.training = True  # a mode of the whole, which auxiliary heads go by
    if freeze.batch_norm != "train":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
                if freeze.batch_norm == "frozen_all":
                    module.requires_grad_(False)


def describe_freeze(model: Model, freeze: FreezeConfig) -> str:
    """What trains after :func:`apply_freeze`, on one line.

    Example:
        >>> model = saccade.create_model("resnet18", num_classes=3)
        >>> apply_freeze(model, FreezeConfig(trainable="head"))
        >>> describe_freeze(model, FreezeConfig(trainable="head"))
        'trained: head, 2 of 62 parameter tensors (fc)'
    """
    moves = [parameter.requires_grad for parameter in model.parameters()]
    parts = () if freeze.trainable == "all" else trainable_parts(model, freeze.trainable)
    named = f" ({', '.join(parts)})" if parts else ""
    statistics = "" if freeze.batch_norm == "train" else f"; batch_norm {freeze.batch_norm}"
    return f"trained: {freeze.trainable}, {sum(moves)} of {len(moves)} parameter tensors{named}{statistics}"


def trainable_parts(model: Model, trainable: str) -> tuple[str, ...]:
    """List the parts of a network that train under a setting of ``freeze.trainable`` other than ``all``.

    Args:
        model: With all its parts named.
        trainable: ``head``, or ``last:k`` for the last k stages, the necks and the heads.

    Raises:
        ConfigError: If a parameter is in no part, or ``trainable`` is neither or asks for more stages than there are.

    Example:
        >>> trainable_parts(saccade.create_model("resnet18"), "last:1")
        ('layer4', 'fc')
    """
    stages, necks, heads = model.stage_names, model.neck_names, (*model.head_names, *model.auxiliary_heads)
    stray = [name for name, _ in model.named_parameters() if not _belongs(name, (*stages, *necks, *heads))]
    if stray:
        raise ConfigError(
            f"freeze.trainable is '{trainable}', but parameter '{stray[0]}' of {model.builder_name} is in none of its "
            "parts (stage_names, neck_names, head_names, auxiliary_heads). Name its part, or train 'all'."
        )
    if trainable == "head":
        return heads
    kind, _, digits = trainable.partition(":")
    if kind != "last" or not digits.isdigit():
        raise ConfigError(
            f"freeze.trainable is '{trainable}'; it must be 'all', 'head' or 'last:k' (such as 'last:2')."
        )
    weighted = [name for name in stages if _has_weights(model, name)]  # a norm or a token alone is no stage
    wanted = int(digits)
    if wanted > len(weighted):
        raise ConfigError(
            f"freeze.trainable is '{trainable}', but {model.builder_name} has {len(weighted)} stages: "
            f"{', '.join(weighted)}."
        )
    first = stages.index(weighted[len(weighted) - wanted]) if wanted else len(stages)
    return (*stages[first:], *necks, *heads)
