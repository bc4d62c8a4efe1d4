"""Permutohedral lattice: Gaussian filtering of N points with features of d dimensions in O(N d^2), not O(N^2).

Adams, Baek and Davis 2010, "Fast High-Dimensional Filtering Using the Permutohedral Lattice". Features are laid into
the hyperplane of R^(d+1) whose coordinates sum to zero; the lattice A*_d cuts it into simplices of d + 1 vertices.

    splat   every point adds its value to the d + 1 vertices of its simplex, by barycentric weights
    blur    along each of the d + 1 directions of the lattice, [1/4, 1/2, 1/4] over a vertex and its two neighbours
    slice   every point reads the vertices of its simplex, by the same weights

Letters: N points, d dimensions of the features, M vertices, C values a point.

Differences from the paper: vertices are found by sorting the keys of all points at once, in place of a hash table.
Vertices beside two that points touch (three, in large lattices) are kept too, so that blurred values can pass over
gaps; where points are sparse this halves the error. The features are scaled 5 % larger than equal variances ask for:
the kernel of the lattice is flatter than a Gaussian, and so comes nearest to it (d = 5, random values over an image of
24 x 32: the error of normalised sums falls from 0.068 to 0.048 of their norm).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.errors import ConfigError

__all__ = ["PermutohedralLattice", "build_lattice", "lattice_filter"]

_NARROWER = 1.05
# Touched vertices from which on others have to be beside three of them: each costs time and memory in every filter.
_MANY = 1 << 17
_FARTHEST = 2.0**40


@dataclass(frozen=True)
class PermutohedralLattice:
    """Lattice of one set of points: the vertices that each of them touches, and which vertices are neighbours.

    Example:
        >>> lattice = build_lattice(torch.rand(100, 5))
        >>> lattice.vertices.shape, lattice.num_vertices < 1000
        (torch.Size([100, 6]), True)
    """

    vertices: Tensor  # (N, d + 1) int32, vertices of the simplex that holds a point
    weights: Tensor  # (N, d + 1) float32, its barycentric coordinates, which sum to one
    splat_points: Tensor  # (N * (d + 1),) int32, points by the vertex that they touch
    splat_weights: Tensor  # (N * (d + 1),) float32, their weights
    splat_starts: Tensor  # (M + 1,) int32, where each vertex begins in them; the last is their end
    neighbours: Tensor  # (d + 1, M + 1, 3) int32: by direction, a vertex and its two neighbours; M where there is none

    @property
    def num_vertices(self) -> int:
        """Vertices that points touch or that lie between such, M."""
        return len(self.splat_starts) - 1


def build_lattice(features: Tensor) -> PermutohedralLattice:
    """Lattice over points, so that filtering approximates a Gaussian of standard deviation one in every feature.

    Args:
        features: (N, d), N >= 1, each divided by its standard deviation.

    Raises:
        ConfigError: If the points spread over more vertices than can be numbered.

    Example:
        >>> build_lattice(torch.zeros(4, 2)).num_vertices  # a triangle, and the corners of those at its sides
        6
    """
    count, dims = features.shape
    with torch.no_grad():
        elevated = _elevate(features.detach().float().T)
        if not bool((elevated.abs() < _FARTHEST).all()):
            raise ConfigError("features are not finite, or too many standard deviations apart. Choose larger ones.")
        base, ranks, weights = _enclosing_simplices(elevated)
        keys, steps = _vertex_keys(base, ranks)
        found, order = keys.flatten().sort()
        touched, lengths = found.unique_consecutive(return_counts=True)
        least = 2 if len(touched) <= _MANY else 3
        around = [touched + move for step in steps for move in (step, -step)]
        every, times = torch.cat([touched] * least + around).unique(return_counts=True)
        vertex_keys = every[times >= least]
        number = torch.searchsorted(vertex_keys, touched)
        vertices = torch.empty_like(order, dtype=torch.int32)
        vertices[order] = number.int().repeat_interleave(lengths)
        points = torch.zeros_like(vertex_keys).index_copy_(0, number, lengths)
        return PermutohedralLattice(
            vertices.view(dims + 1, count).T.contiguous(),
            weights.T.contiguous(),
            torch.remainder(order.int(), count),
            weights.flatten()[order],
            F.pad(points.cumsum(0), (1, 0)).int(),
            _neighbours(vertex_keys, steps),
        )


def lattice_filter(lattice: PermutohedralLattice, values: Tensor) -> Tensor:
    """Gaussian sums ``sum_j exp(-|f_i - f_j|^2 / 2) values_j`` over all points, by splat, blur and slice.

    Differentiable with respect to ``values``, any number of times: the transpose of a filter is the filter with its
    directions in reverse.

    Args:
        lattice: Of the features f.
        values: (N, C).

    Returns:
        (N, C) float32, scaled so that a smooth density of points gives the sum of the Gaussian.

    Example:
        >>> features = torch.rand(500, 2) * 4
        >>> exact = torch.exp(-torch.cdist(features, features).square() / 2) @ torch.ones(500, 1)
        >>> filtered = lattice_filter(build_lattice(features), torch.ones(500, 1))
        >>> bool((filtered / exact - 1).abs().mean() < 0.1)
        True
    """
    filtered: Tensor = _Filter.apply(values.float(), lattice, False)
    return filtered


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, lattice: PermutohedralLattice, reverse: bool) -> Tensor:
        ctx.lattice, ctx.reverse = lattice, reverse
        return _filter(values, lattice, reverse)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Filter.apply(gradients[0], ctx.lattice, not ctx.reverse), None, None


def _filter(values: Tensor, lattice: PermutohedralLattice, reverse: bool) -> Tensor:
    # A bag is a weighted sum of rows: of a vertex's points, of a vertex and its neighbours, of a point's vertices.
    dims = lattice.vertices.shape[1] - 1
    blurred = F.embedding_bag(
        lattice.splat_points,
        values.contiguous(),
        lattice.splat_starts,
        mode="sum",
        per_sample_weights=lattice.splat_weights,
    )
    directions = lattice.neighbours.flip(0) if reverse else lattice.neighbours
    taps = blurred.new_tensor([0.5, 0.25, 0.25]).expand(len(blurred), 3).contiguous()
    for neighbours in directions:
        blurred = F.embedding_bag(neighbours, blurred, mode="sum", per_sample_weights=taps)
        blurred[-1] = 0.0  # what is blurred beyond the vertices is lost
    sliced = F.embedding_bag(lattice.vertices, blurred, mode="sum", per_sample_weights=lattice.weights)
    return sliced * _amplitude(dims)


def _amplitude(dims: int) -> float:
    """Integral of the Gaussian, (2 pi)^(d/2), over the volume of one vertex, (3/2)^(d/2) / sqrt(d + 1) / 1.05^d."""
    return (4 * math.pi / 3 * _NARROWER**2) ** (dims / 2) * math.sqrt(dims + 1)


def _elevate(features: Tensor) -> Tensor:
    """(d, N) to (d + 1, N): onto the hyperplane, scaled by (d + 1) sqrt(2/3) and made a little narrower (section 3.1).

    Splat and slice have a variance of (d + 1)^2 / 12 each, the blur (d + 1)^2 / 2; together (d + 1)^2 2/3.
    """
    dims = len(features)
    basis = features.new_zeros(dims + 1, dims)
    for k in range(dims):
        basis[: k + 1, k] = 1.0
        basis[k + 1, k] = -(k + 1.0)
        basis[:, k] /= math.sqrt((k + 1) * (k + 2))
    return (dims + 1) * math.sqrt(2 / 3) * _NARROWER * basis @ features


def _enclosing_simplices(elevated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Simplex that holds each point: its vertex of remainder 0 over d + 1, ranks, weights (section 3.2).

    Args:
        elevated: (d + 1, N).

    Returns:
        (d + 1, N) int64, the vertex of remainder 0 divided by d + 1; (d + 1, N) int64, how many coordinates lie farther
        from it; (d + 1, N), barycentric coordinates by remainder.
    """
    size = len(elevated)
    dims = size - 1
    scaled = elevated / size
    base = scaled.round()
    rest = scaled - base
    ranks = torch.zeros_like(rest, dtype=torch.int64)
    for i in range(size):
        for j in range(i + 1, size):
            less = rest[i] < rest[j]
            ranks[i] += less
            ranks[j] += ~less
    # Rounding leaves the hyperplane where its errors do not cancel; coordinates that were rounded most go back.
    ranks += base.sum(0).long()
    below, above = ranks < 0, ranks > dims
    shift = below.long() - above.long()
    ranks += shift * size
    base = base.long() + shift
    rest = rest - shift
    by_rank = torch.zeros_like(rest).scatter_(0, dims - ranks, rest)
    weights = by_rank.clone()
    weights[1:] -= by_rank[:-1]
    weights[0] += 1.0 - by_rank[-1]
    return base, ranks, weights


def _vertex_keys(base: Tensor, ranks: Tensor) -> tuple[Tensor, list[int]]:
    """One number a vertex, and what a step in each direction of the lattice adds to it.

    Vertices x are numbered by z_i = (x_i - x_d) / (d + 1), i < d: a step in direction i < d adds one to z_i, and a step
    in direction d takes one from all of them.

    Returns:
        (d + 1, N) int64 by remainder, and d + 1 steps.
    """
    dims = len(base) - 1
    z = base[:-1] - base[-1:]
    low, high = z.amin(1), z.amax(1)
    steps: list[int] = []
    step = 1
    # A simplex reaches one step beyond its first vertex, its neighbours two, and those of these three.
    for extent in (high - low + 7).tolist():
        steps.append(step)
        step *= extent
    if step >= 2**63:
        raise ConfigError(
            f"features spread over {step:.1e} vertices of the lattice, more than 2^63 can be numbered. Choose larger "
            "standard deviations."
        )
    steps.append(-sum(steps))
    strides = torch.tensor(steps, device=base.device)
    first = ((z - low[:, None]) * strides[:-1, None]).sum(0, keepdim=True)
    # From remainder r to r + 1 the coordinate of rank d - r moves back by one whole step.
    moves = torch.zeros_like(ranks).scatter_(0, dims - ranks, strides[:, None].expand_as(ranks).contiguous())
    return torch.cat((first, first - moves[:-1].cumsum(0))), steps


def _neighbours(keys: Tensor, steps: list[int]) -> Tensor:
    """Numbers of each vertex and of its neighbours in each direction, (d + 1, M + 1, 3) int32; M where there is none.

    Args:
        keys: (M,), rising.
        steps: From :func:`_vertex_keys`.
    """
    count = len(keys)
    own = torch.arange(count + 1, device=keys.device)
    table = torch.full((len(steps), count + 1, 3), count, dtype=torch.int32, device=keys.device)
    table[..., 0] = own
    for number, step in enumerate(steps):
        at = torch.searchsorted(keys, keys + step).clamp_(max=count - 1)
        present = keys[at] == keys + step
        here, there = own[:-1][present], at[present]
        table[number, here, 1] = there.int()
        table[number, there, 2] = here.int()
    return table
