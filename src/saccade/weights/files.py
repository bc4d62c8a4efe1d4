"""Our one format of weights: safetensors whose metadata is JSON, never half-written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.errors import WeightsError
from saccade.structures.files import atomic_write

if TYPE_CHECKING:  # writing a text file does not need torch
    from torch import Tensor

__all__ = ["read_file", "save_file"]

# safetensors metadata is a table of strings; ours is one string under this name.
_METADATA_KEY = "saccade"


def save_file(
    path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, Any], keep_previous: bool = False
) -> None:
    """Write tensors with metadata as safetensors, atomically.

    Args:
        path: The file, usually ``*.safetensors``.
        state: Tensors by name; written from the CPU, contiguous, shared ones once each.
        metadata: Anything JSON can hold; NumPy and torch scalars become numbers.
        keep_previous: See :func:`saccade.structures.files.atomic_write`.

    Raises:
        SaccadeError: If the file cannot be written.
        WeightsError: If the metadata holds something that is not JSON.
    """
    from safetensors.torch import save_file as save_safetensors

    try:
        text = json.dumps(dict(metadata), default=_plain)
    except TypeError as error:
        raise WeightsError(f"cannot write '{path}': its metadata is not plain JSON ({error}).") from error
    tensors: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in state.items():
        tensor = tensor.detach().to("cpu").contiguous()
        address = tensor.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory (tied weights, views).
        tensors[name] = tensor.clone() if address in storages else tensor
        storages.add(address)
    atomic_write(path, lambda target: save_safetensors(tensors, target, {_METADATA_KEY: text}), keep_previous)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r:.60}")


def read_file(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_file` wrote.

    Args:
        path: A safetensors file; one that Saccade did not write gives empty metadata.

    Returns:
        Tensors by name, on the CPU, and the metadata.

    Raises:
        WeightsError: If the file is missing, damaged, or not safetensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights file '{path}'. Check the path.")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            texts = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"'{path}' is not a readable safetensors file ({error}). It is damaged, cut short or of another format: "
            "copy or download it again."
        ) from error
    if _METADATA_KEY not in texts:
        return state, {}
    try:
        metadata = json.loads(texts[_METADATA_KEY])
    except json.JSONDecodeError as error:
        raise WeightsError(f"'{path}' has damaged metadata ({error}). Copy or download it again.") from error
    if not isinstance(metadata, dict):
        raise WeightsError(f"'{path}' has damaged metadata (a {type(metadata).__name__}). Copy or download it again.")
    return state, metadata
