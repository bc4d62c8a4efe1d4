"""A training step: what the engine adds to it, what its defaults gain, and what label assignment takes of it.

*Engine overhead.* The same network, weights, optimiser, precision and 40 batches are trained in turn by ``fit`` and by
a bare loop of forward, loss, backward and optimiser step. Images are decoded beforehand, have the size of the canvas
and are not augmented, so that the cost of augmentation (see ``data_pipeline.py``) stays out; everything else that the
engine does a step is in: its worker process and the wait for it, the copy of pixels, normalisation, schedule, progress
bar, sums and the check of the loss. The bare loop's batches are normalised and laid out beforehand. A step is timed
from the start of one forward pass to the start of the next, after the first three; what an epoch costs once (workers
starting, checkpoint) is not part of a step. Both loops must end with the same weights, else the benchmark breaks:
that is what makes the work equal. ``python -m benchmarks`` lets waiting threads sleep here, as the command line does.

*Defaults.* One step of YOLOX-tiny, 416 pixels, batch 8, 50 boxes an image, as the engine runs it without being told
anything (bfloat16 where the processor multiplies it in hardware, channels last), against float32 and channels first.

*Assignment.* The seconds within ``simota``, inside that very step, as a share of the step.
"""

from __future__ import annotations

import contextlib
import copy
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from unittest import mock

import torch
from torch import Tensor

from benchmarks.common import Figure, alternate, use_threads
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.loading.loader import make_train_loader
from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import EpochSampler
from saccade.data.transforms.config import AugmentConfig
from saccade.deploy.precision import has_bf16
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.optim import build_optimizer
from saccade.engine.train.setup import Datasets
from saccade.models.base import Model, Targets
from saccade.models.detection import yolox
from saccade.models.normalize import Normalize
from saccade.models.registry import create_model
from saccade.structures.sample import ImageInfo, Sample, Target

BATCH = 8
SETTLING = 3  # steps before the first that counts: the worker is ahead of the loop by then


class MemoryScenes:
    """A data set that only hands out what is in memory already."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        scenes = DigitScenes("detection", "train", count, size)
        self.info = scenes.info
        self._samples = [scenes.read(index) for index in range(count)]

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int) -> Sample:
        kept = self._samples[index]
        info = ImageInfo(kept.info.image_id, kept.info.path, kept.info.geometry)
        return Sample(kept.image, dict(kept.target), info)

    def target(self, index: int) -> Target:
        return dict(self._samples[index].target)

    def path(self, index: int) -> str:
        return self._samples[index].info.path


class Terminal(io.StringIO):
    """Text that takes itself for a terminal, so that the progress bar is drawn and paid for, and not seen."""

    def isatty(self) -> bool:
        return True


def step(
    model: Model, optimizer: torch.optim.Optimizer, images: Tensor, targets: Targets, bf16: bool = has_bf16()
) -> None:
    """Forward, loss, backward, optimiser: nothing else."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        terms = model.loss(images, targets)
    torch.stack([value.float() for value in terms.values()]).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def seconds_a_step(model: Model, train: Callable[[], object], steps: int) -> float:
    """Mean seconds between the starts of forward passes while ``train`` runs, the first few left out."""
    starts: list[float] = []
    hook = model.register_forward_pre_hook(lambda *_: starts.append(time.perf_counter()))
    train()
    hook.remove()
    assert len(starts) == steps, f"{len(starts)} forward passes, expected {steps}"
    return (starts[-1] - starts[SETTLING]) / (steps - 1 - SETTLING)


def overhead(rounds: int = 5, steps: int = 40, side: int = 256) -> list[Figure]:
    """The engine against the bare loop, on YOLOX-nano."""
    data = MemoryScenes(steps * BATCH, (side, side))
    torch.manual_seed(0)
    start = create_model("yolox_nano", num_classes=len(data.info.class_names))
    start.input_spec = start.input_spec.with_size((side, side))
    config = TrainConfig(
        model="yolox_nano",
        data=DataConfig(val=None, batch_size=BATCH),
        optimizer=OptimizerConfig(lr=1e-4),
        schedule=ScheduleConfig("constant"),
        epochs=1,
    )
    pipeline = TrainPipeline(data, start.input_spec, [AugmentConfig()], config.seed)
    normalize = Normalize(start.input_spec)
    batches = [
        (normalize(batch.images).contiguous(memory_format=torch.channels_last), batch.targets)
        for batch in make_train_loader(pipeline, EpochSampler(len(data), BATCH, config.seed))
    ]

    def bare() -> tuple[float, Model]:
        model = copy.deepcopy(start).to(memory_format=torch.channels_last).train()
        optimizer = build_optimizer(model.named_parameters(), config.optimizer)

        def train() -> None:
            for images, targets in batches:
                step(model, optimizer, images, targets)

        return seconds_a_step(model, train, steps), model

    def engine(config: TrainConfig) -> tuple[float, Model]:
        model = copy.deepcopy(start)
        with tempfile.TemporaryDirectory() as config.out, contextlib.redirect_stderr(Terminal()):
            return seconds_a_step(model, lambda: fit(config, model=model, data=Datasets(data)), steps), model

    kept = copy.deepcopy(config)
    kept.ema, kept.clip_norm = EmaConfig(decay=0.9995), 10.0
    seconds: dict[str, list[float]] = {"bare": [], "engine": [], "kept": []}
    for _ in range(rounds):
        expected, bare_model = bare()
        found, engine_model = engine(config)
        torch.testing.assert_close(dict(engine_model.named_parameters()), dict(bare_model.named_parameters()))
        seconds["bare"].append(expected)
        seconds["engine"].append(found)
        seconds["kept"].append(engine(kept)[0])
    median = {name: statistics.median(values) for name, values in seconds.items()}
    note = f"YOLOX-nano at {side}, batch {BATCH}; bare step {1e3 * median['bare']:.0f} ms"
    return [
        Figure("engine over bare step", 100 * (median["engine"] / median["bare"] - 1), "%", 5.0, note=note),
        Figure(
            "the same with average and clipping",
            100 * (median["kept"] / median["bare"] - 1),
            "%",
            note="EMA and gradient clipping on, which the bare step does not do",
        ),
    ]


@contextlib.contextmanager
def timed_simota() -> Iterator[list[float]]:
    """Seconds of every assignment inside the block."""
    seconds: list[float] = []
    original = yolox.simota

    def timed(*args: Tensor) -> object:
        start = time.perf_counter()
        matches = original(*args)
        seconds.append(time.perf_counter() - start)
        return matches

    with mock.patch.object(yolox, "simota", timed):
        yield seconds


def defaults(rounds: int = 6, size: int = 416, boxes: int = 50) -> list[Figure]:
    """Default step against float32 and channels first, and the share of SimOTA in it, on YOLOX-tiny."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH, 3, size, size, generator=generator) * 255
    # Sides from 1/32 to 1/2 of the canvas, evenly on a logarithmic scale.
    sides = size * 2.0 ** (-1 - 4 * torch.rand(BATCH, boxes, 2, generator=generator))
    corners = torch.rand(BATCH, boxes, 2, generator=generator) * (size - sides)
    targets = {
        "boxes": torch.cat((corners, corners + sides), dim=2),
        "labels": torch.randint(0, 80, (BATCH, boxes), generator=generator),
    }
    plain = create_model("yolox_tiny").train()
    tuned = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    laid_out = images.contiguous(memory_format=torch.channels_last)
    config = OptimizerConfig(lr=1e-5)
    optimizers = {id(model): build_optimizer(model.named_parameters(), config) for model in (plain, tuned)}
    shares: list[float] = []

    def default_step() -> None:
        with timed_simota() as inside:
            start = time.perf_counter()
            step(tuned, optimizers[id(tuned)], laid_out, targets)
            shares.append(100 * sum(inside) / (time.perf_counter() - start))

    seconds = alternate(
        {
            "default": default_step,
            "plain": lambda: step(plain, optimizers[id(plain)], images, targets, bf16=False),
        },
        rounds,
        warmup=1,
    )
    note = f"YOLOX-tiny at {size}, batch {BATCH}, {seconds['default']:.2f} s against {seconds['plain']:.2f} s"
    # The promise is one of bfloat16; where the processor does not compute in it, the defaults leave it alone.
    words = "bfloat16" if has_bf16() else "no bfloat16 on this processor, so the promise of 1.7 x does not apply"
    return [
        Figure(
            "default step against float32 channels first",
            seconds["plain"] / seconds["default"],
            "x",
            1.7 if has_bf16() else None,
            at_least=True,
            note=f"{note}; {words}",
        ),
        Figure(
            "SimOTA's share of the default step",
            statistics.median(shares[1:]),
            "%",
            15.0,
            note=f"{boxes} boxes an image; {'bfloat16' if has_bf16() else 'float32'}",
        ),
    ]


def run() -> list[Figure]:
    """All figures of this file."""
    use_threads()
    return [*overhead(), *defaults()]
