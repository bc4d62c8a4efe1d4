"""State dicts of other projects: ``.pt`` and ``.pth`` files, read without running anything that is in them."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.errors import WeightsError

__all__ = ["read_foreign", "unwrap"]

# Where training scripts put the weights; an average comes before the raw ones, because that is what was evaluated.
_ENTRIES = ("ema", "model_ema", "state_dict_ema", "ema_state_dict", "state_dict", "model", "model_state_dict", "module")
# Wrappers that put a prefix before every name: DistributedDataParallel, torch.compile.
_PREFIXES = ("module.", "_orig_mod.")


def _harmless() -> list[Any]:
    """Plain records that training scripts store beside the weights (best score, arguments); none can run code."""
    scalar = np.float64(0).__reduce__()[0]  # NumPy's unpickler of scalars; its module was renamed in 2.0
    scalars = [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]
    dtypes = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "bool")]
    return [*scalars, np.dtype, *dtypes, argparse.Namespace]


def read_foreign(path: str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of a ``.pt`` or ``.pth`` file.

    Args:
        path: File written by ``torch.save``.

    Returns:
        The state dict without wrappers, on the CPU, and what was unwrapped (such as ``entry 'model'``).

    Raises:
        WeightsError: If the file is missing or damaged, holds no state dict, or holds Python objects: those could run
            code when read.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights file '{path}'. Check the path.")
    try:
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"'{path}' holds Python objects and not only tensors, and reading those could run code hidden in the file. "
            "Where you trust it, open it in the program that wrote it and save the tensors alone: "
            "torch.save(model.state_dict(), 'weights.pth')."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"'{path}' cannot be read as a torch file ({reason}). It is damaged, cut short or of another format."
        ) from error
    try:
        return unwrap(content)
    except WeightsError as error:
        raise WeightsError(f"'{path}': {error}") from error


def unwrap(content: Any) -> tuple[dict[str, Tensor], list[str]]:
    """Find the state dict inside what a training script saved.

    Args:
        content: A state dict, or a dict that holds one under a usual name (``model``, ``state_dict``, ``ema``, ...).

    Returns:
        The state dict without ``module.`` before its names, and what was unwrapped.

    Raises:
        WeightsError: If there is none.
    """
    notes: list[str] = []
    while isinstance(content, Mapping):
        inner = next((name for name in _ENTRIES if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        notes.append(f"entry '{inner}'")
        content = content[inner]
    if not isinstance(content, Mapping):
        raise WeightsError(f"holds a {type(content).__name__} and no state dict.")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        found = ", ".join(sorted(map(str, content))[:8])
        raise WeightsError(f"holds no tensors under any usual name (found: {found or 'nothing'}).")
    for prefix in _PREFIXES * 2:
        if all(name.startswith(prefix) for name in state):
            notes.append(f"prefix '{prefix}'")
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state, notes
