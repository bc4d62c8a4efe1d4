"""``runs/<name>/``: everything a run leaves behind, each file complete or absent."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import config_to_yaml
from saccade.errors import ConfigError, SaccadeError, WeightsError
from saccade.models.checkpoint import read_metadata
from saccade.structures.files import atomic_write, previous_path, write_text
from saccade.structures.reading import require_regular
from saccade.structures.text import printable

__all__ = ["STATE_VERSION", "RunFolder"]

# Goes up when older code could misread a new state, or newer code an old one.
STATE_VERSION = 2

# Parts of a training state and their types.
_PARTS = {
    "position": dict,
    "config": str,
    "network": dict,
    "started": bool,
    "model": dict,
    "training_state": dict,
    "earlier_heads": dict,
}
# Temporary files of a run that was killed while it wrote: ours (structures.files) and those of safetensors.
_LEFT_OVER = re.compile(
    r"\.(config|metrics|status|report|batch[^/]*|best|state|model)\.([a-z0-9_]{8}\.\w+|.*\.link)|\.tmp\w{6}|.*\.tmp"
)


class RunFolder:
    """Folder of a run: paths of its files and the methods that write them.

    Args:
        config: The run's configuration; names the folder.
        resume: Go on in an existing folder instead of refusing it.

    Raises:
        ConfigError: If the folder holds what a run has trained already and ``resume`` is not set.

    Example:
        >>> folder = RunFolder(TrainConfig(name="digits"), resume=False)
        >>> folder.best_model.as_posix()
        'runs/digits/best.safetensors'
    """

    def __init__(self, config: TrainConfig, resume: bool) -> None:
        self.path = Path(config.out) / config.name
        self.state_path = self.path / "last" / "state.pt"
        self.last_model = self.path / "last" / "model.safetensors"
        self.best_model = self.path / "best.safetensors"
        self.notes: list[str] = []  # what a person should know of the folder that was found
        self._loaded = self.state_path  # the state that the run goes on from
        trained = (self.state_path, previous_path(self.state_path), self.best_model)
        if not resume and any(os.path.lexists(path) for path in trained):
            raise ConfigError(
                f"{self.path} already holds a run. "
                "Add --resume to go on with it, --name OTHER to keep it, or delete the folder."
            )

    def start(self, config: TrainConfig) -> None:
        """Make the folder, clear what killed runs left half-written or damaged, and write ``config.yaml``.

        Raises:
            SaccadeError: If it cannot be written.
        """
        try:
            self.state_path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the run folder {self.path} cannot be written ({error.strerror}: {error.filename}). Choose another "
                "with --out or --name."
            ) from error
        for folder in (self.path, self.state_path.parent):
            for file in folder.iterdir():
                if _LEFT_OVER.fullmatch(file.name) and file.is_file() and not file.is_symlink():
                    file.unlink()
        if self._loaded != self.state_path:  # else the next save would put the damaged state in the place of this one
            self._loaded.replace(self.state_path)
        text = config_to_yaml(config)
        path = self.path / "config.yaml"
        if not path.is_file() or path.read_bytes() != text.encode():
            write_text(path, text)

    def write_left_out(self, rows: list[tuple[str, str, str]]) -> None:
        """Write ``left_out.csv``, if anything was left out: split, place and reason of each label and image."""
        if rows:
            text = io.StringIO()
            named = [("split", "place", "reason"), *(tuple(map(printable, row)) for row in rows)]
            csv.writer(text, lineterminator="\n").writerows(named)
            write_text(self.path / "left_out.csv", text.getvalue())

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Write ``metrics.csv``, one row an epoch; columns that appear later are empty before."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows([{key: f"{value:.9g}" for key, value in row.items()} for row in rows])
        path = self.path / "metrics.csv"
        if not path.is_file() or path.read_bytes() != text.getvalue().encode():
            write_text(path, text.getvalue())

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the training state, readable with ``weights_only=True``; the one before is kept beside it.

        It is the last file of a position to be written: whatever happened to the others, a run goes on from the state
        and writes them again.
        """

        def write(path: Path) -> None:
            # Through a Python file a full disk is an OSError, but torch's writer hides it behind an error of its own.
            try:
                with path.open("wb") as file:
                    torch.save({"saccade_state": STATE_VERSION, **state}, file)
            except RuntimeError as error:
                cause = error.__context__
                raise cause if isinstance(cause, OSError) else error from None

        atomic_write(self.state_path, write, keep_previous=True)
        with suppress(OSError):
            previous_path(self.best_model).unlink(missing_ok=True)

    def load_state(self) -> dict[str, Any] | None:
        """Read the newest training state that is intact; None if there is none.

        Raises:
            WeightsError: If neither the last nor the previous state reads.
        """
        if self.state_path.is_dir():
            raise WeightsError(f"{self.state_path} is a folder; the training state is a file of that name. Remove it.")
        existing = [path for path in (self.state_path, previous_path(self.state_path)) if os.path.lexists(path)]
        faults = []
        for path in existing:
            try:
                state = _read_state(path)
            except SaccadeError as error:
                faults.append(str(error))
                continue
            self._loaded = path
            if path != self.state_path:
                fault = faults[0] if faults else f"{self.state_path} is missing."
                self.notes.append(f"{fault} The run goes on from the state before, {path.name}.")
            return state
        if faults:
            both = f", nor from {existing[1].name} beside it" if len(existing) > 1 else ""
            raise WeightsError(
                f"{faults[0]} The run cannot go on from it{both}. Start anew under another --name; weights that were "
                f"kept are in {self.path}."
            )
        return None

    def set_best_aside(self) -> None:
        """Keep the present best weights under a second name until the state that replaces them is written."""
        if not self.best_model.is_file():
            return
        aside = previous_path(self.best_model)
        aside.unlink(missing_ok=True)
        try:
            os.link(self.best_model, aside)
        except OSError:  # file systems without hard links
            shutil.copyfile(self.best_model, aside)

    def settle_best(self, epoch: int) -> bool:
        """Bring back the best weights of a position, if a run was killed between those of a later one and its state.

        Args:
            epoch: Whose weights are kept at the position.

        Returns:
            Whether ``best.safetensors`` holds them now.
        """
        aside = previous_path(self.best_model)
        if self.epoch_of(self.best_model) != epoch:
            if self.epoch_of(aside) != epoch:
                return False
            aside.replace(self.best_model)
        aside.unlink(missing_ok=True)
        return True

    @staticmethod
    def epoch_of(path: Path) -> int | None:
        """Epoch of a checkpoint of the run; None if it is missing, damaged or tells none."""
        try:
            epoch = read_metadata(path)["extra"]["epoch"]
        except (SaccadeError, KeyError, TypeError):
            return None
        return epoch if isinstance(epoch, int) else None


def _read_state(path: Path) -> dict[str, Any]:
    """Read a training state whose checksums hold.

    The file is a zip, of which every part has a checksum; torch writes them and does not look at them.

    Raises:
        SaccadeError: If it is no regular file, damaged, or of another program or version.
    """
    require_regular(path)
    damaged = f"{path} is damaged"
    try:
        with zipfile.ZipFile(path) as archive:
            stored = all(part.compress_type == zipfile.ZIP_STORED for part in archive.infolist())
            part = archive.testzip() if stored else "compression"
        if part is not None:
            raise WeightsError(f"{damaged} (checksum of {part.rpartition('/')[2]}).")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except SaccadeError:
        raise
    except Exception as error:  # whatever damaged bytes do to two readers
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(f"{damaged}, or not a training state ({type(error).__name__}: {reason}).") from error
    if not isinstance(state, dict) or "saccade_state" not in state:
        known = "of an older version of Saccade" if isinstance(state, dict) and "position" in state else "not Saccade's"
        raise WeightsError(f"{path} is no training state of this version: it is {known}.")
    if state["saccade_state"] != STATE_VERSION:
        raise WeightsError(
            f"{path} is a training state of version {state['saccade_state']!r:.20}; this Saccade reads {STATE_VERSION}."
        )
    for name, kind in _PARTS.items():
        if not isinstance(state.get(name), kind):
            raise WeightsError(f"{path}: '{name}' is missing or no {kind.__name__}.")
    return state
