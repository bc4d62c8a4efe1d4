"""Randomness as a function of (seed, step): a resumed run draws the numbers an unbroken one would have drawn."""

from __future__ import annotations

import random

import numpy as np
import torch

__all__ = ["seed_step"]


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch (all devices), numpy and random for one training step.

    Args:
        seed: Of the run.
        step: Counted from 0 over the whole run; -1 for what happens before the first step (initialisation).
        rank: Process number, so that dropout differs between processes.

    Example:
        >>> seed_step(0, step=3)
        >>> first = torch.rand(2)
        >>> seed_step(0, step=3)
        >>> torch.equal(torch.rand(2), first)
        True
    """
    state = int(np.random.SeedSequence([seed, step + 1, rank]).generate_state(1)[0])
    torch.manual_seed(state)
    np.random.seed(state)  # noqa: NPY002 - third-party code may draw from the global generator
    random.seed(state)
