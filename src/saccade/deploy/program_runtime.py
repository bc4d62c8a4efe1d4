"""Exported ``.pt2`` programs of ``torch.export``, in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from saccade.deploy.file_runtime import Arrays, FileRuntime, require_file
from saccade.errors import ExportError

__all__ = ["ProgramRuntime", "refuse_untrusted"]


def refuse_untrusted(path: str | Path, trust: bool) -> None:
    """Refuse a program of torch.export, unless its maker is trusted, before anything of it is read.

    Weights and sample inputs inside are pickles, and its expressions are evaluated: each can run any code.

    Raises:
        ExportError: Without ``trust``.
    """
    if not trust:
        raise ExportError(
            f"'{path}' is a program of torch.export: opening it can run any code that its maker put inside. If you "
            "trust the file, say so by trust=True (--trust). Checkpoints (.safetensors), ONNX and OpenVINO need none."
        )


class ProgramRuntime(FileRuntime):
    """Runtime of an exported ``.pt2`` file of ``torch.export``, in torch on the CPU.

    Args:
        path: The file.
        trust: Open it although it can run any code; see :func:`refuse_untrusted`.

    Raises:
        ExportError: If it is not trusted, or not one that :func:`export_model` wrote.

    Example:
        >>> from saccade.deploy.export import export_model
        >>> path = export_model(saccade.create_model("lenet5"), "lenet", format="torch")
        >>> ProgramRuntime(path)
        Traceback (most recent call last):
        saccade.errors.ExportError: 'lenet.pt2' is a program of torch.export: opening it can run any code ...
        >>> runtime = ProgramRuntime(path, trust=True)
        >>> runtime(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))["probabilities"].shape
        torch.Size([2, 10])
    """

    def __init__(self, path: str | Path, trust: bool = False) -> None:
        refuse_untrusted(path, trust)
        require_file(path)
        import torchvision  # noqa: F401 - registers the operators that the graph may use

        extra = {"saccade": ""}
        try:
            program = torch.export.load(str(path), extra_files=extra)
        except Exception as error:  # torch raises whatever its archive reader meets
            raise ExportError(
                f"'{path}' cannot be opened by torch.export: {str(error).partition(chr(10))[0]}"
            ) from error
        self._module = program.module()
        super().__init__(Path(path), _text(extra["saccade"]), "torch.export")

    def _run(self, arrays: Arrays) -> list[NDArray[Any]]:
        with torch.no_grad():
            return [found.numpy() for found in self._module(*map(torch.from_numpy, arrays.values()))]


def _text(extra: str | bytes) -> str:
    return extra if isinstance(extra, str) else extra.decode("utf-8", "backslashreplace")
