"""State of a whole run: folder, processes, network, and position."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from saccade.deploy.runtime import EagerRuntime
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.guard import InterruptGuard, LossGuard
from saccade.engine.train.launch import launch_fabric
from saccade.engine.train.memory import keep_freed_memory
from saccade.engine.train.progress import TrainingDisplay
from saccade.engine.train.run_folder import RunFolder
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets, build_model, open_datasets, worker_count
from saccade.engine.train.steps import RunStep, resolve_steps
from saccade.metrics.base import MetricReport
from saccade.models.base import Model
from saccade.models.checkpoint import load_model, save_model
from saccade.structures.dataset import VisionDataset
from saccade.weights.heads import heads_metadata, heads_state, split_heads

__all__ = ["OnEpoch", "Position", "Session"]

# Called on the main process after every epoch with its row of metrics.csv; a true value stops the run.
OnEpoch = Callable[[Mapping[str, float]], bool | None]


@dataclass
class Position:
    """Position of a run, saved with the tensors, so that a resumed run goes on at the exact batch."""

    run_step: int = 0  # steps of the run that are done
    first_epoch: int = 0  # epochs of the steps before this one: no two steps see the same augmentation
    epoch: int = 0
    batch: int = 0  # batches of this epoch that are done
    step: int = 0  # batches of the run that are done
    total_epochs: int = 0
    best_score: float = -math.inf
    stale: int = 0  # evaluations since the best
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


class Session:
    """Training run from its first step to its last: folder, processes, network and position.

    Args:
        config: The whole run.
        resume: Go on where the run of that name stopped.
        model: Train this instead of building ``config.model``.
        data: Train on these instead of opening ``config.data``; or a function that opens those of a step.
        on_epoch: Called with the figures of every epoch.
    """

    interrupt: InterruptGuard

    def __init__(
        self,
        config: TrainConfig,
        resume: bool,
        model: Model | None,
        data: Datasets | Callable[[TrainConfig], Datasets] | None,
        on_epoch: OnEpoch | None,
    ) -> None:
        self.config = config
        self.steps = resolve_steps(config)
        self.folder = RunFolder(config, resume)
        self.state = self.folder.load_state() if resume else None
        self.at = Position() if self.state is None else Position(**self.state["position"])
        self._given, self._data = data, {}  # type: ignore[var-annotated]
        self.on_epoch = on_epoch
        seed_step(config.seed, -1)
        torch.use_deterministic_algorithms(config.deterministic)
        first = self.steps[min(self.at.run_step, len(self.steps) - 1)]
        self.model = model or build_model(first.config, self.data_of(first).train.info, pretrained=self.state is None)
        partial = any(step.config.freeze.trainable != "all" or step.config.phases for step in self.steps)
        self.fabric = launch_fabric(config, find_unused_parameters=bool(self.model.loss_groups) or partial)
        if self.fabric.device.type == "cpu":
            keep_freed_memory()
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.display = TrainingDisplay(self.fabric.global_rank == 0)
        self.loss_guard = LossGuard(self.folder.path / "nonfinite")
        self.stopped = False
        if self.is_main:
            self.folder.start(config)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.fabric.global_rank == 0)

    def data_of(self, step: RunStep) -> Datasets:
        """Data sets of a step, opened once for steps with the same ``data`` and ``augment`` settings."""
        if isinstance(self._given, Datasets):
            return self._given
        key = repr(step.config.data)
        if key not in self._data:
            self._data = {key: (self._given or open_datasets)(step.config)}
        return self._data[key]

    def take_state(self) -> dict[str, Any] | None:
        """The saved state of the step that a resumed run goes on in, once; None for a step that begins."""
        state, self.state = self.state, None
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.model.load_training_state(state.get("training_state", {}))
            _, heads = split_heads(state.get("earlier_heads", {}), state.get("earlier_heads_metadata", ()))
            self.model.earlier_heads = heads
        started = state is not None and bool(state["started"])
        return state if started else None

    def save_state(self, parts: Mapping[str, Any], kept: Model) -> None:
        """Write everything that a resumed run needs.

        Args:
            parts: Of the step: optimisers, average; empty between two steps.
            kept: The network as it would be kept now.
        """
        if not self.is_main:
            return
        self.folder.save_state(
            {
                "started": bool(parts),
                "model": self.model.state_dict(),
                "training_state": dict(self.model.training_state()),
                "position": asdict(self.at),
                "earlier_heads": heads_state(self.model.earlier_heads),
                "earlier_heads_metadata": heads_metadata(self.model.earlier_heads),
                **parts,
            }
        )
        self.save_model(kept, self.folder.last_model, {})

    def save_model(self, model: Model, path: Path, metrics: dict[str, float]) -> None:
        """Write a checkpoint of the network."""
        if self.is_main:
            save_model(model, path, metrics=metrics, extra={"epoch": self.at.epoch + 1, "run": self.config.name})

    def end_step(self, kept: Model, save: bool) -> None:
        """Go on to the next step with the weights that were kept.

        Args:
            kept: The network as it was kept.
            save: Save the state between two steps. The last gradient step leaves its own behind, so that a finished run
                can go on with more epochs.
        """
        at = self.at
        if not save:
            at.run_step += 1
            return
        if kept is not self.model:
            with torch.no_grad():
                own = self.model.state_dict()
                for name, value in kept.state_dict().items():
                    own[name].copy_(value)
        is_last = at.run_step + 1 == len(self.steps)
        self.at = Position(
            run_step=at.run_step + 1,
            first_epoch=at.first_epoch + at.epoch,
            step=at.step,
            seconds=at.seconds,
            history=at.history,
            best_score=at.best_score if is_last else -math.inf,
        )
        self.save_state({}, self.model)

    def tell(self, row: Mapping[str, float]) -> None:
        """Call ``on_epoch``; the main process decides for all whether the run stops."""
        stop = bool(self.on_epoch(row)) if self.on_epoch is not None and self.is_main else False
        self.stopped = bool(self.fabric.broadcast(stop))
        if self.stopped:
            self.display.say("stopped by on_epoch")

    def score(self, dataset: VisionDataset) -> MetricReport:
        """Score the kept weights, read from their file."""
        kept = load_model(self.folder.best_model) if self.model.builder_name else self.model
        runtime = EagerRuntime(kept.to(self.fabric.device), self.fabric.device)
        data = self.steps[-1].config.data
        return evaluate(runtime, dataset, data.val_batch_size or 2 * data.batch_size, worker_count(data.workers))

    def store_metrics(self, values: dict[str, float]) -> None:
        """Write figures into the kept checkpoint."""
        if self.is_main:
            save_model(load_model(self.folder.best_model), self.folder.best_model, metrics=values)
