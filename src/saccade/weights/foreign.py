"""State dicts of other projects: ``.pt`` and ``.pth`` files, read without running anything that is in them."""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.errors import DataError, WeightsError
from saccade.structures.reading import require_regular
from saccade.structures.text import printable

__all__ = ["read_foreign", "require_weights_file", "unwrap"]

# Where training scripts put the weights; an average comes before the raw ones, because that is what was evaluated.
_ENTRIES = ("ema", "model_ema", "state_dict_ema", "ema_state_dict", "state_dict", "model", "model_state_dict", "module")
# Wrappers that put a prefix before every name: DistributedDataParallel, torch.compile.
_PREFIXES = ("module.", "_orig_mod.")
_MAX_BYTES = 64 << 30
_MAX_DEPTH = 8  # of dicts in dicts; a pickle may hold itself
_MAX_TENSORS = 100_000
_SAVE_AGAIN = "torch.save(model.state_dict(), 'weights.pth')"
# How modules of projects are named whose files hold the whole network, and how its tensors are taken out of it there.
_SAVE_MODULE = {
    "models.yolo.": "torch.save(torch.load(FILE, weights_only=False)['model'].float().state_dict(), 'weights.pth')",
}


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

    Example:
        >>> torch.save({"model": {"bias": torch.zeros(2)}}, "last.pth")
        >>> read_foreign("last.pth")
        ({'bias': tensor([0., 0.])}, ["entry 'model'"])
    """
    title = f"'{printable(str(path))}'"
    size = require_weights_file(path)
    path = Path(path)
    _refuse_compressed(path, size, title)
    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of storages of older releases
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error) or "Weights only load failed" in str(error):
            way = next((way for module, way in _SAVE_MODULE.items() if module in str(error)), _SAVE_AGAIN)
            raise WeightsError(
                f"{title} holds Python objects and not only tensors, and reading those could run code hidden in the "
                f"file. Where you trust it, open it in the program that wrote it and save the tensors alone: {way}."
            ) from error
        raise _damaged(title, error) from error
    except Exception as error:  # bytes of a stranger may go wrong in any way while they are read
        raise _damaged(title, error) from error
    try:
        state, notes = unwrap(content)
        _require_plain(state, size)
    except WeightsError as error:
        raise WeightsError(f"{title}: {error}") from error
    return state, notes


def require_weights_file(path: str | Path) -> int:
    """Size in bytes of a file of weights, which is checked to be a regular one.

    Args:
        path: The file.

    Raises:
        WeightsError: If it is missing, a folder, a device or a pipe, or too large.
    """
    try:
        return require_regular(path, _MAX_BYTES)
    except DataError as error:
        if "no such file" in str(error):
            raise WeightsError(f"no weights file '{printable(str(path))}'. Check the path.") from error
        raise WeightsError(printable(str(error))) from error


def _damaged(title: str, error: Exception) -> WeightsError:
    reason = printable(str(error).partition("\n")[0], limit=200) or type(error).__name__
    return WeightsError(
        f"{title} cannot be read as a torch file ({reason}). It is damaged, cut short or of another format: copy, "
        "download or save it again."
    )


def _refuse_compressed(path: Path, size: int, title: str) -> None:
    """Refuse an archive that would unpack to more than it is: torch stores its records as they are.

    Raises:
        WeightsError: If it is one, or is no archive although it begins like one.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # as above
        raise _damaged(title, error) from error
    if unpacked > size:
        raise WeightsError(
            f"{title} would unpack to {unpacked:,} bytes, more than the {size:,} that it has; torch.save compresses "
            f"nothing. Save it again: {_SAVE_AGAIN}."
        )


def _require_plain(state: Mapping[str, Tensor], size: int) -> None:
    """Refuse tensors that are no arrays of numbers, or that claim more numbers than the file can hold.

    Raises:
        WeightsError: With the name of the first.
    """
    if len(state) > _MAX_TENSORS:
        raise WeightsError(f"holds {len(state):,} tensors, more than the {_MAX_TENSORS:,} that are read.")
    for name, tensor in state.items():
        shown = printable(name, limit=100)
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
            kind = "quantised" if tensor.is_quantized else "sparse, nested or without values"
            raise WeightsError(f"tensor {shown} is {kind}. Save the network's own weights in float32: {_SAVE_AGAIN}.")
        if tensor.numel() * tensor.element_size() > size:
            raise WeightsError(f"tensor {shown} claims {tensor.numel():,} numbers, more than the file holds.")


def unwrap(content: Any) -> tuple[dict[str, Tensor], list[str]]:
    """Find the state dict inside what a training script saved.

    Args:
        content: A state dict, or a dict that holds one under a usual name (``model``, ``state_dict``, ``ema``, ...).

    Returns:
        The state dict without ``module.`` before its names, and what was unwrapped.

    Raises:
        WeightsError: If there is none.

    Example:
        >>> unwrap({"epoch": 3, "state_dict": {"module.bias": torch.zeros(1)}})
        ({'bias': tensor([0.])}, ["entry 'state_dict'", "prefix 'module.'"])
    """
    notes: list[str] = []
    while isinstance(content, Mapping):
        inner = next((name for name in _ENTRIES if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        if len(notes) == _MAX_DEPTH:
            raise WeightsError(f"holds dicts in dicts, more than {_MAX_DEPTH} deep. {_again()}")
        notes.append(f"entry '{inner}'")
        content = content[inner]
    if not isinstance(content, Mapping):
        raise WeightsError(f"holds a {type(content).__name__} and no state dict. {_again()}")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        found = printable(", ".join(sorted(str(name)[:100] for name in list(content)[:1000])[:8]))
        raise WeightsError(f"holds no tensors under any usual name (found: {found or 'nothing'}). {_again()}")
    for prefix in _PREFIXES * 2:
        if all(name.startswith(prefix) for name in state):
            notes.append(f"prefix '{prefix}'")
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state, notes


def _again() -> str:
    return f"Save the tensors alone: {_SAVE_AGAIN}."
