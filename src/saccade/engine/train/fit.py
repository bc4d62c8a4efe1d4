"""The one training loop: any task, any number of optimisers, one process or many."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from saccade.data.loading.loader import make_train_loader
from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import EpochSampler
from saccade.deploy.runtime import EagerRuntime
from saccade.engine.evaluate.baseline import evaluate_constant_baseline
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.report.drawings import save_batch_image
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.ema import WeightAverage
from saccade.engine.train.guard import InterruptGuard, LossGuard
from saccade.engine.train.launch import launch_fabric
from saccade.engine.train.memory import keep_freed_memory
from saccade.engine.train.optim import apply_freeze, build_optimizer, layers_of
from saccade.engine.train.phases import EpochSettings, resolve_phases, settings_at
from saccade.engine.train.progress import TrainingDisplay
from saccade.engine.train.run_folder import RunFolder
from saccade.engine.train.schedule import lr_factor
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets, build_model, open_datasets, worker_count
from saccade.errors import ConfigError
from saccade.metrics.base import MetricReport
from saccade.models.base import Model
from saccade.models.checkpoint import load_model, save_model
from saccade.models.normalize import Normalize
from saccade.structures.batch import Batch
from saccade.structures.dataset import VisionDataset
from saccade.weights.heads import heads_metadata, heads_state, split_heads

__all__ = ["RunResult", "fit"]


@dataclass
class RunResult:
    """What a run gave.

    Args:
        folder: The run folder.
        model_path: The weights that were kept (``best.safetensors``).
        history: One row an epoch, as in ``metrics.csv``.
        report: Figures of the kept weights on the test split, or on the validation split; None without either.
        baseline: Figures, on the same images, of an answer that never looks at them; None where there is none.
        is_main: This process is the first of the run's, the one that writes files.
    """

    folder: Path
    model_path: Path
    history: list[dict[str, float]]
    report: MetricReport | None
    baseline: MetricReport | None = None
    is_main: bool = True

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the kept weights by name."""
        return {} if self.report is None else self.report.values


@dataclass
class _Position:
    """Where the run is; saved with the tensors, so that a resumed run goes on at the exact batch."""

    epoch: int = 0
    batch: int = 0  # batches of this epoch that are done
    step: int = 0  # batches of the run that are done
    total_epochs: int = 0
    best_score: float = -math.inf
    stale: int = 0  # evaluations since the best
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    config: TrainConfig, resume: bool = False, model: Model | None = None, data: Datasets | None = None
) -> RunResult:
    """Train as ``config`` says and leave a run folder.

    Args:
        config: The whole run.
        resume: Go on where the run of that name stopped; the final weights equal an unbroken run's, bit for bit on a
            CPU with the same number of threads.
        model: Train this instead of building ``config.model``.
        data: Train on these instead of opening ``config.data``.

    Raises:
        SaccadeError: For anything the user can mend: data, options, a non-finite loss, a full disk. What was
            trained is kept.
        KeyboardInterrupt: After Ctrl-C, once the state of the last whole step is saved.
    """
    return _Run(config, resume, model, data).run()


class _Run:
    """The parts of a run and the loop over them, top to bottom."""

    def __init__(self, config: TrainConfig, resume: bool, model: Model | None, data: Datasets | None) -> None:
        self.config = config
        self.folder = RunFolder(config, resume)
        state = self.folder.load_state() if resume else None
        seed_step(config.seed, -1)
        torch.use_deterministic_algorithms(config.deterministic)
        self.data = data or open_datasets(config)
        self.model = model or build_model(config, self.data.train.info, pretrained=state is None)
        self.phases = resolve_phases(config, self.model)
        partial = bool(self.model.loss_groups) or any(phase.freeze for phase in config.phases)
        self.fabric = launch_fabric(config, find_unused_parameters=partial)
        if self.fabric.device.type == "cpu":
            keep_freed_memory()
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.optimizers = _build_optimizers(self.model, config)
        self.module, *wrapped = _as_list(self.fabric.setup(self.model, *self.optimizers.values()))
        self.module.mark_forward_method("loss")
        self.steppers = dict(zip(self.optimizers, wrapped, strict=True))
        self.average = WeightAverage(self.model, config.ema) if config.ema.decay > 0 else None
        self.normalize = Normalize(self.model.input_spec).to(self.fabric.device)
        self.at = _Position(total_epochs=config.epochs)
        if state is not None:
            self._restore(state)
        self.display = TrainingDisplay(self.fabric.global_rank == 0)
        self.loss_guard = LossGuard(self.folder.path / "nonfinite")
        if config.compile:
            self.model.forward = torch.compile(self.model.forward)  # type: ignore[method-assign]

    # ---- the run ----

    def run(self) -> RunResult:
        pipeline = TrainPipeline(
            self.data.train, self.model.input_spec, [phase.augment for phase in self.phases], self.config.seed
        )
        sampler = self._sampler(len(self.data.train))
        loader = make_train_loader(pipeline, sampler, worker_count(self.config.data.workers))
        if self._is_main:
            self.folder.start(self.config)
            save_batch_image(self.folder.path / "batch.png", pipeline, sampler, self.model)
            self.display.say(self.data.describe())
        report = None
        with InterruptGuard() as self.interrupt:
            while self.at.epoch < self.at.total_epochs:
                settings = settings_at(self.config, self.phases, self.at.epoch, self.at.total_epochs)
                self._train_epoch(loader, sampler, settings)
                report = self._end_epoch(settings)
                if self.config.patience is not None and self.at.stale >= self.config.patience:
                    self.display.say(f"stopped early: no better score in {self.at.stale} evaluations")
                    break
        self.folder.close()
        return self._finish(report)

    def _train_epoch(self, loader: Iterable[Batch], sampler: EpochSampler, settings: EpochSettings) -> None:
        config, at = self.config, self.at
        self._apply(settings)
        sampler.set_epoch(at.epoch, start_batch=at.batch, phase=settings.index, size=settings.size)
        steps = sampler.batches_per_epoch
        sums = {name: torch.tensor(value, device=self.fabric.device) for name, value in at.sums.items()}
        started = time.monotonic() - at.seconds
        for batch in self.display.epoch(loader, at.epoch, at.total_epochs, steps, at.batch):
            seed_step(config.seed, at.step, self.fabric.global_rank)
            batch = batch.to(self.fabric.device, config.channels_last)
            images = self.normalize(batch.images)
            factor = lr_factor(config.schedule, at.epoch + at.batch / steps, at.total_epochs)
            update = (at.batch + 1) % config.accumulate == 0 or at.batch + 1 == steps
            terms: dict[str, Tensor] = {}
            for group, optimizer in self.steppers.items():
                terms.update(self._step(group, optimizer, images, batch, factor, update))
            if self.average is not None and update:
                self.average.update()
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.fabric.device)) + value.detach().float()
            self.loss_guard.check(terms, batch, at.step)
            at.batch, at.step, at.seconds = at.batch + 1, at.step + 1, time.monotonic() - started
            if self.display.due():
                self.display.note({name: value.item() for name, value in terms.items()}, config.optimizer.lr * factor)
            if self.interrupt.requested or (config.checkpoint_every and at.step % config.checkpoint_every == 0):
                at.sums = {name: value.item() for name, value in sums.items()}
                self._save_state()
                self.interrupt.raise_if_requested()
        self.loss_guard.flush()
        at.sums = {name: value.item() for name, value in sums.items()}

    def _step(
        self, group: str, optimizer: Any, images: Tensor, batch: Batch, factor: float, update: bool
    ) -> dict[str, Tensor]:
        """Forward, backward and, unless gradients still accumulate, one step of one optimiser."""
        arguments = (group,) if self.model.loss_groups else ()
        with self._only(group), self.fabric.no_backward_sync(self.module, enabled=not update):
            # A marked method goes through the strategy only where there is one to go through (DDP); with one process
            # fabric calls it bare, so autocast is entered here (decision 0005).
            with self.fabric.autocast():
                terms: dict[str, Tensor] = self.module.loss(images, batch.targets, *arguments)
            self.fabric.backward(
                torch.stack([value.float() for value in terms.values()]).sum() / self.config.accumulate
            )
        if update:
            for settings in optimizer.param_groups:
                settings["lr"] = settings["base_lr"] * factor
            if self.config.clip_norm is not None:
                self.fabric.clip_gradients(
                    self.module, optimizer, max_norm=self.config.clip_norm, error_if_nonfinite=False
                )
            optimizer.step()
            optimizer.zero_grad()
        return terms

    def _end_epoch(self, settings: EpochSettings) -> MetricReport | None:
        """Score, keep, write down; returns the scores if there were any."""
        at, config = self.at, self.config
        if config.max_minutes is not None:
            at.total_epochs = _affordable_epochs(config, at.epoch + 1, at.seconds)
        row = {"epoch": float(at.epoch + 1), "step": float(at.step), "minutes": at.seconds / 60}
        means = {name: total / at.batch for name, total in at.sums.items()}
        row["train/loss"] = sum(means.values())
        row.update({f"train/{name}": value for name, value in means.items()})
        row["lr"] = config.optimizer.lr * lr_factor(config.schedule, at.epoch + 1, at.total_epochs)
        last = at.epoch + 1 == at.total_epochs
        report = None
        if self.data.val is not None and ((at.epoch + 1) % config.evaluate_every == 0 or last):
            report = self._evaluate(self.data.val, settings)
            row.update({f"val/{name}": value for name, value in report.values.items()})
            at.stale += 1
            if report.score > at.best_score or not math.isfinite(at.best_score):
                at.best_score, at.stale = report.score, 0
                self._save_model(self.folder.best_model, report.values)
        at.history.append(row)
        at.epoch, at.batch, at.sums = at.epoch + 1, 0, {}
        self._save_state()
        if self._is_main:
            self.folder.write_history(at.history)
            self.folder.log_events(row, at.step)
        self.display.end_epoch(row, at.total_epochs, None if report is None else report.primary)
        return report

    def _finish(self, report: MetricReport | None) -> RunResult:
        """Settle which weights are kept, and score them once on the test split."""
        if not math.isfinite(self.at.best_score):  # nothing was scored: the last weights are kept
            self._save_model(self.folder.best_model, {})
        self.fabric.barrier()
        if self.data.test is not None:
            kept = load_model(self.folder.best_model).to(self.fabric.device)
            runtime = EagerRuntime(kept, self.fabric.device)
            report = evaluate(runtime, self.data.test, self._val_batch_size, worker_count(self.config.data.workers))
            if self._is_main:
                save_model(kept, self.folder.best_model, metrics=report.values)
            self.display.say(f"test: {_brief(report)}")
        held_out = self.data.test or self.data.val
        baseline = None if held_out is None else evaluate_constant_baseline(self.data.train, held_out)
        if baseline is not None:
            value = baseline.values[baseline.primary]
            self.display.say(f"the same answer for every image scores {baseline.primary} {value:.4f}")
        self.display.say(f"kept {self.folder.best_model}")
        return RunResult(self.folder.path, self.folder.best_model, self.at.history, report, baseline, self._is_main)

    # ---- parts ----

    @property
    def _is_main(self) -> bool:
        return bool(self.fabric.global_rank == 0)

    @property
    def _val_batch_size(self) -> int:
        return self.config.data.val_batch_size or 2 * self.config.data.batch_size

    @property
    def _kept_module(self) -> Model:
        return self.model if self.average is None else self.average.module  # type: ignore[return-value]

    def _sampler(self, count: int) -> EpochSampler:
        if count == 0:
            raise ConfigError(
                f"data.train: split '{self.config.data.train}' of {self.config.data.source} holds no images."
            )
        return EpochSampler(
            count,
            self.config.data.batch_size,
            self.config.seed,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            multiscale={
                phase.index: (phase.augment.multiscale, phase.augment.multiscale_every) for phase in self.phases
            },
            repeats=self.config.data.repeats,
        )

    def _apply(self, settings: EpochSettings) -> None:
        for name, value in settings.model.items():
            setattr(self.model, name, value)
            if self.average is not None:
                setattr(self.average.module, name, value)
        apply_freeze(self.model, settings.freeze)

    @contextmanager
    def _only(self, group: str) -> Iterator[None]:
        """Let gradients reach only the parameters of one group, so that another group's are not disturbed."""
        if not self.model.loss_groups:
            yield
            return
        members = {
            id(parameter) for settings in self.optimizers[group].param_groups for parameter in settings["params"]
        }
        switched_off = [
            parameter
            for parameter in self.model.parameters()
            if parameter.requires_grad and id(parameter) not in members
        ]
        for parameter in switched_off:
            parameter.requires_grad_(False)
        yield
        for parameter in switched_off:
            parameter.requires_grad_(True)

    def _evaluate(self, dataset: VisionDataset, settings: EpochSettings) -> MetricReport:
        if dist.is_initialized():
            for buffer in self._kept_module.buffers():
                dist.broadcast(buffer, src=0)  # BatchNorm's statistics differ between processes; the first one's count
        kept = self._kept_module
        was_training = kept.training
        kept.eval()

        def loss(batch: Batch) -> dict[str, Tensor]:
            batch = batch.to(self.fabric.device, self.config.channels_last)
            with self.fabric.autocast():
                return kept.loss(self.normalize(batch.images), batch.targets)

        wanted = None if self.model.loss_groups else loss
        runtime = EagerRuntime(kept, self.fabric.device)
        report = evaluate(runtime, dataset, self._val_batch_size, worker_count(self.config.data.workers), wanted)
        kept.train(was_training)
        return report

    def _save_model(self, path: Path, metrics: dict[str, float]) -> None:
        if self._is_main:
            save_model(
                self._kept_module, path, metrics=metrics, extra={"epoch": self.at.epoch + 1, "run": self.config.name}
            )

    def _save_state(self) -> None:
        if not self._is_main:
            return
        state = {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "average_updates": 0 if self.average is None else self.average.updates,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "precision": self.fabric.strategy.precision.state_dict(),
            "position": asdict(self.at),
            "earlier_heads": heads_state(self.model.earlier_heads),
            "earlier_heads_metadata": heads_metadata(self.model.earlier_heads),
        }
        self.folder.save_state(state)
        self._save_model(self.folder.last_model, {})

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        _, self.model.earlier_heads = split_heads(
            state.get("earlier_heads", {}), state.get("earlier_heads_metadata", ())
        )
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
            self.average.updates = state["average_updates"]
            self._kept_module.earlier_heads = self.model.earlier_heads
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.at = _Position(**state["position"])
        if self.config.max_minutes is None:
            self.at.total_epochs = self.config.epochs


def _build_optimizers(model: Model, config: TrainConfig) -> dict[str, Optimizer]:
    if not model.loss_groups:
        return {"": build_optimizer(model.named_parameters(), config.optimizer, layers_of(model))}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        group: build_optimizer([(names[id(one)], one) for one in model.group_parameters(group)], config.optimizer)
        for group in model.loss_groups
    }


def _affordable_epochs(config: TrainConfig, done: int, seconds: float) -> int:
    """How many epochs fit into ``max_minutes`` at the speed of those that are done; at least those."""
    assert config.max_minutes is not None
    return min(config.epochs, max(done, int(config.max_minutes * 60 / (seconds / done))))


def _as_list(value: nn.Module | tuple[Any, ...]) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]


def _brief(report: MetricReport) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in list(report.values.items())[:12])
