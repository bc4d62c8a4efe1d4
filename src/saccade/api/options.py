"""Options of the verbs: one dataclass a verb, whose fields are options of the shell and parameters of Python alike.

``saccade predict --batch-size 4`` and ``saccade.predict(..., batch_size=4)`` are the same field. Names, order and
defaults of the fields are those of the function; the text below a field is what ``saccade VERB --help`` prints, and its
first sentence stands in the function's docstring. ``tests/cli/test_options.py`` holds the three together, and lists
what the shell has beyond (where to print and to save).

A type is what a shell can give. Python also takes the thing itself: a :class:`~saccade.models.base.Model` for its
checkpoint, a :class:`~saccade.engine.train.config.TrainConfig` for its file, pixels for an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro

from saccade.api.shared_options import FinishOptions, InferenceOptions, NmsOptions, PythonOnly, TrustOptions

__all__ = [
    "OPTIONS",
    "CheckOptions",
    "CompareOptions",
    "ConvertOptions",
    "DatasetsOptions",
    "DemoOptions",
    "EvaluateOptions",
    "ExplainOptions",
    "ExportOptions",
    "FinishOptions",
    "InferenceOptions",
    "LabelOptions",
    "ModelsOptions",
    "NmsOptions",
    "PredictOptions",
    "ShowOptions",
    "SummaryOptions",
    "TrainOptions",
    "TuneOptions",
]


@dataclass(kw_only=True)
class TrainOptions:
    """Train a model. Start from a recipe, a configuration, or a model and data; then set any field by its name."""

    config: Path | None = None
    """Configuration to start from, such as the config.yaml of an earlier run."""
    recipe: str | None = None
    """Recipe to start from; an unknown name offers the nearest."""
    model: str | None = None
    """Name of the network to train. Its own options are set by --model-args.OPTION VALUE."""
    data: str | None = None
    """Data set: name in the catalogue, or path. Short for --data.source."""
    trainable: str | None = None
    """What is trained: all, head, or last:k for the last k stages and the head. Short for --freeze.trainable. With
    --weights CHECKPOINT, this is transfer learning."""
    resume: bool = False
    """Go on where the run of this name was stopped."""
    callbacks: PythonOnly[Sequence[Any]] = ()
    """Told of the start, of steps, of every epoch and of the end; each may stop the run."""
    train: PythonOnly[Any] = None
    """Data set in memory to train on, in place of data: any object with info, read, target, path and a length."""
    val: PythonOnly[Any] = None
    """Data set in memory that is scored after every epoch; images of train are held out if not given."""
    test: PythonOnly[Any] = None
    """Data set in memory that is scored once, with the weights that are kept."""


@dataclass(kw_only=True)
class _EvaluateOptions:
    model: tyro.conf.Positional[str | None] = None
    """Model to score: checkpoint, folder of a run, exported file, or name of a network with weights."""
    data: tyro.conf.Positional[str | None] = None
    """Data set: name in the catalogue, or path; that of the training run if not given, for a checkpoint in its run
    folder."""
    split: str | None = None
    """Split; several are joined by "+". If not given, test, else val, or the images that training holds out; that of
    the run where the data are the run's. For predictions val, or the only split."""
    weights: str | None = None
    """Published weights by name, or a file of any known layout, for a network given by name."""
    format: str | None = None
    """Reader; found automatically if not given."""
    task: str | None = None
    """Which ground truth to read, where the data has several; the model's own if not given."""
    batch_size: int = 16
    """Images (or tiles) at a time."""
    workers: int | None = None
    """Processes that load images; one less than the cores (at most 8) if not given."""
    predictions: Path | None = None
    """File to score instead of a model: predictions in COCO's result format, whatever made them."""
    iou_type: str | None = None
    """What of these predictions is scored: bbox, segm or keypoints; found in the file if not given."""
    rectangular: bool = False
    """Of letterboxed networks: the smallest canvas that holds an image, instead of the square one."""
    max_detections: int | None = None
    """Detections that a detector outputs for an image, and that count in an image and class; 100 if not given, as in
    COCO. For images with more objects."""
    nms: NmsOptions = field(default_factory=NmsOptions)
    """Of detectors: other settings of suppression than the model's own, such as kind and iou. In Python also a mapping.
    An exported file holds its own, which cannot be changed."""
    prune: int | None = None
    """Of networks with outputs at several depths (unetpp): predict with the one at this depth alone, and without what
    only deeper ones need. An exported file has its depth, which cannot be changed."""
    finish: FinishOptions = field(default_factory=FinishOptions)
    """What runs after the network, such as kind dense_crf for segmenters. In Python also a mapping, or the kind
    alone."""
    proposals: str | None = None
    """Of networks that take proposals: selective_search, selective_search_quality, or a JSON file in COCO's form; that
    of the training run if not given, else selective_search."""
    boxes: str | None = None
    """Of networks that find the keypoints of one object: a detector, or a JSON file of boxes in COCO's result format,
    that says where the objects are; the boxes of the data if not given."""
    ways: int | None = None
    """Of networks that learn from episodes: score episodes of so many classes, as the network itself classifies their
    queries, instead of embeddings."""
    shots: int = 1
    """With ways: examples a class."""
    queries: int = 15
    """With ways: images a class that are asked about."""
    episodes: int = 1000
    """With ways: how many."""
    features: str | None = None
    """Of image translation: score by KID over the features of this classifier: a checkpoint, a folder of a run, or
    published weights, such as resnet18/imagenet."""
    per_image: Path | None = None
    """CSV file to write: the figures of each image, worst first."""
    errors: Path | None = None
    """Folder in which to write errors.html: what was missed, false, mislocated or misclassified, worst first, with
    drawings."""
    choose_thresholds: bool = False
    """Of detectors: choose the score of each class at which its F1 is greatest, and write these thresholds into the
    file of the model, whose predictions leave out what scores less. For validation data, not for the test data."""


@dataclass(kw_only=True)
class EvaluateOptions(TrustOptions, InferenceOptions, _EvaluateOptions):  # the fields of the last base stand first
    """Score a checkpoint, an exported file, or a file of predictions on a data set."""


@dataclass(kw_only=True)
class _CompareOptions:
    model: tyro.conf.Positional[str]
    """First model: checkpoint, folder of a run, or exported file."""
    other: tyro.conf.Positional[str]
    """Second model. Differences are second minus first."""
    data: str | None = None
    """Data set: name in the catalogue, or path; that of the first model's training run if not given."""
    split: str | None = None
    """Split; several are joined by "+". If not given, test, else val, or the images that training holds out; that of
    the run where the data are the run's."""
    format: str | None = None
    """Reader; found automatically if not given."""
    task: str | None = None
    """Which ground truth to read, where the data has several; the model's own if not given."""
    batch_size: int = 16
    """Images at a time."""
    workers: int | None = None
    """Processes that load images; one less than the cores (at most 8) if not given."""
    draws: int = 1000
    """Resampled data sets behind the intervals."""
    seed: int = 0
    """Seed of these draws."""
    html: Path | None = None
    """Page to write: the differences, and drawings of images on which the models differ most."""
    drawn: int = 12
    """Images that are drawn on the page."""


@dataclass(kw_only=True)
class CompareOptions(TrustOptions, _CompareOptions):
    """Tell whether one model is better than another: both are scored on the same images, with an interval.

    The difference of each figure has a 95 % interval by a paired bootstrap: images are drawn with replacement, the same
    for both, and the figures of the data set are computed anew from what was found in each image.
    """


@dataclass(kw_only=True)
class _PredictOptions:
    model: tyro.conf.Positional[str]
    """Model: checkpoint, folder of a run, exported file, or name of a network with weights."""
    source: tyro.conf.Positional[str]
    """Images: file, folder, pattern, zip, video file, number of a camera, or address (http, https, rtsp). Python also
    takes encoded bytes, an array, a Pillow image, a tensor, several images stacked, or a list of any of them."""
    weights: str | None = None
    """Published weights by name, or a file of any known layout, for a network given by name."""
    score_threshold: float | None = None
    """Leave out predictions that score less, where the task has scores. If not given, the model's own thresholds of its
    classes hold, which evaluate --choose-thresholds chose; without these all that the model outputs is given, of which
    the shell prints and draws what scores 0.25 or more (--json all), as models output low scores too, for metrics. 0
    switches the model's own off."""
    batch_size: int = 1
    """Images (or tiles) at a time."""
    device: str | None = None
    """Such as cuda; a GPU if there is one, else the CPU through the fastest runtime installed, if not given."""
    max_detections: int | None = None
    """Detections that a detector outputs for an image; its own number, usually 100, if not given."""
    nms: NmsOptions = field(default_factory=NmsOptions)
    """Of detectors: other settings of suppression than the model's own, such as kind and iou. In Python also a mapping.
    An exported file holds its own, which cannot be changed."""
    prune: int | None = None
    """Of networks with outputs at several depths (unetpp): predict with the one at this depth alone, and without what
    only deeper ones need. An exported file has its depth, which cannot be changed."""
    finish: FinishOptions = field(default_factory=FinishOptions)
    """What runs after the network, such as kind dense_crf for segmenters. In Python also a mapping, or the kind
    alone."""
    proposals: str | None = None
    """Of networks that take proposals: selective_search, selective_search_quality, or a JSON file in COCO's form; the
    method of the training run if not given, else selective_search."""
    boxes: str | None = None
    """Of networks that find the keypoints of one object: a detector, or a JSON file of boxes in COCO's result format,
    that says where the objects are; each image is taken for one object if not given."""
    on_error: Literal["raise", "skip"] = "raise"
    """What an image that cannot be read does: end the prediction (raise), or be named and left out (skip). The shell
    skips unless told otherwise, and its exit code is then 1."""
    recursive: bool = False
    """Search the folders below a folder too. What is saved keeps their tree."""
    every: int = 1
    """Of videos, cameras and streams: predict each n-th frame."""
    gallery: str | None = None
    """Of networks that compare images: folder of images, among which the nearest to each image are looked for. Folders
    in it are classes."""
    neighbours: int = 5
    """With a gallery: how many nearest images."""
    keep_images: PythonOnly[bool] = True
    """Keep the pixels on each result."""
    cache: bool = True
    """Keep the converted graph of a checkpoint in the cache folder, so that the next prediction with it begins in a
    fraction of the time."""


@dataclass(kw_only=True)
class PredictOptions(TrustOptions, InferenceOptions, _PredictOptions):
    """Run a model over images, one by one, in bounded memory."""


@dataclass(kw_only=True)
class LabelOptions:
    """Write a model's predictions as labels that a person corrects in an annotation tool, with their scores."""

    model: tyro.conf.Positional[str]
    """Model: checkpoint, folder of a run, exported file, or name of a network with weights."""
    source: tyro.conf.Positional[str]
    """Images: file, folder, pattern, zip, video file, or address of an image. Python also takes what predict takes."""
    to: str
    """Format to write: labelme, cvat, coco, yolo, voc, label_studio, csv, folder."""
    out: Path
    """Folder to write, which must be empty or not exist."""
    sort: Literal["source", "uncertain"] = "source"
    """Order of the images: that of the source, or those first of which the model is least sure (uncertain). File names
    then begin with their rank."""
    score_threshold: float | None = None
    """Leave out objects that score less; the model's own thresholds of its classes if not given, else 0.25."""
    weights: str | None = None
    """Published weights by name, or a file of any known layout, for a network given by name."""
    batch_size: int = 1
    """Images (or tiles) at a time."""
    device: str | None = None
    """Such as cuda; a GPU if there is one, else the CPU through the fastest runtime installed, if not given."""
    recursive: bool = False
    """Search the folders below a folder too."""
    every: int = 1
    """Of videos: label each n-th frame."""
    image_files: Literal["copy", "link", "none"] = "copy"
    """Copy the images, link them (hard links), or write annotations only (none)."""
    tile: int | tuple[int, int] | None = None
    """Predict in tiles of so many pixels of the image, a side or (height, width). For small objects."""
    overlap: float = 0.2
    """With tiles: share of a tile that its neighbour shows too."""
    trust: bool = False
    """Open a model file that can run code of its maker: a .pt2 program, or the checkpoint of a network from outside the
    package, whose module is imported."""


@dataclass(kw_only=True)
class ExportOptions:
    """Write a model for another runtime, and prove that the file gives the same numbers."""

    model: tyro.conf.Positional[str]
    """Model: checkpoint, folder of a run, or name of a network with weights."""
    format: Literal["onnx", "openvino", "torch"] = "onnx"
    """What to write: an .onnx file, OpenVINO's .xml with its .bin, or a .pt2 program of torch.export."""
    path: Path | None = None
    """File to write; beside the checkpoint if not given."""
    weights: str | None = None
    """Published weights by name, or a file of any known layout, for a network given by name."""
    size: tuple[int, int] | None = None
    """Canvas (height, width); the model's own if not given."""
    precision: Literal["auto", "32", "bf16", "16", "int8"] = "auto"
    """How the weights are stored: auto and 32 in float32, bf16 and 16 in half the space, rounded; int8 in a quarter,
    and computed with. All formats hold all of them, but torch no int8. The arithmetic of the others is that of the
    runtime: float32 in ONNX Runtime and torch; OpenVINO computes in bfloat16 where the CPU has it, whatever the file
    holds."""
    calibrate: str | None = None
    """Data set for int8, name in the catalogue or path: it is calibrated on 300 of its training images, and measured on
    its test or validation images. Data without training images calibrate by those that they are measured on."""
    max_drop: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """By how much a figure may drop in int8, such as AP=0.01; may be given several times. Layers are left in float
    until it holds; nothing is written where it cannot. min:NAME=0.01 is of a figure where lower is better and the name
    does not tell. Python also takes {"AP": 0.01}."""
    nms: bool = True
    """Decode inside the file, non-maximum suppression included. Without it the file gives the raw outputs of the
    network, for programs that decode themselves."""
    verify: bool = False
    """Compare the file with the model: raw numbers, and the metrics where data is known, which the file then keeps."""
    data: str | None = None
    """Data set to verify with: name in the catalogue, or path; that of the training run if not given. With int8, to
    measure on instead of that of calibrate."""
    split: str | None = None
    """Split of that data; the run's held-out split if not given."""
    max_detections: int | None = None
    """Detections that the file of a detector outputs for an image; its own number, usually 100, if not given."""
    suppression: NmsOptions = field(default_factory=NmsOptions)
    """Of detectors: other settings of suppression inside the file than the model's own, such as kind and iou. In Python
    also a mapping."""
    prune: int | None = None
    """Of networks with outputs at several depths (unetpp): the file gives the one at this depth alone, and holds no
    weights that only deeper ones need."""
    finish: FinishOptions = field(default_factory=FinishOptions)
    """What runs after the network, such as kind dense_crf for segmenters. In Python also a mapping, or the kind
    alone."""
    trust: bool = False
    """Open the checkpoint of a network from outside the package, whose module is imported, that is, run."""


@dataclass(kw_only=True)
class CheckOptions:
    """List the faults of a data set: file, field, problem, remedy. The exit code is 1 if training would refuse it.

    With a model, check instead whether that model can learn the data: does the ground truth itself get the best score,
    has every object a location that can be assigned to it, do four images overfit, and what would make the score 0.
    """

    data: tyro.conf.Positional[str]
    """Data set: name in the catalogue, or path."""
    split: str | None = None
    """Split; several are joined by "+". All if not given; with a model the one for training."""
    format: str | None = None
    """Reader; found automatically if not given."""
    task: str | None = None
    """Which ground truth to read, where the data has several."""
    images: bool = True
    """Decode every image: finds broken files, wrong sizes and copies."""
    model: str | None = None
    """Model to check against the data: name of a network, checkpoint, or folder of a run."""
    steps: int = 100
    """With a model: training steps in which four images are to overfit; 0 leaves it out."""
    minutes: float = 2.0
    """With a model: limit of that training. Where it is short for the network, the canvas is smaller and steps are
    fewer, and whether the images are learnt may stay undecided."""
    trust: bool = False
    """Open the checkpoint of a network from outside the package, whose module is imported, that is, run."""


@dataclass(kw_only=True)
class ConvertOptions:
    """Write a data set in another format. What it cannot hold is counted by kind; nothing is lost in silence.

    With a model, write instead a checkpoint of a file of weights that others wrote, which every verb then takes.
    """

    data: tyro.conf.Positional[str]
    """Data set (name in the catalogue, folder, or zip of images); with a model, the file of weights."""
    out: Path
    """Folder to write, which must be empty or not exist; with a model, the checkpoint, NAME.safetensors."""
    to: str | None = None
    """Format to write: coco, voc, yolo, labelme, cvat, label_studio, csv, masks, folder, keypoint_csv."""
    format: str | None = None
    """Reader; found automatically if not given."""
    split: str | None = None
    """Split; several are joined by "+". All if not given."""
    task: str | None = None
    """Which ground truth to read, where the data has several."""
    image_files: Literal["copy", "link", "none"] = "copy"
    """Copy the images, link them (hard links), or write annotations only (none)."""
    images: str | None = None
    """Folder of the images to read, if they do not lie where the format has them; relative to the data folder."""
    model: str | None = None
    """Network that a file of weights is of, or its Darknet .cfg; data is then that file. Its own options are set by
    --model-args.OPTION VALUE, where the file does not tell them."""
    class_names: Path | None = None
    """With a model: text file with the names of its classes, one a line, in the order of the file's rows; of a
    Darknet .cfg also its .data file, and if not given, such a file beside it. Python also takes the names."""
    model_args: PythonOnly[Mapping[str, Any] | None] = None
    """With a model: options of the network by name."""


@dataclass(kw_only=True)
class ShowOptions:
    """Draw training images with their ground truth as they reach the network: resized, augmented, joined."""

    data: tyro.conf.Positional[str]
    """Data set: name in the catalogue, or path. It need not be the recipe's own; the classes come from it."""
    recipe: str | None = None
    """Recipe whose network and augmentation are shown; an unknown name offers the nearest."""
    model: str | None = None
    """Name of a network in place of a recipe, with the usual settings of its task. Without either, the usual settings
    of the task of the data, on a canvas of 320 x 320."""
    split: str | None = None
    """Split; several are joined by "+". The one for training if not given."""
    format: str | None = None
    """Reader; found automatically if not given."""
    task: str | None = None
    """Which ground truth to read, where the data has several and no network decides."""
    count: int = 16
    """How many images."""
    epoch: int = 0
    """Epoch of the run, from 0, or from the end if negative. Recipes may augment less towards the end."""
    seed: int | None = None
    """Seed of the run; the recipe's if not given."""
    proposals: str | None = None
    """Show proposals in place of training images: selective_search, selective_search_quality, or a JSON file in COCO's
    form. Curves of their recall, and the best one of each object."""
    limit: int | None = None
    """With proposals: score so many images, evenly spaced; all if not given."""
    save: Path | None = None
    """Image file to write; with proposals also a page (.html). The shell writes show.png if not given."""


@dataclass(kw_only=True)
class ExplainOptions:
    """Draw what a classifier's prediction rests on: Grad-CAM, attention roll-out, or the feature maps of a layer.

    With --assign, draw instead which anchors or points of each level a detector assigns to which object of an image.
    With --receptive-field, draw which pixels a location of a layer can depend on, and on which it does, of any network.
    """

    model: tyro.conf.Positional[str]
    """Model: checkpoint, folder of a run, or name of a network with weights."""
    image: tyro.conf.Positional[str | None] = None
    """The image; with receptive_field images (file, folder or pattern), or none. Python also takes an array, a Pillow
    image or a tensor."""
    weights: str | None = None
    """Published weights by name, or a file of any known layout, for a network given by name."""
    method: Literal["cam", "rollout", "features"] = "cam"
    """Grad-CAM (cam), attention followed back to the image (rollout: ViT, Swin), or the strongest feature maps of a
    layer (features)."""
    layer: str | None = None
    """Layer of the network (cam, features, receptive_field); the last stage that gives a feature map if not given. An
    unknown name lists the stages."""
    classes: tuple[str, ...] = ()
    """Classes to explain in place of the most probable (cam)."""
    top: int = 3
    """How many classes (cam) or feature maps (features)."""
    assign: bool = False
    """Of a detector: draw the positive, ignored and negative anchors or points of every level, coloured by object. The
    ground truth is found in the data by the path of the image. A name alone is built with random weights."""
    data: str | None = None
    """With assign: data set that has the ground truth of the image, name in the catalogue, or path; that of the
    training run if not given, for a checkpoint in its run folder."""
    format: str | None = None
    """With assign: reader; found automatically if not given."""
    target: PythonOnly[Mapping[str, Any] | None] = None
    """With assign: boxes and labels in pixels of the image, in place of data."""
    receptive_field: bool = False
    """Draw the theoretical and the effective receptive field of the middle location of a layer, side by side. The
    effective one is where the gradient is, over 8 random inputs, or over the images (16 at most). A name alone is built
    with random weights."""
    save: Path | None = None
    """Image file to write. The shell writes explain.png if not given."""
    trust: bool = False
    """Open the checkpoint of a network from outside the package, whose module is imported, that is, run."""


@dataclass(kw_only=True)
class ModelsOptions:
    """List the networks: parameters and multiply-adds at the network's own canvas, paper, published weights."""

    task: str | None = None
    """Only those that solve this task."""


@dataclass(kw_only=True)
class DatasetsOptions:
    """List the data sets of the catalogue, or show what one holds. SACCADE_DATA names the folder that holds them."""

    data: tyro.conf.Positional[str | None] = None
    """Data set: name in the catalogue, or path; the catalogue is listed if not given."""
    task: str | None = None
    """List only those for this task."""
    download: bool = False
    """Download it first: resumed after a cut, verified, unpacked, never half there."""
    folder: Path | None = None
    """Where a download makes its folder; the cache if not given."""


@dataclass(kw_only=True)
class SummaryOptions:
    """Parameters, multiply-adds and shapes of a network, computed without allocating weights."""

    model: tyro.conf.Positional[str]
    """Name of a network, checkpoint, or folder of a run."""
    num_classes: int | None = None
    """Classes without background, for a network given by name; the paper's number if not given."""
    size: tuple[int, int] | None = None
    """Canvas (height, width); the network's own if not given."""
    trust: bool = False
    """Open the checkpoint of a network from outside the package, whose module is imported, that is, run."""


@dataclass(kw_only=True)
class DemoOptions:
    """Train a small detector on generated scenes of real handwriting, score, draw and export it, and write a report."""

    minutes: float = 4.0
    """Training stops after this long."""
    out: Path = Path("runs/demo")
    """Folder to write; an earlier demo there is replaced."""


@dataclass(kw_only=True)
class TuneOptions:
    """Search for the values of a recipe's fields that score best. Other fields are set by their names, as in train.

    Without a space, the usual fields of the task vary: rate, decay, momentum, strength of augmentations.
    """

    config: Path | None = None
    """Configuration to start from, such as the config.yaml of an earlier run."""
    recipe: str | None = None
    """Recipe to start from; an unknown name offers the nearest."""
    model: str | None = None
    """Name of the network to train. Its own options are set by --model-args.OPTION VALUE."""
    data: str | None = None
    """Data set: name in the catalogue, or path. Short for --data.source."""
    space: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Field and its values: NAME=LOW:HIGH, NAME=LOW:HIGH:log, NAME=LOW:HIGH:STEP or NAME=A,B,C, as in
    optimizer.lr=1e-4:1e-2:log; may be given several times. A number names the part of a list: augment.hsv.1=0:0.9.
    Python also takes values by name."""
    trials: int | None = None
    """Trials in all; 20 if not given, or the number of the search that is resumed."""
    sampler: Literal["tpe", "cmaes", "evolve", "random"] | None = None
    """How values are drawn: tpe, cmaes, evolve (mutates the best), random; tpe if not given."""
    metric: str | None = None
    """Figure to maximise, as metrics.csv names it; min:NAME where lower is better. If not given, the main figure of the
    task; of detectors 0.1 AP50 + 0.9 AP."""
    prune: bool = True
    """Stop trials after an epoch in which they are worse than the median of those before."""
    jobs: int = 1
    """Processes on this machine, each with a trial of its own."""
    out: Path | None = None
    """Folder to write; runs/NAME_tune if not given. Its name is that of the search in a storage."""
    storage: str | None = None
    """URL of a database that several machines share, such as postgresql://host/name; a file in the folder if not given.
    The same command on each machine works on one search."""
    resume: bool = False
    """Go on with the search of that folder. Alone, with --out, it takes all settings from there."""


OPTIONS: dict[str, type[Any]] = {
    "train": TrainOptions,
    "tune": TuneOptions,
    "evaluate": EvaluateOptions,
    "compare": CompareOptions,
    "predict": PredictOptions,
    "label": LabelOptions,
    "export": ExportOptions,
    "check": CheckOptions,
    "convert": ConvertOptions,
    "show": ShowOptions,
    "explain": ExplainOptions,
    "models": ModelsOptions,
    "datasets": DatasetsOptions,
    "summary": SummaryOptions,
    "demo": DemoOptions,
}
"""The options of each verb of the shell."""
