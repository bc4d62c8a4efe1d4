"""What every benchmark shares: which machine this is, and how two things are timed against each other."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["Figure", "alternate", "machine", "print_machine", "use_threads"]

_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_PACKAGES = ("torch", "torchvision", "openvino", "onnxruntime", "opencv-contrib-python-headless", "numpy")


@dataclass
class Figure:
    """One measured figure and what is asked of it.

    Args:
        name: What was measured.
        value: In ``unit``.
        unit: ``s``, ``x``, ``%``, ``images/s``, ``MB``.
        bound: What the project promises, in the same unit; None for a figure without a promise.
        at_least: The value has to reach the bound; otherwise it may not pass it.
        note: What went into the ratio.
    """

    name: str
    value: float
    unit: str
    bound: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the promise holds; None where there is none."""
        if self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``results.json``."""
        return asdict(self) | {"met": self.met}


def machine() -> dict[str, Any]:
    """Processor, what it computes in, cores, memory, threads, and the versions that matter."""
    model, flags = platform.processor(), ""
    for line in _lines("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() == "flags":
            flags = value
            break
    present = set(flags.split())
    return {
        "processor": model,
        "computes_in": [flag for flag in _FLAGS if flag in present],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: found for name in _PACKAGES if (found := _version(name))},
    }


def print_machine() -> None:
    """One line a fact."""
    for key, value in machine().items():
        print(f"{key:>32}: {', '.join(value) if isinstance(value, list) else value}")


def use_threads() -> int:
    """Give torch and OpenCV as many threads as ``OMP_NUM_THREADS`` says, else two; returns the number."""
    import cv2
    import torch

    threads = int(os.environ.setdefault("OMP_NUM_THREADS", "2"))
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    return threads


def alternate(calls: dict[str, Callable[[], Any]], rounds: int = 10, warmup: int = 2) -> dict[str, float]:
    """Median seconds of each call, timed in turn, so that what slows the machine down slows all of them down.

    Args:
        calls: What to time, by name.
        rounds: Timed turns.
        warmup: Turns before them that do not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warmup + rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
