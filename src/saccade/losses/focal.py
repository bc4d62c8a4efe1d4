"""Focal losses: cross entropy that well-classified examples, most of a dense detector's anchors, hardly enter.

Lin et al. 2017, RetinaNet (arXiv 1708.02002), section 3; Zhou et al. 2019, CenterNet (arXiv 1904.07850), equation 1.
All of them take logits, stay finite for logits of any finite size and are computed in float32 or better.

With probability p = sigmoid(x), each is a weighted sum of one function, ``sigmoid(x)^gamma softplus(x)``: the loss of a
negative is that function at x, since ``-log(1 - p) = softplus(x)``, and the loss of a positive the same at -x.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

__all__ = ["balanced_cross_entropy", "penalty_reduced_focal_loss", "sigmoid_focal_loss", "sparse_focal_loss"]

# Values that are worked on at a time on a CPU: its second-level cache then holds all that is between.
_CHUNK = 2**17


def balanced_cross_entropy(logits: Tensor, targets: Tensor, alpha: float | None = 0.25) -> Tensor:
    """Sigmoid cross entropy balanced by alpha: positives weigh ``alpha``, negatives ``1 - alpha``.

    Lin et al. 2017, section 3.1: the baseline that focal loss extends.

    Args:
        logits: Any shape.
        targets: Same shape, 0..1.
        alpha: Weight of positives, 0..1; ``None`` weighs all of them 1.

    Returns:
        Same shape, not reduced.

    Example:
        >>> balanced_cross_entropy(torch.zeros(2), torch.tensor([1.0, 0.0]))  # log 2 each
        tensor([0.1733, 0.5199])
    """
    logits = _precise(logits)
    targets = targets.to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return loss if alpha is None else loss * (alpha * targets + (1 - alpha) * (1 - targets))


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, alpha: float | None = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss ``alpha_t (1 - p_t)^gamma (-log p_t)`` of each value (Lin et al. 2017, equation 5).

    For targets that are classes rather than values, :func:`sparse_focal_loss` is several times faster.

    Args:
        logits: Any shape.
        targets: Same shape, 0..1; values between are the soft labels of mixed images.
        alpha: Weight of positives, 0..1; negatives weigh ``1 - alpha``. ``None`` weighs all of them 1.
        gamma: Focusing exponent, >= 0; 0 is balanced cross entropy.

    Returns:
        Same shape, not reduced.

    Example:
        >>> logits = torch.tensor([-4.0, 0.0, 4.0])  # of negatives: easy, undecided, wrong
        >>> sigmoid_focal_loss(logits, torch.zeros(3), alpha=None)
        tensor([5.8715e-06, 1.7329e-01, 3.8749e+00])
    """
    loss = balanced_cross_entropy(logits, targets, alpha)
    targets = targets.to(loss.dtype)
    logits = logits.to(loss.dtype)
    wrong = logits.sigmoid() * (1 - targets) + (-logits).sigmoid() * targets  # 1 - p_t
    # The slope of a power below one is infinite at zero.
    return loss * wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** gamma


def sparse_focal_loss(
    logits: Tensor,
    labels: Tensor,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Sum of focal losses over anchors and classes, with at most one positive class an anchor.

    The same value as :func:`sigmoid_focal_loss` over one-hot targets, summed. No such targets are made: every value is
    taken for a negative, and the one class of each positive anchor is corrected. The gradient is analytic and is
    computed in the same pass over memory.

    Args:
        logits: (..., C).
        labels: (...) int64: 0..C-1, -1 for an anchor that is negative for all classes, -2 for one that is ignored.
        alpha: Weight of positives, 0..1; negatives weigh ``1 - alpha``. ``None`` weighs all of them 1.
        gamma: Focusing exponent, >= 0; 0 is balanced cross entropy.
        weights: (...), factor on the losses of each anchor; 1 if not given. Without gradient.

    Returns:
        Scalar.

    Example:
        >>> logits = torch.zeros(4, 2)  # four anchors, two classes
        >>> sparse_focal_loss(logits, torch.tensor([1, -1, -1, -2]))
        tensor(0.6931)
    """
    total: Tensor = _SparseFocal.apply(logits, labels, alpha, gamma, weights)
    return total


def penalty_reduced_focal_loss(logits: Tensor, targets: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Sum of the focal losses of heatmaps, with negatives near a centre weighed down (Zhou et al. 2019, equation 1).

    ``(1 - p)^alpha (-log p)`` where the target Y is exactly 1, ``(1 - Y)^beta p^alpha (-log(1 - p))`` elsewhere. The
    paper divides the sum by the number of objects.

    Args:
        logits: Any shape.
        targets: Same shape, Y: 1 at centres, falling to 0 around them.
        alpha: Focusing exponent.
        beta: Exponent of the penalty reduction.

    Returns:
        Scalar.

    Example:
        >>> penalty_reduced_focal_loss(torch.zeros(3), torch.tensor([1.0, 0.5, 0.0]))  # weights 1, 1/16 and 1
        tensor(0.3574)
    """
    logits = _precise(logits)
    centres = targets == 1
    weights = torch.where(centres, 1.0, (1 - targets) ** beta)
    modulated: Tensor = _Modulated.apply(torch.where(centres, -logits, logits), alpha)
    return (weights * modulated).sum()


def _precise(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def _modulated(logits: Tensor, gamma: float, slope: bool) -> tuple[Tensor, Tensor | None]:
    """``f(x) = sigmoid(x)^gamma softplus(x)`` and, if wanted, its derivative."""
    p = logits.sigmoid()
    entropy = F.softplus(logits)
    factor = p**gamma
    loss = factor * entropy
    if not slope:
        return loss, None
    # f' = p^gamma (gamma (1 - p) softplus(x) + p), term by term in memory that is there already.
    return loss, factor.mul_(entropy.mul_(1 - p).mul_(gamma).add_(p))


class _Modulated(torch.autograd.Function):
    """``sigmoid(x)^gamma softplus(x)`` of each value."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, gamma: float) -> Tensor:
        loss, slope = _modulated(logits, gamma, slope=ctx.needs_input_grad[0])  # type: ignore[attr-defined]
        ctx.save_for_backward(slope)  # type: ignore[arg-type]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return slope * grad, None


class _SparseFocal(torch.autograd.Function):
    """Sum of :func:`sparse_focal_loss`."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: Tensor,
        labels: Tensor,
        alpha: float | None,
        gamma: float,
        weights: Tensor | None,
    ) -> Tensor:
        wanted = ctx.needs_input_grad[0]  # type: ignore[attr-defined]
        positive_weight, negative_weight = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
        flat, owners = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1, 1)
        factors = None if weights is None else weights.reshape(-1, 1)
        gradient = torch.empty_like(flat, memory_format=torch.contiguous_format) if wanted else None

        # Every value as a negative. An ignored row is one of certain negatives: -inf has neither loss nor slope.
        whole = torch.compiler.is_compiling() or not flat.is_cpu
        step = len(flat) if whole else max(1, _CHUNK // max(1, flat.shape[1]))
        total = _precise(flat).new_zeros(())
        for start in range(0, len(flat), max(1, step)):
            rows = slice(start, start + step)
            values = _precise(flat[rows]).masked_fill(owners[rows] == -2, -torch.inf)
            loss, slope = _modulated(values, gamma, wanted)
            if factors is not None:
                loss = loss * factors[rows]
                slope = None if slope is None else slope.mul_(factors[rows])
            total = total + loss.sum() * negative_weight
            if gradient is not None and slope is not None:
                gradient[rows] = slope.mul_(negative_weight)

        # The one class of each positive row is corrected; no row is picked out, which would wait for the device.
        positive, column = owners >= 0, owners.clamp(min=0)
        own = _precise(flat.gather(1, column))
        as_positive, rise = _modulated(-own, gamma, wanted)
        as_negative, _ = _modulated(own, gamma, slope=False)
        correction = positive_weight * as_positive - negative_weight * as_negative
        if factors is not None:
            correction = correction * factors
            rise = None if rise is None else rise * factors
        total = total + torch.where(positive, correction, 0.0).sum()
        if gradient is not None and rise is not None:
            exact = torch.where(positive, (-positive_weight * rise).to(gradient.dtype), gradient.gather(1, column))
            gradient.scatter_(1, column, exact)
            gradient = gradient.view_as(logits)
        ctx.save_for_backward(gradient)  # type: ignore[arg-type]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * grad.to(gradient.dtype), None, None, None, None
