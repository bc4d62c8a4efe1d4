"""Runtimes, that is everything that predicts. Callers open one here and need not know what is behind it."""

from __future__ import annotations

import functools
import importlib.util
import logging
import weakref
from dataclasses import is_dataclass
from pathlib import Path

import torch

from saccade.deploy.base import Runtime
from saccade.deploy.open_file import open_file
from saccade.deploy.openvino_runtime import OpenVinoRuntime
from saccade.deploy.precision import Precision
from saccade.deploy.torch_runtime import EagerRuntime, FusedRuntime
from saccade.errors import SaccadeError
from saccade.models.base import Model
from saccade.models.checkpoint import find_checkpoint, load_model

__all__ = [
    "EagerRuntime",
    "FusedRuntime",
    "OpenVinoRuntime",
    "Precision",
    "Runtime",
    "best_cpu_runtime",
    "open_runtime",
]

logger = logging.getLogger("saccade")
# By network, for as long as it lives; the values hold copies of it and keep nothing alive.
_RUNTIMES: weakref.WeakKeyDictionary[Model, tuple[tuple[object, ...], Runtime]] = weakref.WeakKeyDictionary()
# Of the checkpoint that was opened last, by its file.
_LAST: dict[tuple[object, ...], Runtime] = {}


def best_cpu_runtime(model: Model, cached: bool = False) -> Runtime:
    """Build the fastest runtime for this CPU: OpenVINO where it is installed, else torch with BatchNorm folded.

    Preparing one takes seconds, so a network that has not changed since gets the one it had.

    Args:
        model: The network; the runtime has a copy of it.
        cached: Keep converted graphs on disk and take them from there; the runtime then has the network itself, which
            must not change.

    Example:
        >>> model = saccade.create_model("lenet5")
        >>> best_cpu_runtime(model) is best_cpu_runtime(model)
        True
    """
    if importlib.util.find_spec("openvino") is None:
        _warn_once()
        build: type[OpenVinoRuntime | FusedRuntime] = FusedRuntime
    elif cached:
        return OpenVinoRuntime(model, cached=True)
    else:
        build = OpenVinoRuntime
    content = (build, torch.get_num_threads(), *_content(model))
    known = _RUNTIMES.get(model)
    if known is None or known[0] != content:
        known = _RUNTIMES[model] = (content, build(model))
    return known[1]


def _content(model: Model) -> tuple[object, ...]:
    """What predictions of a network depend on, short enough to compare: two sums a tensor, and its plain attributes."""
    sums = [
        (name, *torch.stack((tensor.double().sum(), tensor.double().square().sum())).tolist())
        for name, tensor in model.state_dict().items()
    ]
    plain = (int, float, str, bool, tuple)
    return (
        *sums,
        str(dict(model.finish_options)),
        *(
            (name, str(value) if is_dataclass(value) else value)
            for name, value in vars(model).items()
            if (isinstance(value, plain) or is_dataclass(value)) and name != "training"
        ),
    )


@functools.cache
def _warn_once() -> None:
    logger.warning(
        'OpenVINO is not installed; torch predicts instead, more slowly. For speed: pip install "saccade[export]".'
    )


def open_runtime(
    path_or_model: str | Path | Model, device: str | None = None, trust: bool = False, cache: bool = False
) -> Runtime:
    """Open a runtime for a network, a checkpoint, or an exported file.

    Args:
        path_or_model: Network, ``.safetensors`` checkpoint, folder of a run (its best checkpoint), ``.onnx``, OpenVINO
            ``.xml`` or torch ``.pt2`` file.
        device: ``cpu``, ``cuda``, ``mps``; a GPU for networks if there is one, else the CPU. Exported files run on the
            CPU, ONNX files on ``cuda`` if asked to.
        trust: Open what can run code of its maker: a ``.pt2`` program, a network from outside the package.
        cache: Keep converted graphs on disk, and take them from there; a network that is given must not change.

    Raises:
        SaccadeError: If there is no such file, device, or kind of file, or it has to be trusted.

    Example:
        >>> from saccade.deploy.export import export_model
        >>> path = export_model(saccade.create_model("lenet5"), "lenet", format="torch")
        >>> open_runtime(path, trust=True).name
        'lenet.pt2 (torch.export)'
    """
    if isinstance(path_or_model, Model):
        return _open_model(path_or_model, device, cache)
    path = find_checkpoint(path_or_model)
    if path.suffix == ".safetensors" and path.exists():
        return _open_checkpoint(path, device, trust, cache)
    return open_file(path, device, trust)


def _open_checkpoint(path: Path, device: str | None, trust: bool, cache: bool) -> Runtime:
    """The runtime of a checkpoint; that of the last one is kept, as converting it again takes seconds and memory.

    torch and OpenVINO keep about half a megabyte of each conversion for good.
    """
    status = path.stat()
    # One that is trusted loads the plugins of its run.
    key = (path.resolve(), status.st_mtime_ns, status.st_size, status.st_ino, device, torch.get_num_threads(), trust)
    if key in _LAST:
        return _LAST[key]
    runtime = _open_model(load_model(path, trust=trust), device, cache)
    _LAST.clear()
    if isinstance(runtime, OpenVinoRuntime):  # others are ready at once, and may fill a GPU
        _LAST[key] = runtime
    return runtime


def _open_model(model: Model, device: str | None, cache: bool) -> Runtime:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return best_cpu_runtime(model, cache and ":" not in model.builder_name)
    try:
        return EagerRuntime(model, device, "auto")
    except (RuntimeError, AssertionError) as error:
        raise SaccadeError(f"device '{device}' cannot be used: {str(error).partition(chr(10))[0]}") from error
