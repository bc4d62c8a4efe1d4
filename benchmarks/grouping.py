"""Grouping of people: 50 on maps of 368 x 656 pixels, from heatmaps and fields to points, and its two halves.

The people are stick figures of several sizes at random places, many of them overlapping; their maps are the targets of
training, and noise is added to them.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import Figure, alternate, use_threads
from saccade.models.keypoints.part_layout import layout_for
from saccade.ops.group_parts import GroupSettings, find_peaks, group_parts, score_pairs
from saccade.ops.part_fields import draw_fields, draw_heatmaps

SIZE, STRIDE, PEOPLE = (368, 656), 8, 50
# A standing person in COCO's order, in shares of the height; x from the middle, y from the top.
FIGURE = (
    (0, 0.08), (0.02, 0.06), (-0.02, 0.06), (0.045, 0.07), (-0.045, 0.07), (0.11, 0.19), (-0.11, 0.19), (0.16, 0.33),
    (-0.16, 0.33), (0.17, 0.47), (-0.17, 0.47), (0.07, 0.5), (-0.07, 0.5), (0.08, 0.72), (-0.08, 0.72), (0.08, 0.95),
    (-0.08, 0.95),
)  # fmt: skip


def crowd(people: int, size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """Keypoints (1, N, 17, 3) of people of 80 to 240 pixels, each a little bent."""
    rng = np.random.default_rng(seed)
    height = rng.uniform(80, 240, (people, 1, 1))
    corner = rng.uniform(0, 1, (people, 1, 2)) * (np.array(size[::-1]) - height * [0.4, 1]) + height * [0.2, 0]
    points = corner + height * (np.array(FIGURE) + rng.normal(0, 0.012, (people, 17, 2)))
    return torch.from_numpy(np.concatenate((points, np.full((people, 17, 1), 2.0)), axis=2)[None]).float()


def maps_of(keypoints: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Target heatmaps and fields of people, with noise."""
    layout, cells = layout_for(17), (SIZE[0] // STRIDE, SIZE[1] // STRIDE)
    points, known = layout.gather(keypoints)
    heatmaps = draw_heatmaps(points, known, cells, STRIDE, sigma=7.0)[0].numpy()
    fields = draw_fields(points, known, layout.limbs, cells, STRIDE, limb_width=8.0)[0].numpy()
    rng = np.random.default_rng(1)
    return tuple((one + rng.normal(0, 0.02, one.shape)).astype(np.float32) for one in (heatmaps, fields))


def run(rounds: int = 20) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    limbs, settings = layout_for(17).limbs, GroupSettings()
    heatmaps, fields = maps_of(crowd(PEOPLE, SIZE))
    peaks = find_peaks(heatmaps, settings.peak_threshold)
    found = group_parts(heatmaps, fields, limbs, settings)
    assert len(found.scores) > PEOPLE // 2, "these are no people"
    work = {
        "whole": partial(group_parts, heatmaps, fields, limbs, settings),
        "peaks": partial(find_peaks, heatmaps, settings.peak_threshold),
        "integrals": partial(score_pairs, fields, peaks, limbs, settings),
    }
    seconds = alternate(work, rounds, warmup=3)
    title = f"grouping of {PEOPLE} people, {SIZE[0]} x {SIZE[1]}"
    note = f"{len(peaks.scores)} peaks, {len(found.scores)} people found"
    return [
        Figure(title, 1000 * seconds["whole"], "ms", 40.0, note=note),
        Figure(f"{title}: peaks", 1000 * seconds["peaks"], "ms"),
        Figure(f"{title}: line integrals of all pairs", 1000 * seconds["integrals"], "ms"),
    ]
