"""The one training loop: any task, any number of optimisers, one process or many."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from saccade.data.loading.loader import make_train_loader
from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import KeySampler
from saccade.deploy.runtime import EagerRuntime, Runtime
from saccade.engine.evaluate.evaluate import evaluate, on_rectangles
from saccade.engine.report.drawings import save_batch_image
from saccade.engine.report.samples import save_samples
from saccade.engine.train.auto_anchor import auto_anchor
from saccade.engine.train.budget import affordable_epochs, out_of_time
from saccade.engine.train.callbacks import EpochEvent, StartEvent, StepEvent
from saccade.engine.train.config import FreezeConfig, TrainConfig
from saccade.engine.train.ema import WeightAverage
from saccade.engine.train.messages import explain_small_batches, only_prediction
from saccade.engine.train.optim import (
    apply_freeze,
    build_optimizer,
    describe_freeze,
    layers_of,
    load_optimizer_state,
    optimizer_state,
    set_rates,
)
from saccade.engine.train.phases import EpochSettings, resolve_phases, settings_at
from saccade.engine.train.samplers import batches_an_update, build_sampler
from saccade.engine.train.schedule import lr_factor, warmup_share
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.session import Session
from saccade.engine.train.setup import worker_count
from saccade.engine.train.statistics import StatisticsWarmup, fresh_norms
from saccade.engine.train.steps import RunStep
from saccade.errors import ConfigError
from saccade.metrics.base import MetricReport
from saccade.models.base import Model
from saccade.models.inputs import normalize_inputs
from saccade.models.normalize import Normalize
from saccade.structures.batch import Batch
from saccade.structures.dataset import VisionDataset
from saccade.structures.kinds import select_inputs

__all__ = ["GradientStep", "ModelStep"]


class GradientStep:
    """Step of a run that is trained by gradients: its parts and the loop over them, top to bottom.

    Args:
        session: The run.
        step: What holds in this step.
    """

    def __init__(self, session: Session, step: RunStep) -> None:
        self.session, self.step, self.config = session, step, step.config
        self.data, self.model, self.fabric = session.data_of(step), session.model, session.fabric
        _check_classes(self.model, self.data.train, step)
        if self.config.data.size is not None:
            self.model.input_spec = self.model.input_spec.with_size(self.config.data.size)
        if self.config.data.sampler == "episodes":
            self.model.shots = self.config.data.episode.shots
        self.model.begin(step.name, self.data.train)
        if self.config.auto_anchor and session.state is None:  # a saved state has its anchors
            session.display.say(str(auto_anchor(self.model, self.data.train, self.config.seed)))
        state = session.take_state()
        self.phases = resolve_phases(self.config, self.model)
        self.optimizers = _build_optimizers(self.model, self.config)
        self.module, *wrapped = _as_list(self.fabric.setup(self.model, *self.optimizers.values()))
        self.module.mark_forward_method("loss")
        self.steppers = dict(zip(self.optimizers, wrapped, strict=True))
        self.average = WeightAverage(self.model, self.config.ema) if self.config.ema.decay > 0 else None
        self.accumulate = batches_an_update(self.config, self.fabric.world_size)
        self.normalize = Normalize(self.model.input_spec).to(self.fabric.device)
        self.at = session.at
        self._announced = FreezeConfig()  # everything trains: nothing to be said
        if self.at.fresh_norms is None:
            self.at.fresh_norms = fresh_norms(self.model)
        self.statistics = StatisticsWarmup(self.model, self.at.fresh_norms, coarse=self.config.compile)
        self._constant = False  # it was said that validation answers are all one class
        if state is not None:
            self._restore(state)
            session.restore_files(self._kept_module)
        if self.at.total_epochs == 0:
            self.at.total_epochs = self.config.epochs
            if self.config.max_minutes is not None and self.at.epoch > 0:
                done = self.at.epoch + (self.at.batch > 0)
                self.at.total_epochs = affordable_epochs(self.config, done, self.at.seconds)
        if self.config.compile and step is session.steps[0]:
            self.model.forward = torch.compile(self.model.forward)  # type: ignore[method-assign]

    def run(self) -> MetricReport | None:
        """Train all epochs of the step; returns the figures of the weights that are kept, if the last epoch's are."""
        session, at = self.session, self.at
        report = None
        if not self._ended():
            report = self._train()
        kept_here = at.kept_epoch > at.first_epoch
        done = at.epochs_done + (at.batch > 0)
        if not kept_here and session.folder.epoch_of(session.folder.best_model) != done:
            session.save_model(self._kept_module, session.folder.best_model, {})  # nothing was scored
        session.end_step(self._kept_module, save=self.step is not session.steps[-1])
        return report if at.stale == 0 else None

    def _train(self) -> MetricReport | None:
        session, at = self.session, self.at
        pipeline = TrainPipeline(
            self.data.train, self.model.input_spec, [phase.augment for phase in self.phases], self.config.seed
        )
        sampler = build_sampler(self.config, self.data.train, self.phases, self.fabric, self.model.input_spec)
        self._check_epoch(sampler)
        loader = make_train_loader(pipeline, sampler, worker_count(self.config.data.workers))
        if session.is_main:
            name = f"batch-{self.step.name}.png" if self.step.name else "batch.png"
            save_batch_image(session.folder.path / name, pipeline, sampler, self.model)
            session.folder.write_left_out(self.data.left_out)
            session.display.say(f"{self.step.name}: {self.data.describe()}" if self.step.name else self.data.describe())
        steps = at.step + self._left()[0]
        session.monitor.start(StartEvent(session.config, session.folder.path, self.model, at.step, steps))
        report = None
        try:
            while not self._ended() and not session.stopped:
                settings = settings_at(self.config, self.phases, at.epoch, at.total_epochs)
                whole = self._train_epoch(loader, sampler, settings)
                report = self._end_epoch(whole)
                if session.asked_to_stop():
                    session.stop()
                if not whole:  # all processes agreed on it, though the clock of each may say otherwise
                    break
        finally:
            self.statistics.end()
        if at.batch > 0 and not session.stopped:
            session.display.say(
                f"max_minutes are over within an epoch: {at.batch} of its {at.batches} batches are done"
            )
        if self._out_of_patience():
            session.display.say(f"stopped early: no better score in {at.stale} evaluations")
        return report

    def _ended(self) -> bool:
        through = self.at.batch == 0 and (self.at.epoch >= self.at.total_epochs or self._out_of_patience())
        return through or out_of_time(self.config, self.at)

    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self.at.stale >= self.config.patience

    def _check_epoch(self, sampler: KeySampler) -> None:
        """Refuse to go on in the middle of an epoch of other images, whose order would be another one."""
        at, images, batches = self.at, len(self.data.train), sampler.batches_per_epoch
        if at.batch > 0 and (at.images, at.batches) != (images, batches):
            raise ConfigError(
                f"data.train: the run stopped within epoch {at.epochs_done + 1}, of {at.images} images in {at.batches} "
                f"batches; now there are {images} in {batches}. Give the images and the number of processes that it "
                "was begun with, or start anew under another --name."
            )
        if at.images not in (0, images):
            self.session.display.say(f"data.train: {at.images} images -> {images}")
        at.images, at.batches = images, batches

    def _train_epoch(self, loader: Iterable[Batch], sampler: KeySampler, settings: EpochSettings) -> bool:
        """Train the rest of an epoch; returns whether it is whole, and not cut short by the time or a callback."""
        config, at, session = self.config, self.at, self.session
        self._apply(settings)
        sampler.set_epoch(at.epochs_done, start_batch=at.batch, phase=settings.index, size=settings.size)
        steps = sampler.batches_per_epoch
        sums = {name: torch.tensor(value, device=self.fabric.device) for name, value in at.sums.items()}
        started = time.monotonic() - at.seconds
        due = False  # a checkpoint, at the next update: half-summed gradients are not saved
        last = at.first_epoch + at.total_epochs
        for batch in session.display.epoch(loader, at.epochs_done, last, steps, at.batch):
            seed_step(config.seed, at.step, self.fabric.global_rank)
            self.statistics.set_step(at.step)
            batch = batch.to(self.fabric.device, bool(config.channels_last))
            images, inputs = self._network_inputs(batch)
            now = at.epoch + at.batch / steps
            factor = lr_factor(config.schedule, now, at.total_epochs)
            update = (at.batch + 1) % self.accumulate == 0 or at.batch + 1 == steps
            rates = (factor, warmup_share(config.schedule, now)) if update else None
            terms: dict[str, Tensor] = {}
            shared: dict[str, Tensor] = {}
            for group in self.steppers:
                arguments = (group, shared) if self.model.loss_groups else ()
                with explain_small_batches(images):
                    terms.update(self._update(group, (images, batch.targets, *arguments), inputs, rates))
            if self.average is not None and update:
                self.average.update()
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.fabric.device)) + value.detach().float()
            session.loss_guard.check(terms, batch, at.step)
            at.batch, at.step, at.seconds = at.batch + 1, at.step + 1, time.monotonic() - started
            if session.monitor.due(at.step, len(batch.images) * self.fabric.world_size):
                session.monitor.step(self._step_event(terms, config.optimizer.lr * factor))
            due = due or bool(config.checkpoint_every and at.step % config.checkpoint_every == 0)
            enough = session.monitor.stop or out_of_time(config, at)
            stop, enough = session.agree(enough) if update else (False, False)
            if update and (due or stop):
                due = False
                session.loss_guard.flush()
                at.sums = {name: value.item() for name, value in sums.items()}
                self._save_state()
            if stop:
                session.stop()
            if enough:
                break
        session.loss_guard.flush()
        at.sums = {name: value.item() for name, value in sums.items()}
        return at.batch == steps

    def _step_event(self, terms: Mapping[str, Tensor], lr: float) -> StepEvent:
        at, pace = self.at, self.session.monitor.pace
        values = torch.stack([value.detach().float() for value in terms.values()]).tolist()  # one wait for a GPU
        return StepEvent(
            epoch=at.epochs_done + 1,
            epochs=at.first_epoch + at.total_epochs,
            step=at.step,
            steps=at.step + self._left()[0],
            losses=dict(zip(terms, values, strict=True)),
            lr=lr,
            images_per_second=pace.images_per_second,
            seconds_left=self._seconds_left(),
        )

    def _left(self) -> tuple[int, int]:
        """Batches and ends of epochs that are left; of later steps of the run as if they had as many images."""
        at, steps = self.at, self.session.steps
        later = sum(step.config.epochs for step in steps[at.run_step + 1 :] if step.solver == "gradient")
        epochs = at.total_epochs - at.epoch + later
        return epochs * at.batches - at.batch, epochs

    def _seconds_left(self) -> float | None:
        left = self.session.monitor.pace.left(*self._left())
        if left is None or self.config.max_minutes is None or len(self.session.steps) > 1:
            return left
        return min(left, max(60 * self.config.max_minutes - self.at.seconds, 0.0))

    def _update(
        self,
        group: str,
        arguments: tuple[Any, ...],
        inputs: dict[str, Tensor],
        rates: tuple[float, float] | None,
    ) -> dict[str, Tensor]:
        """Forward, backward and, with rates (unless gradients still accumulate), one step of one optimiser."""
        optimizer: Any = self.steppers[group]
        with self._only(group), self.fabric.no_backward_sync(self.module, enabled=rates is None):
            # A marked method goes through the strategy only where there is one to go through (DDP); with one process
            # fabric calls it bare, so autocast is entered here (decision 0005).
            with self.fabric.autocast():
                terms: dict[str, Tensor] = self.module.loss(*arguments, **inputs)
            self.fabric.backward(torch.stack([value.float() for value in terms.values()]).sum() / self.accumulate)
        if rates is not None:
            set_rates(optimizer, self.config.optimizer, *rates)
            if self.config.clip_norm is not None:
                self.fabric.clip_gradients(
                    self.module, optimizer, max_norm=self.config.clip_norm, error_if_nonfinite=False
                )
            optimizer.step()
            optimizer.zero_grad()
        return terms

    def _end_epoch(self, whole: bool) -> MetricReport | None:
        """Score, keep, write down; returns the scores if there were any.

        Args:
            whole: The epoch is; one that was cut short has a row too, until it is finished by a run that goes on.
        """
        at, config, session = self.at, self.config, self.session
        if config.max_minutes is not None and whole:
            at.total_epochs = self.fabric.broadcast(affordable_epochs(config, at.epoch + 1, at.seconds))
        row = {"epoch": float(at.epochs_done + 1), "step": float(at.step), "minutes": at.seconds / 60}
        means = {name: total / at.batch for name, total in at.sums.items()}
        row["train/loss"] = sum(means.values())
        row.update({f"train/{name}": value for name, value in means.items()})
        row["lr"] = config.optimizer.lr * lr_factor(config.schedule, at.epoch + at.batch / at.batches, at.total_epochs)
        last = at.epoch + 1 == at.total_epochs or not whole
        report, is_best = None, False
        if self.data.val is not None and ((at.epoch + 1) % config.evaluate_every == 0 or last):
            report = self._evaluate(self.data.val)
            row.update({f"val/{name}": value for name, value in report.values.items()})
            self._say_constant(report, row)
            at.stale += 1
            is_best = report.score > at.best_score or not math.isfinite(at.best_score)
            if is_best:
                at.keep(report.score, int(row["epoch"]))
                session.save_best(self._kept_module, report.values)
        at.history = [*(earlier for earlier in at.history if earlier["epoch"] != row["epoch"]), row]
        if whole:
            at.epoch, at.batch, at.sums = at.epoch + 1, 0, {}
        if session.is_main:
            shown = self.data.val or self.data.test or self.data.train  # a person looks at them, nothing is chosen
            with self.fabric.autocast():
                save_samples(session.folder.path, int(row["epoch"]), self._kept_module, shown)
        self._save_state()
        epochs = at.first_epoch + at.total_epochs
        session.display.end_epoch(row, epochs, None if report is None else report.primary)
        session.tell(EpochEvent(int(row["epoch"]), epochs, at.step, row, report, is_best, self._seconds_left()))
        return report

    def _say_constant(self, report: MetricReport, row: Mapping[str, float]) -> None:
        """Say once that the network learns and yet predicts one class alone."""
        only = only_prediction(report)
        first = self.at.history[0].get("train/loss", math.nan) if self.at.history else math.nan
        if self._constant or only is None or not row["train/loss"] < 0.9 * first:
            return
        self._constant = True
        self.session.display.say(
            f"warning: epoch {int(row['epoch'])}: every prediction on {self.config.data.val} is '{only}', although the "
            f"training loss fell from {first:.4g} to {row['train/loss']:.4g}. Likely causes: BatchNorm statistics that "
            "lag behind the weights (too few steps: more --epochs, a smaller --data.batch-size, or --weights), a rate "
            "that is too high, or validation images of another kind."
        )

    # ---- parts ----

    @property
    def _kept_module(self) -> Model:
        return self.model if self.average is None else self.average.module  # type: ignore[return-value]

    def _network_inputs(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Normalised images and further inputs of a batch that is on its device."""
        names = self.model.input_names
        chosen = select_inputs(names, batch.inputs, self.model.builder_name or type(self.model).__name__)
        return self.normalize(batch.images), normalize_inputs(self.normalize, chosen)

    def _apply(self, settings: EpochSettings) -> None:
        for name, value in settings.model.items():
            setattr(self.model, name, value)
            if self.average is not None:
                setattr(self.average.module, name, value)
        apply_freeze(self.model, settings.freeze)
        if settings.freeze != self._announced:
            self._announced = settings.freeze
            self.session.display.say(describe_freeze(self.model, settings.freeze))

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
        try:
            yield
        finally:
            for parameter in switched_off:
                parameter.requires_grad_(True)

    def _evaluate(self, dataset: VisionDataset) -> MetricReport:
        if dist.is_initialized():
            for buffer in self._kept_module.buffers():
                dist.broadcast(buffer, src=0)  # BatchNorm's statistics differ between processes; the first one's count
        kept = self._kept_module
        was_training = kept.training
        kept.eval()

        def loss(batch: Batch) -> dict[str, Tensor]:
            batch = batch.to(self.fabric.device, bool(self.config.channels_last))
            images, inputs = self._network_inputs(batch)
            with self.fabric.autocast():
                return kept.loss(images, batch.targets, **inputs)

        data = self.config.data
        wanted = None if self.model.loss_groups else loss
        runtime: Runtime = EagerRuntime(kept, self.fabric.device)
        runtime = on_rectangles(runtime) if data.rectangular else runtime
        batch_size = data.val_batch_size or 2 * data.batch_size
        show = partial(self.session.display.track, label="validation")
        report = evaluate(runtime, dataset, batch_size, worker_count(data.workers), wanted, progress=show)
        kept.train(was_training)
        return report

    def _save_state(self) -> None:
        names = self._names()
        parts = {
            "average": None if self.average is None else self.average.module.state_dict(),
            "average_updates": 0 if self.average is None else self.average.updates,
            "optimizers": {group: optimizer_state(one, names) for group, one in self.optimizers.items()},
            "precision": self.fabric.strategy.precision.state_dict(),
        }
        self.session.save_state(parts, self._kept_module)

    def _restore(self, state: dict[str, Any]) -> None:
        """Take over what the state has; settings are those of the configuration."""
        names = self._names()
        if state["optimizers"].keys() != self.optimizers.keys():
            raise ConfigError(
                f"model: the run has the optimisers {sorted(state['optimizers'])}, this network "
                f"{sorted(self.optimizers)}. Build the network that the run was begun with."
            )
        for group, optimizer in self.optimizers.items():
            load_optimizer_state(optimizer, names, state["optimizers"][group])
        if self.average is not None and state["average"] is not None:  # else it begins with the weights of now
            self.average.module.load_state_dict(state["average"])
            self.average.updates = state["average_updates"]
            self._kept_module.earlier_heads = self.model.earlier_heads
        if state["precision"]:
            self.fabric.strategy.precision.load_state_dict(state["precision"])

    def _names(self) -> dict[int, str]:
        return {id(parameter): name for name, parameter in self.model.named_parameters()}


class ModelStep:
    """Step of a run that the network solves itself, in one pass over the training images.

    Args:
        session: The run.
        step: What holds in this step.
    """

    def __init__(self, session: Session, step: RunStep) -> None:
        self.session, self.step, self.config = session, step, step.config
        self.data, self.model = session.data_of(step), session.model.to(session.fabric.device)
        _check_classes(self.model, self.data.train, step)
        if self.config.data.size is not None:
            self.model.input_spec = self.model.input_spec.with_size(self.config.data.size)
        session.take_state()  # the weights before the step; a pass that was cut short is done again
        self.model.begin(step.name, self.data.train)

    def run(self) -> MetricReport | None:
        """Solve the step, keep the network, and score it where there is a validation split."""
        session, at, device = self.session, self.session.at, self.session.fabric.device
        phases = resolve_phases(self.config, self.model)
        pipeline = TrainPipeline(
            self.data.train, self.model.input_spec, [phase.augment for phase in phases], self.config.seed
        )
        spec = self.model.input_spec
        sampler = build_sampler(self.config, self.data.train, phases, session.fabric, spec, divided=False)
        sampler.set_epoch(at.first_epoch)
        loader = make_train_loader(pipeline, sampler, worker_count(self.config.data.workers))
        normalize = Normalize(self.model.input_spec).to(device)
        session.display.say(f"{self.step.name}: {self.data.describe()}")
        steps = at.step + sampler.batches_per_epoch
        session.monitor.start(StartEvent(session.config, session.folder.path, self.model, at.step, steps))
        if session.is_main:
            session.folder.write_left_out(self.data.left_out)
        seed_step(self.config.seed, at.step, session.fabric.global_rank)

        def batches() -> Iterator[Batch]:
            for batch in session.display.track(loader, sampler.batches_per_epoch, self.step.name):
                batch = batch.to(device, bool(self.config.channels_last))
                inputs = normalize_inputs(normalize, batch.inputs)
                yield Batch(normalize(batch.images), batch.targets, batch.infos, batch.originals, inputs)
                if session.asked_to_stop():
                    session.stop()

        started = time.monotonic()
        self.model.eval()
        self.model.work_folder = session.folder.path / "solve"
        figures = self.model.solve(self.step.name, batches())
        at.seconds, at.step, at.epoch = at.seconds + time.monotonic() - started, at.step + 1, 1
        row = {"epoch": float(at.epochs_done), "step": float(at.step), "minutes": at.seconds / 60}
        row.update({f"train/{name}": value for name, value in figures.items()})
        report, metrics = None, {}
        if self.data.val is not None:
            data = self.config.data
            runtime = EagerRuntime(self.model, device)
            batch_size = data.val_batch_size or 2 * data.batch_size
            show = partial(session.display.track, label="validation")
            report = evaluate(runtime, self.data.val, batch_size, worker_count(data.workers), progress=show)
            metrics = report.values
            row.update({f"val/{name}": value for name, value in metrics.items()})
        at.keep(-math.inf if report is None else report.score, int(row["epoch"]))
        at.history.append(row)
        session.save_best(self.model, metrics)
        session.end_step(self.model, save=True)
        session.display.end_epoch(row, int(row["epoch"]), None if report is None else report.primary)
        number = int(row["epoch"])
        session.tell(EpochEvent(number, number, at.step, row, report, True, None))
        return report


def _check_classes(model: Model, dataset: VisionDataset, step: RunStep) -> None:
    names = dataset.info.class_names
    if step.name and model.class_names and tuple(model.class_names) != tuple(names):
        raise ConfigError(
            f"step '{step.name}' trains on {list(names)[:8]}, but the network has {list(model.class_names)[:8]}. "
            "All steps of a run share their classes."
        )


def _build_optimizers(model: Model, config: TrainConfig) -> dict[str, Optimizer]:
    if not model.loss_groups:
        return {"": build_optimizer(model.named_parameters(), config.optimizer, layers_of(model))}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        group: build_optimizer([(names[id(one)], one) for one in model.group_parameters(group)], config.optimizer)
        for group in model.loss_groups
    }


def _as_list(value: nn.Module | tuple[Any, ...]) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]
