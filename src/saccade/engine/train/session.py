"""State of a whole run: folder, processes, network, and position."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from saccade.data.tables.content import require_content
from saccade.deploy.runtime import EagerRuntime, Runtime
from saccade.engine.evaluate.evaluate import evaluate, on_rectangles
from saccade.engine.train.callbacks import Callback, EpochEvent
from saccade.engine.train.classes import check_classes, check_objects, check_splits
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import config_to_yaml
from saccade.engine.train.guard import InterruptGuard, LossGuard
from saccade.engine.train.interim_report import InterimReport
from saccade.engine.train.launch import launch_fabric, resolve_precision
from saccade.engine.train.layout import LONG_RUN, faster_layout
from saccade.engine.train.loggers import make_loggers
from saccade.engine.train.memory import keep_freed_memory
from saccade.engine.train.monitor import Monitor
from saccade.engine.train.position import Position
from saccade.engine.train.progress import TrainingDisplay
from saccade.engine.train.resume import check_network, describe_network, read_position, take_settings
from saccade.engine.train.run_files import RunFiles
from saccade.engine.train.run_folder import RunFolder
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets, build_model, open_datasets, worker_count
from saccade.engine.train.steps import RunStep, resolve_steps
from saccade.metrics.base import MetricReport
from saccade.models.base import Model
from saccade.models.checkpoint import load_model, read_metadata, save_model
from saccade.models.registry import get_builder
from saccade.structures.dataset import VisionDataset
from saccade.tasks import get_task
from saccade.weights.heads import heads_metadata, heads_state, split_heads
from saccade.weights.published import published_names

__all__ = ["Session"]


class Session:
    """Training run from its first step to its last: folder, processes, network and position.

    Args:
        config: The whole run.
        resume: Go on where the run of that name stopped.
        model: Train this instead of building ``config.model``.
        data: Train on these instead of opening ``config.data``; or a function that opens those of a step.
        callbacks: Told of what happens, on the main process.
    """

    interrupt: InterruptGuard

    def __init__(
        self,
        config: TrainConfig,
        resume: bool,
        model: Model | None,
        data: Datasets | Callable[[TrainConfig], Datasets] | None,
        callbacks: Sequence[Callback],
    ) -> None:
        self.config = config = replace(config)  # a layout that is not given is chosen here
        self.steps = resolve_steps(config)
        self.folder = RunFolder(config, resume)
        self.state = self.folder.load_state() if resume else None
        self.at, notes = Position(), list(self.folder.notes)
        if self.state is not None:
            self.at = read_position(self.state["position"], self.folder.state_path)
            notes += take_settings(self.state["config"], config, self.at, self.folder.state_path)
        elif resume:
            notes.append(f"{self.folder.path} holds no training state to go on from; the run starts anew.")
        self._given, self._data = data, {}  # type: ignore[var-annotated]
        self._open_set = get_task(get_builder(config.model).task if model is None else model.task).open_set
        seed_step(config.seed, -1)
        torch.use_deterministic_algorithms(config.deterministic)
        first = self.steps[min(self.at.run_step, len(self.steps) - 1)]
        info = self.data_of(first).train.info
        self.model = model or build_model(first.config, info, pretrained=self.state is None)
        if model is None and self.state is None and config.weights is None:
            notes += _say_random(config.model)
        check_classes(self.model, self.data_of(first))
        check_objects(self.model, self.data_of(first))
        if self.state is not None:
            check_network(self.state, self.model, self.folder.state_path)
        partial = len(self.steps) > 1
        partial |= any(step.config.freeze.trainable != "all" or step.config.phases for step in self.steps)
        self.fabric = launch_fabric(config, find_unused_parameters=bool(self.model.loss_groups) or partial)
        # Ctrl-C reaches the processes of a run at different moments; they agree on one without waiting for a GPU.
        self._agreement: Any = dist.new_group(backend="gloo") if self.fabric.world_size > 1 else None
        if self.fabric.device.type == "cpu":
            keep_freed_memory()
        notes += self._choose_layout(first)
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.display = TrainingDisplay(self.is_main)
        files = [RunFiles(self.folder.path), InterimReport(self.folder.path, lambda: self.at.history)]
        told = [*files, *make_loggers(config), *callbacks] if self.is_main else []
        self.monitor = Monitor(self.display, told, config.log_every)
        self.loss_guard = LossGuard(self.folder.path / "nonfinite")
        self.stopped = self.best_is_missing = False
        if self.is_main:
            self.folder.start(config)
            if self.at.history:
                self.folder.write_history(self.at.history)
            if self.at.kept_epoch and not self.folder.settle_best(self.at.kept_epoch):
                notes += self._miss_best()
        self.at = self.fabric.broadcast(self.at)
        for note in notes:
            self.display.say(note)

    def _choose_layout(self, first: RunStep) -> list[str]:
        """Settle where channels lie in memory, the same for all processes; returns a line where that was tried."""
        config, line = self.config, ""
        if config.channels_last is None:
            config.channels_last = True
            data, size = self.data_of(first).train, first.config.data.size or self.model.input_spec.size
            batch = first.config.data.batch_size
            steps = first.config.epochs * len(data) // max(batch, 1)
            on_cpu = self.fabric.device.type == "cpu" and resolve_precision(config.precision) == "32-true"
            if on_cpu and steps >= LONG_RUN:
                config.channels_last, line = faster_layout(self.model, size, batch)
            config.channels_last = self.fabric.broadcast(config.channels_last)
        for step in self.steps:
            step.config.channels_last = config.channels_last
        return [line] if line else []

    def _miss_best(self) -> list[str]:
        """Go on without the best weights of before, which somebody removed; returns a line that says so."""
        at = self.at
        if at.kept_epoch == at.epochs_done and at.batch == 0:
            self.best_is_missing = True  # the state holds those very weights
            return [f"{self.folder.best_model} is missing; it is written again from the training state."]
        lost = at.kept_epoch
        at.forget_kept()
        note = (
            f"{self.folder.best_model} of epoch {lost}, the best one so far, is missing: the best weights are chosen "
            f"among the epochs from {at.epochs_done + 1} on, or are those of the last epoch if there are none."
        )
        return [note]

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.fabric.global_rank == 0)

    def data_of(self, step: RunStep) -> Datasets:
        """Data sets of a step, opened once for steps with the same ``data`` and ``augment`` settings."""
        if isinstance(self._given, Datasets):
            if not self._data:
                given = (self._given.train, self._given.val, self._given.test)
                require_content([split for split in given if split is not None])
                self._data = {"": self._given}
                check_splits(self._given, self._open_set)
            return self._given
        key = repr(step.config.data)
        if key not in self._data:
            self._data = {key: (self._given or open_datasets)(step.config)}
            check_splits(self._data[key], self._open_set)
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

        The state is the last file to be written: a run that is killed before goes on from the state before, and comes
        to write the other files again.

        Args:
            parts: Of the step: optimisers, average; empty between two steps.
            kept: The network as it would be kept now.
        """
        if not self.is_main:
            return
        self.save_model(kept, self.folder.last_model, {})
        if self.at.history:
            self.folder.write_history(self.at.history)
        self.folder.save_state(
            {
                "started": bool(parts),
                "config": config_to_yaml(self.config),
                "network": describe_network(self.model),
                "model": self.model.state_dict(),
                "training_state": dict(self.model.training_state()),
                "position": asdict(self.at),
                "earlier_heads": heads_state(self.model.earlier_heads),
                "earlier_heads_metadata": heads_metadata(self.model.earlier_heads),
                **parts,
            }
        )

    def save_model(self, model: Model, path: Path, metrics: dict[str, float]) -> None:
        """Write a checkpoint of the network."""
        if self.is_main:
            done = self.at.epochs_done + (self.at.batch > 0)
            extra: dict[str, Any] = {"epoch": done, "step": self.at.step, "run": self.config.name}
            if self.config.plugins:
                extra["plugins"] = list(self.config.plugins)
            save_model(model, path, metrics=metrics, extra=extra)

    def save_best(self, model: Model, metrics: dict[str, float]) -> None:
        """Write the weights to be kept; those before stay under a second name until the next state is written."""
        if self.is_main:
            self.folder.set_best_aside()
        self.save_model(model, self.folder.best_model, metrics)

    def restore_files(self, kept: Model) -> None:
        """Write weights that are missing again from those of the training state, where they are the same."""
        if not self.folder.last_model.exists():
            self.save_model(kept, self.folder.last_model, {})
        if self.best_is_missing:
            self.best_is_missing = False
            row = self.at.history[-1]
            metrics = {name.removeprefix("val/"): value for name, value in row.items() if name.startswith("val/")}
            self.save_model(kept, self.folder.best_model, metrics)

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
            first_epoch=at.epochs_done,
            step=at.step,
            seconds=at.seconds,
            history=at.history,
            best_score=at.best_score if is_last else -math.inf,
            kept_epoch=at.kept_epoch,
            fresh_norms=at.fresh_norms,
        )
        self.save_state({}, self.model)

    def asked_to_stop(self) -> bool:
        """Whether any process of the run was asked to stop; all give the same answer."""
        return self.agree(False)[0]

    def agree(self, enough: bool) -> tuple[bool, bool]:
        """Whether any process was asked to stop, and whether any of them has enough; all give the same answers."""
        if self._agreement is None:
            return self.interrupt.requested, enough
        asked = torch.tensor([self.interrupt.requested, enough], dtype=torch.int64)
        dist.all_reduce(asked, dist.ReduceOp.MAX, group=self._agreement)
        return bool(asked[0]), bool(asked[1])

    def stop(self) -> NoReturn:
        """End the run of all processes, once everything is written."""
        self.fabric.barrier()
        self.interrupt.stop()

    def tell(self, event: EpochEvent) -> None:
        """Tell of an epoch; the main process decides for all whether the run stops."""
        self.monitor.epoch(event)
        self.stopped = bool(self.fabric.broadcast(self.monitor.stop))
        if self.stopped:
            self.display.say("stopped by a callback")

    def score(self, dataset: VisionDataset) -> MetricReport:
        """Score the kept weights, read from their file."""
        kept = load_model(self.folder.best_model) if self.model.builder_name else self.model
        data = self.steps[-1].config.data
        runtime: Runtime = EagerRuntime(kept.to(self.fabric.device), self.fabric.device)
        runtime = on_rectangles(runtime) if data.rectangular else runtime
        return evaluate(runtime, dataset, data.val_batch_size or 2 * data.batch_size, worker_count(data.workers))

    def kept_metrics(self) -> dict[str, float]:
        """Figures in the kept checkpoint, those of training (``loss``) included."""
        return dict(read_metadata(self.folder.best_model)["metrics"])

    def store_metrics(self, values: dict[str, float]) -> None:
        """Write figures into the kept checkpoint."""
        if self.is_main:
            best = self.folder.best_model
            save_model(load_model(best), best, metrics=values, extra=read_metadata(best)["extra"])


def _say_random(builder: str) -> list[str]:
    """A line on published weights that could be begun with, if there are any."""
    names = published_names(builder)
    also = f" (or {', '.join(names[1:])})" if names[1:] else ""
    return [f"{builder} begins with random weights; published ones: --weights {names[0]}{also}"] if names else []
