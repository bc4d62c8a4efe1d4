"""The typed configuration of a training run.

A recipe is a function that returns one; the command line overrides any field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from saccade.data.transforms.config import AugmentConfig
from saccade.structures.configuration import known_fields

__all__ = [
    "BorderConfig",
    "CropConfig",
    "DataConfig",
    "EmaConfig",
    "EpisodeConfig",
    "FreezeConfig",
    "OptimizerConfig",
    "PairConfig",
    "Phase",
    "ScheduleConfig",
    "Step",
    "TileConfig",
    "TrainConfig",
]


@known_fields
@dataclass
class TileConfig:
    """Images cut into tiles, before anything else happens to them; off unless a size is given."""

    size: tuple[int, int] | None = None  # tile (height, width) in pixels of the images
    overlap: float = 0.2  # share of a tile that its neighbour shows too
    keep_empty: float = 1.0  # share of the training tiles without ground truth that stays


@known_fields
@dataclass
class CropConfig:
    """Crops of objects, for networks that find one object an image (top-down); see ``data.derived.object_crops``."""

    # auto: what the network is made for, or as soon as an image has several objects; never refuses such images
    use: Literal["auto", "always", "never"] = "auto"
    enlarge: float = 1.25  # sides of the crop, in sides of the object's box


@known_fields
@dataclass
class BorderConfig:
    """U-Net's weight map, of networks that learn label maps: gaps between touching cells count more, and rare classes.

    Off unless a weight is given; see :mod:`saccade.data.derived.border_weights`.
    """

    weight: float = 0.0  # w0: what the narrowest gap weighs more (10 in the paper)
    sigma: float = 5.0  # how wide a gap may be, pixels of the images
    balance: bool = True  # weigh classes too, so that all of them count alike


@known_fields
@dataclass
class EpisodeConfig:
    """Few-shot episodes, for ``data.sampler episodes``: every batch is one."""

    ways: int = 5  # classes an episode
    shots: int = 1  # support images a class
    queries: int = 15  # query images a class
    episodes: int = 100  # an epoch


@known_fields
@dataclass
class PairConfig:
    """Pairs of images, for ``data.sampler pairs``: a batch holds ``batch_size`` of them."""

    pairs: int = 1000  # an epoch
    same: float = 0.5  # share of the pairs that are of one class


@known_fields
@dataclass
class DataConfig:
    """Data of a run: source, splits, batches, loader processes and sampler."""

    source: str = ""  # name in the catalogue, or a path
    sources: tuple[str, ...] = ()  # several of them in place of source, joined by the names of their classes
    format: str | None = None  # reader; found automatically from the folder if not given
    train: str = "train"  # split, or several joined by "+"
    val: str | None = "val"  # split scored after every epoch; None: nothing is chosen by a score
    test: str | None = None  # split scored once, at the very end, with the weights that are kept
    folds: int = 0  # cross-validation: train and val of the data are divided into so many folds; 0: not divided
    fold: int = 0  # the fold that is val, from 0; the others are train
    size: tuple[int, int] | None = None  # canvas (height, width); the model's own if not given
    batch_size: int = 16  # images (or tiles) a step
    repeats: int = 1  # repeated augmentation: times that an image of an epoch is in it, each time augmented anew
    val_batch_size: int | None = None  # twice batch_size if not given
    workers: int | None = None  # loader processes; one less than the cores (at most 8) if not given
    bad_labels: Literal["error", "drop", "repair"] = "error"  # stop at labels that cannot be used, or leave them out
    bad_images: Literal["error", "drop"] = "error"  # drop: all are decoded once before the run to find them
    keep_empty: float = 1.0  # share of training images without ground truth, which teach background, that is kept
    cache: bool = False  # decode every training image once and keep its pixels; refused where memory is short
    rectangular: bool = False  # validation on the smallest canvas that holds the letterboxed image
    tile: TileConfig = field(default_factory=TileConfig)  # tiles of large images
    crop: CropConfig = field(default_factory=CropConfig)  # objects cut out of their images
    border: BorderConfig = field(default_factory=BorderConfig)  # U-Net's weights of pixels
    proposals: str = ""  # of networks that take some: selective_search (if empty), selective_search_quality, or a file
    sampler: Literal["shuffle", "episodes", "pairs"] = "shuffle"  # how a batch is drawn
    balance: Literal["none", "sqrt", "full"] = "none"  # images of rare classes are drawn more often, with replacement
    rotate_classes: bool = False  # training images also turned by 90, 180 and 270 degrees, as classes of their own
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)  # few-shot episodes
    pair: PairConfig = field(default_factory=PairConfig)  # pairs of images


@known_fields
@dataclass
class OptimizerConfig:
    """Optimiser of a run; biases, norms and other one-dimensional parameters are not decayed by default."""

    name: Literal["sgd", "adamw", "adam", "rmsprop"] = "sgd"  # rule of the update
    lr: float = 0.01  # learning rate at its highest
    momentum: float = 0.9  # of sgd and rmsprop
    nesterov: bool = False  # Nesterov's momentum, of sgd
    betas: tuple[float, float] = (0.9, 0.999)  # of adam and adamw
    alpha: float = 0.9  # rmsprop: how much of the mean square stays each step
    eps: float | None = None  # beside the root in adam, adamw and rmsprop; torch's 1e-8 if not given
    weight_decay: float = 0.0  # of weights
    decay_norm_and_bias: bool = False  # decay normalisation and biases too
    lr_scale: dict[str, float] = field(default_factory=dict)  # parameter name prefix -> factor on lr
    layer_decay: float = 1.0  # factor on lr from each layer to the one before; necks and heads have lr
    warmup_bias_lr: float | None = None  # rate of biases at the start of the warm-up; as all others', from 0, if None
    warmup_momentum: float | None = None  # momentum (first beta) at the start of the warm-up; the usual one if None


@known_fields
@dataclass
class ScheduleConfig:
    """Learning rate over the run, counted in steps, as a factor on the optimiser's lr."""

    name: Literal["constant", "cosine", "poly", "step", "linear", "exponential"] = "cosine"  # how the rate falls
    warmup_epochs: float = 0.0  # epochs in which the rate rises from almost 0
    constant_epochs: float = 0.0  # at the full rate after the warm-up, before the shape begins
    warmup_power: float = 1.0  # 2 for YOLOX's quadratic warm-up
    final_factor: float = 0.0  # where cosine, poly and linear end
    power: float = 0.9  # of poly
    milestones: tuple[float, ...] = ()  # epochs at which step multiplies by gamma
    gamma: float = 0.1  # factor of step and exponential
    gamma_epochs: float = 1.0  # exponential multiplies by gamma every so many epochs, in one step
    flat_epochs: float = 0.0  # last epochs held at final_factor


@known_fields
@dataclass
class EmaConfig:
    """Exponential moving average of the weights, which is then evaluated and kept."""

    decay: float = 0.0  # 0: no average
    warmup_steps: float = 2000.0  # decay * (1 - exp(-step / warmup_steps))


@known_fields
@dataclass
class FreezeConfig:
    """Frozen parts of the network, and how its BatchNorm trains.

    Example:
        >>> TrainConfig(freeze=FreezeConfig(trainable="last:2", batch_norm="frozen_stats")).freeze.trainable
        'last:2'
    """

    trainable: str = "all"  # "all", "head" (the heads), or "last:k": k stages, necks, heads
    # Statistics learn, stand still, or stand still with scale and shift.
    batch_norm: Literal["train", "frozen_stats", "frozen_all"] = "train"


@known_fields
@dataclass
class Phase:
    """Settings that change from an epoch on: attributes of the model, fields of the augmentation, the canvas.

    Example:
        >>> Phase(from_epoch=-15, augment={"mosaic": 0.0}).from_epoch
        -15
    """

    from_epoch: int  # negative counts from the end: -15 is the last fifteen epochs
    model: dict[str, Any] = field(default_factory=dict)  # attributes of the network, by name
    augment: dict[str, Any] = field(default_factory=dict)  # fields of the augmentation, by name
    size: tuple[int, int] | None = None  # canvas (height, width)
    freeze: FreezeConfig | None = None  # what is trained


@known_fields
@dataclass
class Step:
    """Step of a run, one of several on the same weights: the configuration with some fields changed.

    Example:
        >>> steps = (Step("head", {"freeze.trainable": "head", "epochs": 2}), Step("all"))
        >>> TrainConfig(model="resnet18", epochs=10, steps=steps).steps[0].changes
        {'freeze.trainable': 'head', 'epochs': 2}
    """

    name: str  # of its folder
    changes: dict[str, Any] = field(default_factory=dict)  # by dotted name: {"freeze.trainable": "head", "epochs": 4}
    solver: Literal["gradient", "model"] = "gradient"  # model: Model.solve in one pass, without gradients


@known_fields
@dataclass
class TrainConfig:
    """Configuration of a whole training run; ``config.yaml`` in the run folder holds it, resolved.

    Example:
        >>> config = TrainConfig(name="digits", model="lenet5", data=DataConfig(source="digit_scenes"), epochs=3)
        >>> config.optimizer.name, config.schedule.name, config.data.batch_size
        ('sgd', 'cosine', 16)
    """

    name: str = "run"  # of the run folder
    model: str = ""  # name of the network, or package.module:builder
    model_args: dict[str, Any] = field(default_factory=dict)  # options of the network
    weights: str | None = None  # published weights or a checkpoint to start from
    partial_weights: bool = False  # start from them although they lack parts of the body, or hold layers too many
    data: DataConfig = field(default_factory=DataConfig)  # which images, and how they are loaded
    augment: AugmentConfig = field(default_factory=AugmentConfig)  # augmentation of training images
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)  # how weights move
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)  # how the learning rate changes
    ema: EmaConfig = field(default_factory=EmaConfig)  # average of the weights
    freeze: FreezeConfig = field(default_factory=FreezeConfig)  # what is trained
    phases: tuple[Phase, ...] = ()  # changes from an epoch on
    steps: tuple[Step, ...] = ()  # one after another on the same weights; none: the run is one step
    epochs: int = 10  # how often all training images are seen
    max_minutes: float | None = None  # of training: the epochs that fit, or a part of the first, scored and kept
    accumulate: int = 1  # batches an update
    nominal_batch: int | None = None  # images an update: accumulate follows from it and the size of a batch
    auto_anchor: bool = False  # fit a YOLO's anchors to the training images, if that raises the best possible recall
    clip_norm: float | None = None  # largest norm of the gradient; not clipped if not given
    precision: Literal["auto", "32", "bf16", "16"] = "auto"  # auto: bf16 where the device computes in it
    channels_last: bool | None = None  # layout in memory; not given: True, or by trial on a CPU without bf16
    compile: bool = False  # torch.compile the loss: minutes at the start, faster steps
    evaluate_every: int = 1  # epochs between evaluations
    patience: int | None = None  # evaluations without a better score before stopping
    checkpoint_every: int | None = None  # steps between checkpoints inside an epoch; one an epoch if not given
    log_every: int = 50  # steps between lines of metrics.jsonl and calls of callbacks; 30 seconds at most
    loggers: tuple[str, ...] = ("tensorboard",)  # that follow the run: tensorboard, csv, mlflow, wandb, your own
    deterministic: bool = False  # only algorithms that give the same bits again; slower
    seed: int = 0  # of weights, order and augmentation
    out: str = "runs"  # folder of the run folders
    plugins: tuple[str, ...] = ()  # modules that register networks, readers, tasks, ... of your own (--plugin MODULE)
