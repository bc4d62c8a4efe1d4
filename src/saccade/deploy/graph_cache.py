"""Converted graphs on disk: a checkpoint that was predicted with before is not exported and converted again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from saccade.models.base import Model
from saccade.structures.folders import cache_root

__all__ = ["GraphCache"]

logger = logging.getLogger("saccade")
_MAX_BYTES = 2 << 30  # of all graphs; the ones used longest ago are removed
_FILE = "graph.xml"


class GraphCache:
    """Graphs of one network by canvas, in a folder that all networks share.

    A graph is found again by what it was made of: weights, builder and its options, canvas, and the versions of what
    converted it. A folder that cannot be written costs time, nothing else.

    Args:
        model: The network as it will predict; it must not change from now on.
        versions: Of the packages that convert.
        folder: Where graphs lie; ``graphs`` in the cache folder if not given.

    Example:
        >>> graphs = GraphCache(saccade.create_model("lenet5"), "openvino 1", Path("graphs"))
        >>> graphs.read((32, 32), lambda path: path.read_text()) is None
        True
        >>> graphs.write((32, 32), lambda path: path.write_text("a graph"))
        >>> graphs.read((32, 32), lambda path: path.read_text())
        'a graph'
    """

    def __init__(self, model: Model, versions: str, folder: Path | None = None) -> None:
        self._model, self._versions = model, versions
        self._folder = folder or cache_root() / "graphs"

    def read(self, size: tuple[int, int], read: Callable[[Path], Any]) -> Any | None:
        """The graph of a canvas (height, width), by a function that reads a file; None if there is none."""
        place = self._folder / self._key(size)
        if not (place / _FILE).is_file():
            return None
        try:
            graph = read(place / _FILE)
            place.touch()  # used last
        except Exception as error:  # engines raise what they meet in a file; it is made again
            logger.debug("%s cannot be read: %s", place, error)
            shutil.rmtree(place, ignore_errors=True)
            return None
        return graph

    def write(self, size: tuple[int, int], write: Callable[[Path], Any]) -> None:
        """Keep the graph of a canvas, by a function that writes a file and others beside it."""
        place = self._folder / self._key(size)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=self._folder, prefix="new-"))
            try:
                write(temporary / _FILE)
                temporary.rename(place)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            self._remove_oldest(place)
        except Exception as error:  # what engines raise where a disk is full, too; predictions go on without
            logger.debug("the converted graph is not kept in %s: %s", place, error)

    def _key(self, size: tuple[int, int]) -> str:
        return hashlib.blake2b(f"{self._content}{size}".encode(), digest_size=16).hexdigest()

    @cached_property
    def _content(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        about = (self._model.builder_name, self._model.builder_args, self._model.input_spec.to_dict())
        digest.update(json.dumps((*about, self._versions, torch.__version__, _code()), default=repr).encode())
        for name, tensor in self._model.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def _remove_oldest(self, newest: Path) -> None:
        entries = sorted(self._folder.iterdir(), key=lambda place: place.stat().st_mtime, reverse=True)
        total = 0
        for place in (newest, *(one for one in entries if one != newest)):
            total += sum(file.stat().st_size for file in place.iterdir())
            if total > _MAX_BYTES and place != newest:
                shutil.rmtree(place, ignore_errors=True)


@cache
def _code() -> str:
    """Stands for this package's code, which changes without its version while it is worked on."""
    root = Path(__file__).parents[1]
    files = sorted(path for room in ("blocks", "models", "ops", "deploy") for path in (root / room).rglob("*.py"))
    stamps = ((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return hashlib.blake2b(repr(list(stamps)).encode(), digest_size=16).hexdigest()
