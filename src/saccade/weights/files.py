"""Files that are never half-written, and the one format of our own: safetensors whose metadata is JSON."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.errors import SaccadeError, WeightsError

if TYPE_CHECKING:  # writing a text file does not need torch
    from torch import Tensor

__all__ = ["atomic_write", "previous_path", "read_file", "save_file"]

# safetensors metadata is a table of strings; ours is one string under this name.
_METADATA_KEY = "saccade"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def previous_path(path: str | Path) -> Path:
    """Where ``atomic_write(..., keep_previous=True)`` keeps what it replaced: ``last.pt`` -> ``last.previous.pt``."""
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def atomic_write(path: str | Path, write: Callable[[Path], None], keep_previous: bool = False) -> None:
    """Write a file so that a reader, now or after a crash, sees the old one or the new one and never a part.

    The content goes to a temporary file in the same folder, is flushed to the disk and then renamed. On any failure the
    temporary file is removed and the old file stays as it was.

    Args:
        path: The file; its folder is made if it is not there.
        write: Writes the content to the path it is given, which has the suffix of ``path``.
        keep_previous: Keep the file that is replaced under :func:`previous_path`.

    Raises:
        SaccadeError: If the disk is full or the folder cannot be written; the message names the file and the remedy.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(_default_mode())
        _flush(temporary)
        if keep_previous and path.exists():
            _keep(path)
        temporary.replace(path)
        _flush_folder(path.parent)
    except Exception as error:
        problem = _file_problem(error, path)
        if problem is None:
            raise
        raise SaccadeError(problem) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _default_mode() -> int:
    # mkstemp makes private files; a checkpoint is as readable as any other new file.
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _keep(path: Path) -> None:
    previous = previous_path(path)
    link = path.with_name(f".{path.name}.{os.getpid()}.link")
    try:
        # A second name for the old content: there is no moment at which ``path`` does not exist.
        os.link(path, link)
        link.replace(previous)
    except OSError:
        link.unlink(missing_ok=True)
        path.replace(previous)  # file systems without hard links


def _file_problem(error: Exception, path: Path) -> str | None:
    """The user's message for a failure of the file system; None for any other error.

    Writers outside Python (torch.save, safetensors) report a full disk as an error of their own, so its text and the
    free space are looked at as well.
    """
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    full = number in _NO_ROOM or any(f"os error {code}" in text for code in _NO_ROOM)
    if not full and not isinstance(error, SaccadeError):
        with contextlib.suppress(OSError):
            full = shutil.disk_usage(path.parent).free < 1 << 16
    if full:
        return (
            f"cannot write '{path}': the disk is full (or a quota is reached). Free some space or choose another "
            "folder; what was there before is unchanged."
        )
    if isinstance(error, OSError):
        return (
            f"cannot write '{path}': {error.strerror or error}. Choose a folder that can be written; "
            "what was there before is unchanged."
        )
    return None


def save_file(
    path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, Any], keep_previous: bool = False
) -> None:
    """Write tensors with metadata as safetensors, atomically.

    Args:
        path: The file, usually ``*.safetensors``.
        state: Tensors by name; written from the CPU, contiguous, shared ones once each.
        metadata: Anything JSON can hold; NumPy and torch scalars become numbers.
        keep_previous: See :func:`atomic_write`.

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
