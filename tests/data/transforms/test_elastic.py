"""The elastic deformation is the paper's: a 3 x 3 grid of Gaussian vectors, interpolated bicubically to every pixel."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.data.transforms.warp import Elastic
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample

SIZE = (45, 63)


def cubic(distance):
    """Keys' kernel with a = -0.75."""
    a, x = -0.75, np.abs(distance)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def weights_of_nodes(length, nodes=3):
    """(length, nodes): nodes in the middle of equal parts, the outer ones repeated beyond."""
    matrix = np.zeros((length, nodes))
    for pixel in range(length):
        position = (pixel + 0.5) / length * nodes - 0.5
        for node in range(int(np.floor(position)) - 1, int(np.floor(position)) + 3):
            matrix[pixel, min(max(node, 0), nodes - 1)] += cubic(position - node)
    return matrix


def field(vectors, size=SIZE):
    return np.einsum("yi,xj,ijc->yxc", weights_of_nodes(size[0]), weights_of_nodes(size[1]), vectors)


def test_every_pixel_shows_what_lay_at_its_displacement():
    rng = np.random.default_rng(0)
    label_map = np.kron(rng.integers(0, 9, (9, 9)), np.ones((5, 7))).astype(np.uint8)
    sample = Sample(label_map[..., None], {"label_map": label_map}, ImageInfo(0, "x", Geometry.identity(SIZE)))
    bent = Elastic(sigma=3.0)(sample, np.random.default_rng(7)).target["label_map"]
    shift = field(np.random.default_rng(7).normal(0.0, 3.0, (3, 3, 2)))
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    found = []
    for positions, length in ((rows + shift[..., 1], SIZE[0]), (columns + shift[..., 0], SIZE[1])):
        nearest = np.abs(np.rint(positions).astype(int))  # mirrored past the edges
        found.append(np.where(nearest >= length, 2 * (length - 1) - nearest, nearest))
    assert (bent == label_map[found[0], found[1]]).mean() > 0.99  # what lies between two pixels may go to either
    assert (bent != label_map).mean() > 0.2


def test_nodes_have_the_deviation_that_is_asked_for():
    """A ramp shows by how much each node moved: 10 pixels in the paper."""
    height, width = 9, 243
    ramp = np.broadcast_to(np.arange(width, dtype=np.uint8), (height, width)).copy()
    sample = Sample(ramp[..., None], {"label_map": ramp}, ImageInfo(0, "x", Geometry.identity((height, width))))
    moves = []
    for seed in range(400):
        bent = Elastic(sigma=10.0)(sample, np.random.default_rng(seed)).image[..., 0]
        node = bent[height // 2, width // 2]  # the middle node
        moves.append(float(node) - width // 2)
    assert np.std(moves) == pytest.approx(10.0, rel=0.1)
    assert np.mean(moves) == pytest.approx(0.0, abs=1.5)
