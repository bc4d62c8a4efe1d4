from __future__ import annotations

import torch

from saccade.ops.padding import pad_to_multiple


def test_borders_are_repeated_at_the_right_and_bottom_only():
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert pad_to_multiple(image, 4)[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert torch.equal(pad_to_multiple(image, 1), image)
    assert pad_to_multiple(torch.zeros(2, 3, 33, 64), 32).shape == (2, 3, 64, 64)


def test_one_pixel_more_than_whole_strides():
    for side, expected in ((1, 1), (2, 9), (8, 9), (9, 9), (10, 17)):
        assert pad_to_multiple(torch.zeros(1, 1, side, 9), 8, plus=1).shape == (1, 1, expected, 9)
