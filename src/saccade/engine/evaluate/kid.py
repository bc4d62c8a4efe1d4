"""Kernel inception distance of translated images, over the features of any classifier."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from saccade.data.images.decode import match_channels
from saccade.data.loading.loader import make_eval_loader
from saccade.data.loading.pipeline import EvalPipeline
from saccade.data.transforms.resize import resize_image
from saccade.deploy.runtime import Runtime
from saccade.errors import ConfigError, DataError
from saccade.metrics.base import MetricReport
from saccade.metrics.translation import kernel_distance
from saccade.models.base import Model
from saccade.models.classification.base import Classifier
from saccade.models.normalize import Normalize
from saccade.results.translated_image import TranslatedImage
from saccade.structures.batch import Batch
from saccade.structures.dataset import VisionDataset
from saccade.tasks import get_task
from saccade.tasks.translation import TranslationTask

__all__ = ["evaluate_kid", "pooled_features"]


def evaluate_kid(
    runtime: Runtime,
    dataset: VisionDataset,
    classifier: Model,
    batch_size: int = 1,
    workers: int = 0,
    progress: Callable[[Iterable[Batch], int], Iterable[Batch]] | None = None,
) -> MetricReport:
    """KID between the translations of a data set and the images of its other domain (Binkowski et al. 2018).

    Figures of different classifiers are different figures: the published ones are those of Inception v3. ``KID_input``
    is the distance of the images without translation, resized to the canvas and back as the outputs are: what a
    network has to come below. Each file counts once, though a shorter domain is repeated.

    Args:
        runtime: Translates.
        dataset: Images and those of the other domain.
        classifier: Gives features, the mean of its last feature map; it stays as it is.
        batch_size: Images at a time.
        workers: Loader processes.
        progress: Wraps the batches, given their number, to show a bar.

    Raises:
        ConfigError: If the runtime translates no images, or the classifier has no features.
        DataError: If a domain has fewer than two images.

    Example:
        >>> import cv2
        >>> from saccade.data.open import open_dataset
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> for name in ("trainA/1", "trainA/2", "trainB/1", "trainB/2"):
        ...     Path(name).parent.mkdir(exist_ok=True)
        ...     _ = cv2.imwrite(f"{name}.png", np.full((32, 32, 3), 10 * len(name) + int(name[-1]), np.uint8))
        >>> runtime = EagerRuntime(saccade.create_model("cyclegan_resnet6_generator", base_channels=4))
        >>> report = evaluate_kid(runtime, open_dataset("."), saccade.create_model("resnet18"))
        >>> sorted(report.values)
        ['KID', 'KID_input', 'images', 'images_wanted']
    """
    task = get_task(runtime.task)
    if not isinstance(task, TranslationTask):
        raise ConfigError(
            f"KID compares translated images, and {runtime.name} solves {runtime.task}. Leave features out."
        )
    if not isinstance(classifier, Classifier) or not classifier.feature_channels:
        raise ConfigError(
            f"features: '{classifier.builder_name}' is no classifier with feature maps. Give one, such as a checkpoint "
            "of resnet18."
        )
    loader = make_eval_loader(EvalPipeline(dataset, runtime.input_spec), batch_size, workers)
    batches: Iterable[Batch] = loader if progress is None else progress(loader, len(loader))
    made: dict[str, NDArray[Any]] = {}
    given: dict[str, NDArray[Any]] = {}
    wanted: dict[bytes, NDArray[Any]] = {}
    for batch in batches:
        results = task.results(runtime(batch.images, **batch.inputs), batch.infos, ())
        for index, (result, original) in enumerate(zip(results, batch.originals, strict=True)):
            assert isinstance(result, TranslatedImage)
            if result.path not in made:
                canvas = np.ascontiguousarray(batch.images[index].permute(1, 2, 0).numpy())
                before = batch.infos[index].geometry.invert_map(canvas, linear=True)  # resized as the output is
                made[result.path], given[result.path] = pooled_features(classifier, [result.output, before])
            other = np.ascontiguousarray(original["target_image"])
            key = hashlib.sha256(other.tobytes()).digest()
            if key not in wanted:
                wanted[key] = pooled_features(classifier, [other])[0]
    if min(len(made), len(wanted)) < 2:
        raise DataError(
            f"{dataset.info.name}: KID needs two images of each domain at least, and there are {len(made)} to "
            f"translate and {len(wanted)} of the other one. Add images, or leave features out."
        )
    real = np.stack(list(wanted.values()))
    distance, unchanged = (kernel_distance(np.stack(list(one.values())), real) for one in (made, given))
    values = {"KID": distance.value, "KID_input": unchanged.value}
    if np.isfinite(distance.deviation):
        values["KID_deviation"] = distance.deviation
    values |= {"images": float(len(made)), "images_wanted": float(len(wanted))}
    return MetricReport(values, primary="KID", higher_is_better=False)


def pooled_features(classifier: Model, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Mean of a classifier's last feature map for each image, (N, D), resized and normalised as it needs them.

    Args:
        classifier: Any with ``features``; in eval mode while it is asked.
        images: (H, W, 3) uint8 RGB, of any sizes.

    Example:
        >>> pooled_features(saccade.create_model("resnet18"), [np.zeros((50, 60, 3), np.uint8)]).shape
        (1, 512)
    """
    spec, device = classifier.input_spec, next(classifier.parameters()).device
    pixels = [resize_image(match_channels(image, spec.channels, "image"), spec)[0] for image in images]
    normalize, training = Normalize(spec).to(device), classifier.training
    classifier.eval()
    try:
        with torch.no_grad():
            rows = [
                classifier.features(normalize(torch.from_numpy(one).permute(2, 0, 1)[None].to(device)))[-1].mean((2, 3))
                for one in pixels
            ]
    finally:
        classifier.train(training)
    return torch.cat(rows).float().cpu().numpy()
