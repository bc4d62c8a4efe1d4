"""The lattice against the sum over all pairs, its geometry, and its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.ops.permutohedral import build_lattice, lattice_filter


def exact_filter(features: Tensor, values: Tensor) -> Tensor:
    squared = (features[:, None] - features[None]).double().square().sum(-1)
    return (torch.exp(-squared / 2) @ values.double()).float()


@pytest.mark.parametrize(
    ("dims", "spread", "tolerance"), [(1, 20.0, 0.03), (2, 10.0, 0.05), (3, 6.0, 0.05), (5, 3.0, 0.08)]
)
def test_sums_are_those_of_the_gaussian(dims: int, spread: float, tolerance: float) -> None:
    torch.manual_seed(dims)
    features = torch.rand(1500, dims) * spread
    values = torch.cat((torch.ones(1500, 1), torch.rand(1500, 1), features[:, :1].sin()), dim=1)
    lattice = build_lattice(features)
    filtered, exact = lattice_filter(lattice, values), exact_filter(features, values)
    assert float((filtered - exact).norm() / exact.norm()) < tolerance  # the height too
    means, exact_means = filtered[:, 1:] / filtered[:, :1], exact[:, 1:] / exact[:, :1]
    assert float((means - exact_means).abs().mean()) < 0.02


def test_vertices_between_points_bridge_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more of them, the nearer: none, those beside three that are touched (large lattices), those beside two."""
    torch.manual_seed(0)
    features, values = torch.rand(500, 5) * 5, torch.rand(500, 4)
    exact = exact_filter(features, torch.cat((values, torch.ones(500, 1)), dim=1))
    errors, sizes = [], []
    for many in (0, 1 << 17):
        monkeypatch.setattr("saccade.ops.permutohedral._MANY", many)
        lattice = build_lattice(features)
        filtered = lattice_filter(lattice, torch.cat((values, torch.ones(500, 1)), dim=1))
        errors.append(float((filtered / filtered[:, 4:] - exact / exact[:, 4:]).abs().mean()))
        sizes.append(lattice.num_vertices)
    touched = len(build_lattice(features).vertices.unique())
    assert touched < sizes[0] < sizes[1]
    assert errors[1] < errors[0] < 0.05


def test_a_point_is_the_weighted_mean_of_the_vertices_of_its_simplex() -> None:
    torch.manual_seed(0)
    features = torch.randn(400, 5) * 3
    lattice = build_lattice(features)
    assert float(lattice.weights.min()) > -1e-5
    assert torch.allclose(lattice.weights.sum(1), torch.ones(400), atol=1e-5)
    # Positions of the vertices, solved for from the points: there are some that explain all points at once.
    incidence = torch.zeros(400, lattice.num_vertices, dtype=torch.float64)
    incidence.scatter_add_(1, lattice.vertices.long(), lattice.weights.double())
    positions = torch.linalg.lstsq(incidence, features.double(), driver="gelsd").solution
    assert torch.allclose(incidence @ positions, features.double(), atol=1e-3)
    # Two points close to each other share all vertices, but at the border of simplices.
    near = build_lattice(torch.cat((features, features + 1e-4)))
    assert (near.vertices[:400] == near.vertices[400:]).all(1).float().mean() > 0.99


def test_neighbours_are_mutual_and_steps_lead_round() -> None:
    lattice = build_lattice(torch.rand(200, 3) * 4)
    own, ahead, behind = lattice.neighbours.long().unbind(2)
    none = lattice.num_vertices
    assert (own == torch.arange(none + 1)).all()
    for direction in range(4):
        has = ahead[direction] < none
        assert has.any()
        assert (behind[direction][ahead[direction][has]] == own[direction][has]).all()
    at = torch.arange(none + 1)  # one step in each direction ends where it began
    for direction in range(4):
        at = ahead[direction][at]
    assert (at == torch.arange(none + 1))[at < none].all()
    assert (at < none).any()


def test_the_gradient_is_the_transpose() -> None:
    torch.manual_seed(1)
    lattice = build_lattice(torch.rand(60, 4) * 5)
    matrix = lattice_filter(lattice, torch.eye(60))
    values, upstream = torch.randn(60, 3, requires_grad=True), torch.randn(60, 3)
    (gradient,) = torch.autograd.grad(lattice_filter(lattice, values), values, upstream)
    assert torch.allclose(gradient, matrix.T @ upstream, atol=1e-4 * float(matrix.max()))
    # With square(): its gradient is differentiable again.
    (first,) = torch.autograd.grad(lattice_filter(lattice, values).square().sum(), values, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), values)
    assert torch.allclose(second, 2 * matrix.T @ (matrix @ torch.ones(60, 3)), rtol=1e-3)


def test_one_point_equal_points_and_no_features_in_the_way() -> None:
    alone = lattice_filter(build_lattice(torch.zeros(1, 5)), torch.tensor([[2.0, 0.0]]))
    assert alone[0, 1] == 0
    assert 1.0 < float(alone[0, 0]) < 4.0  # exp(0) * 2, to the flatter height of the lattice
    equal = lattice_filter(build_lattice(torch.full((7, 5), 3.3)), torch.arange(7.0)[:, None])
    assert torch.allclose(equal, equal[:1].expand_as(equal))
    far = torch.tensor([[0.0, 0.0], [1000.0, 0.0]])
    assert lattice_filter(build_lattice(far), torch.eye(2))[0, 1] == 0


def test_too_many_vertices_are_refused() -> None:
    features = torch.rand(10, 5) * 1e5
    with pytest.raises(ConfigError, match="Choose larger standard deviations"):
        build_lattice(features)
    assert math.isfinite(float(lattice_filter(build_lattice(features / 100), torch.ones(10, 1)).sum()))
    for bad in (features * 1e20, features * math.inf, features * math.nan):
        with pytest.raises(ConfigError, match="not finite, or too many standard deviations apart"):
            build_lattice(bad)
