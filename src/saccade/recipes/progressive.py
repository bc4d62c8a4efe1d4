"""Progressive learning: images and regularisation that grow together, phase by phase.

Paper: Mingxing Tan, Quoc V. Le, "EfficientNetV2: Smaller Models and Faster Training", ICML 2021, arXiv 2104.00298,
section 4.
"""

from __future__ import annotations

from typing import Any

from saccade.engine.train.config import Phase
from saccade.errors import ConfigError

__all__ = ["progressive_phases"]


def progressive_phases(
    epochs: int,
    sizes: tuple[int, int],
    magnitude: tuple[float, float] | None = None,
    mixup_alpha: tuple[float, float] | None = None,
    dropout: tuple[float, float] | None = None,
    count: int = 4,
    multiple: int = 1,
) -> tuple[Phase, ...]:
    """Phases of progressive learning: size and regularisation grow linearly over a run (algorithm 1).

    Phase i of M, from 0, begins at epoch ``epochs * i / M`` and has S_i = S_0 + (S_e - S_0) i / (M - 1) pixels a side,
    and likewise for each regulariser. The canvas of evaluation is that of the network and does not change.

    Args:
        epochs: Length of the run.
        sizes: First and last side of the training images.
        magnitude: First and last magnitude of RandAugment, which the run's ``augment.policy`` has to switch on.
        mixup_alpha: First and last alpha of mixup, which is off while alpha is 0.
        dropout: First and last rate of the dropout layers.
        count: Number of phases (M).
        multiple: Sides are rounded to multiples of this.

    Raises:
        ConfigError: If there are fewer epochs than phases, or fewer than two phases.

    Example:
        >>> [phase.size for phase in progressive_phases(8, (128, 300))]
        [(128, 128), (185, 185), (243, 243), (300, 300)]
    """
    if not 2 <= count <= epochs:
        raise ConfigError(f"progressive learning takes 2 phases or more and an epoch each: {count} in {epochs} epochs.")

    def at(index: int, ends: tuple[float, float]) -> float:
        return ends[0] + (ends[1] - ends[0]) * index / (count - 1)

    phases = []
    for index in range(count):
        side = round(at(index, sizes) / multiple) * multiple
        augment: dict[str, Any] = {}
        if magnitude is not None:
            augment["policy_magnitude"] = round(at(index, magnitude))
        if mixup_alpha is not None:
            alpha = at(index, mixup_alpha)
            augment |= {"mixup": 1.0 if alpha > 0 else 0.0, "mixup_alpha": alpha if alpha > 0 else 1.0}
        model = {} if dropout is None else {"dropout_rate": at(index, dropout)}
        phases.append(Phase(from_epoch=epochs * index // count, model=model, augment=augment, size=(side, side)))
    return tuple(phases)
