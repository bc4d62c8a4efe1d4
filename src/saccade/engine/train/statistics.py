"""Running statistics of BatchNorm in the first steps of a network that learns from nothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

__all__ = ["StatisticsWarmup", "fresh_norms"]

_BatchNorm = nn.modules.batchnorm._BatchNorm
_FAST = 3.0  # k: the average at step n is over about the last n / k steps


def fresh_norms(model: nn.Module) -> list[str]:
    """Names of the BatchNorm layers whose running statistics are those of their initialisation.

    Example:
        >>> norms = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
        >>> _ = norms[1](torch.randn(4, 2))
        >>> fresh_norms(norms)
        ['0']
    """
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        and module.running_mean is not None
        and module.running_var is not None
        and not bool(module.running_mean.any())
        and bool((module.running_var == 1).all())
    ]


class StatisticsWarmup:
    """Warm-up of BatchNorm's running statistics: cumulative averages while steps are few.

    With momentum m a share of (1 - m) ** n of a layer's initial statistics is left after n steps: 45 % after 80 steps
    with the 0.01 of MobileNetV3 and the large EfficientNets, which then predict one class in eval mode, however well
    they have learnt. A layer that began without statistics has the momentum max(m, k / (n + k)) in step n instead: the
    initial statistics are gone with the first step, later steps weigh more than earlier ones
    (polynomial-decay averaging: Shamir and Zhang 2013, section 3), and from the step k / m on nothing differs.

    The number of the step decides, so that a resumed run goes on as an unbroken one.

    Args:
        model: The network that trains.
        names: Its layers that began without statistics, of :func:`fresh_norms`; others stay as they are.
        coarse: Change the momentum in few large strides, since compiled code is compiled anew for each value.

    Example:
        >>> norm = nn.Sequential(nn.BatchNorm1d(1, momentum=0.01))
        >>> warmup = StatisticsWarmup(norm, fresh_norms(norm))
        >>> for step in range(80):
        ...     warmup.set_step(step)
        ...     _ = norm(torch.randn(64, 1) + 5)
        >>> warmup.end()
        >>> abs(norm[0].running_mean.item() - 5) < 0.1, norm[0].momentum
        (True, 0.01)
    """

    def __init__(self, model: nn.Module, names: Sequence[str], coarse: bool = False) -> None:
        modules = dict(model.named_modules())
        chosen = [module for name in names if isinstance(module := modules.get(name), _BatchNorm)]
        self._momenta = [(module, float(module.momentum)) for module in chosen if module.momentum is not None]
        self._longest = max((_FAST / momentum for _, momentum in self._momenta if momentum > 0), default=0.0)
        self._coarse = coarse
        self._reached = False  # every layer has its own momentum

    def set_step(self, step: int) -> None:
        """Give each layer the momentum of a step, counted from 0 over the whole run."""
        if self._coarse:
            step = 4 ** (((step + 1).bit_length() - 1) // 2) - 1  # 0, 3, 15, 63, ...
        if step > self._longest + 1 and self._reached:
            return
        self._reached = step > self._longest
        for module, momentum in self._momenta:
            module.momentum = max(momentum, _FAST / (step + _FAST))

    def end(self) -> None:
        """Give each layer its own momentum back."""
        for module, momentum in self._momenta:
            module.momentum = momentum
