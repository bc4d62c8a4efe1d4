"""Our one format of weights: safetensors whose metadata is JSON, never half-written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.errors import DataError, WeightsError
from saccade.structures.files import atomic_write, to_json
from saccade.structures.reading import require_regular
from saccade.structures.text import printable
from saccade.weights.metadata import read_text_metadata

if TYPE_CHECKING:  # writing a text file does not need torch
    from torch import Tensor

__all__ = ["read_file", "read_header", "save_file"]

# safetensors metadata is a table of strings; ours is one string under this name.
_METADATA_KEY = "saccade"


def save_file(
    path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, Any], keep_previous: bool = False
) -> None:
    """Write tensors with metadata as safetensors, atomically.

    Args:
        path: The file, usually ``*.safetensors``.
        state: Tensors by name; written from the CPU, contiguous, shared ones once each.
        metadata: Anything JSON can hold; NumPy and torch scalars become numbers, figures that are no number null.
        keep_previous: See :func:`saccade.structures.files.atomic_write`.

    Raises:
        SaccadeError: If the file cannot be written.
        WeightsError: If the metadata holds something that is not JSON.
    """
    from safetensors.torch import save_file as save_safetensors

    try:
        text = to_json(metadata)
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


def read_header(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """Read what a file of weights holds, none of its tensors.

    Args:
        path: A safetensors file; one that Saccade did not write gives empty metadata.

    Returns:
        Shapes of the tensors by name, and the metadata, checked by
        :func:`saccade.weights.metadata.read_text_metadata`.

    Raises:
        WeightsError: If the file is missing, damaged, or not safetensors, or a field of its metadata is wrong.

    Example:
        >>> save_file("a.safetensors", {"weight": torch.zeros(2, 3)}, {"note": "mine"})
        >>> read_header("a.safetensors")
        ({'weight': (2, 3)}, {'note': 'mine'})
    """
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return shapes, _metadata(file, path)


def read_file(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_file` wrote.

    Args:
        path: A safetensors file; one that Saccade did not write gives empty metadata.

    Returns:
        Tensors by name, on the CPU, and the metadata, checked as by :func:`read_header`.

    Raises:
        WeightsError: If the file is missing, damaged, or not safetensors, or a field of its metadata is wrong.
    """
    with _opened(path) as file:
        metadata = _metadata(file, path)
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (not a dict)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """The file, opened by safetensors, which holds the sizes that its header declares against that of the file."""
    if not Path(path).exists():
        raise WeightsError(f"no weights file '{printable(str(path))}'. Check the path.")
    try:
        require_regular(path)
    except DataError as error:
        raise WeightsError(printable(str(error))) from error
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"'{printable(str(path))}' is not a readable safetensors file ({printable(str(error), limit=300)}). It is "
            "damaged, cut short or of another format: copy or download it again."
        ) from error


def _metadata(file: Any, path: str | Path) -> dict[str, Any]:
    texts = file.metadata() or {}
    return read_text_metadata(texts[_METADATA_KEY], path, WeightsError) if _METADATA_KEY in texts else {}
