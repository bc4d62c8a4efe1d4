"""``runs/<name>/``: everything a run leaves behind, each file complete or absent."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import config_to_yaml
from saccade.errors import ConfigError, WeightsError
from saccade.structures.files import atomic_write, previous_path, write_text

__all__ = ["RunFolder"]


class RunFolder:
    """Folder of a run: paths of its files and the methods that write them.

    Args:
        config: The run's configuration; names the folder.
        resume: Go on in an existing folder instead of refusing it.

    Raises:
        ConfigError: If the folder holds a run already and ``resume`` is not set, or holds none and it is.

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
        self._events: Any = None
        if not resume and (self.path / "config.yaml").exists():
            raise ConfigError(
                f"{self.path} already holds a run. "
                "Add --resume to go on with it, --name OTHER to keep it, or delete the folder."
            )

    def start(self, config: TrainConfig) -> None:
        """Make the folder and write ``config.yaml``."""
        (self.path / "last").mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.yaml", config_to_yaml(config))

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Write ``metrics.csv``, one row an epoch; columns that appear later are empty before."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows([{key: f"{value:.9g}" for key, value in row.items()} for row in rows])
        write_text(self.path / "metrics.csv", text.getvalue())

    def log_events(self, row: Mapping[str, float], step: int) -> None:
        """Write the TensorBoard scalars of one epoch."""
        if self._events is None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.path / "events"), purge_step=step)
        for key, value in row.items():
            self._events.add_scalar(key, value, step)
        self._events.flush()

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the training state, readable with ``weights_only=True``; the one before is kept beside it."""

        def write(path: Path) -> None:
            # Through a Python file a full disk is an OSError, but torch's writer hides it behind an error of its own.
            try:
                with path.open("wb") as file:
                    torch.save(state, file)
            except RuntimeError as error:
                cause = error.__context__
                raise cause if isinstance(cause, OSError) else error from None

        atomic_write(self.state_path, write, keep_previous=True)

    def load_state(self) -> dict[str, Any] | None:
        """Read the newest training state that is intact; None before the first was written.

        Raises:
            WeightsError: If neither the last nor the previous state reads.
        """
        existing = [path for path in (self.state_path, previous_path(self.state_path)) if path.exists()]
        for path in existing:
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:
                damage = error
                continue
            return state
        if existing:
            raise WeightsError(
                f"{self.state_path} and the one before it are damaged ({damage}). "
                "Start the run anew under another --name."
            )
        return None

    def close(self) -> None:
        """Finish the event file."""
        if self._events is not None:
            self._events.close()
