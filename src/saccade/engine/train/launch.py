"""Devices, precision and processes, by lightning-fabric; the loop stays ours."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch

from saccade.deploy.precision import has_bf16
from saccade.engine.train.config import TrainConfig

__all__ = ["launch_fabric", "resolve_precision"]

_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def resolve_precision(wanted: str) -> str:
    """Name of a precision in Fabric; ``auto`` is bf16 autocast where the device computes in it, else float32.

    Example:
        >>> resolve_precision("bf16")
        'bf16-mixed'
    """
    if wanted != "auto":
        return _PRECISIONS[wanted]
    native = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else has_bf16()
    return _PRECISIONS["bf16" if native else "32"]


def launch_fabric(config: TrainConfig, find_unused_parameters: bool) -> Any:
    """Launch a Fabric: one process, or those that ``torchrun`` started.

    Args:
        config: Gives the precision.
        find_unused_parameters: Some steps touch only part of the parameters (several optimisers, freezing by stage).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fabric warns of its own dependencies on import
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy

    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=local_world,
        num_nodes=max(world // local_world, 1),
        strategy=DDPStrategy(find_unused_parameters=find_unused_parameters) if world > 1 else "auto",
        precision=resolve_precision(config.precision),
    )
    fabric.launch()
    return fabric
