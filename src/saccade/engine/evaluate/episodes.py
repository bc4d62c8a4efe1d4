"""Few-shot accuracy, as the network itself classifies the queries of episodes: prototypes, attention, adaptation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from saccade.data.loading.episodes import EpisodeSampler
from saccade.data.loading.pipeline import EvalPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.errors import ConfigError
from saccade.metrics.base import MetricReport
from saccade.metrics.few_shot import FewShotEvaluator
from saccade.models.base import Model
from saccade.models.embedding.base import EpisodeNetwork, split_episode
from saccade.models.normalize import Normalize
from saccade.structures.dataset import VisionDataset

__all__ = ["evaluate_episodes"]

Progress = Callable[[Iterable[list[SampleKey]], int], Iterable[list[SampleKey]]]


def evaluate_episodes(
    model: Model,
    dataset: VisionDataset,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    episodes: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> MetricReport:
    """Few-shot accuracy of a network over episodes, with its 95 % interval.

    Images are read once and kept, as uint8 on the network's canvas.

    Args:
        model: Learns from episodes; it stays as it is.
        dataset: Images with one class each, of classes that training did not see.
        ways: Classes an episode.
        shots: Examples a class.
        queries: Images a class that are asked about.
        episodes: How many.
        seed: Of the episodes.
        progress: Wraps the episodes, given their number, to show a bar.

    Raises:
        ConfigError: If the network does not learn from episodes, or the data have too few classes or images.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> digits = DigitScenes("classification", "val", count=100, size=(28, 28))
        >>> model = saccade.create_model("protonet_conv4", in_channels=3, width=8)
        >>> report = evaluate_episodes(model, digits, ways=5, shots=1, queries=2, episodes=10)
        >>> 0 <= report.values["accuracy"] <= 1, report.values["episodes"]
        (True, 10.0)
    """
    if not isinstance(model, EpisodeNetwork):
        raise ConfigError(
            f"{model.builder_name or type(model).__name__} does not learn from episodes. Leave ways, shots, queries "
            "and episodes out; evaluation reports few-shot figures of every network with embeddings."
        )
    labels = np.array([int(dataset.target(index)["labels"]) for index in range(len(dataset))])
    sampler = EpisodeSampler(labels, ways, shots, queries, episodes, seed)
    pipeline, kept = EvalPipeline(dataset, model.input_spec), dict[int, Tensor]()
    device = next(model.parameters()).device
    normalize, evaluator = Normalize(model.input_spec).to(device), FewShotEvaluator()
    training = model.training
    model.eval()
    batches: Iterable[list[SampleKey]] = sampler if progress is None else progress(sampler, episodes)
    try:
        for number, keys in enumerate(batches):
            images = normalize(torch.stack([_image(pipeline, kept, key) for key in keys]).to(device))
            episode = split_episode(torch.from_numpy(labels[[key.index for key in keys]]).to(device), shots)
            with torch.no_grad():
                scores = model.episode_logits(images, episode)
            evaluator.update(number, scores.argmax(1).cpu().numpy(), episode.classes.cpu().numpy())
    finally:
        model.train(training)
    return evaluator.compute()


def _image(pipeline: EvalPipeline, kept: dict[int, Tensor], key: SampleKey) -> Tensor:
    """Image on the canvas, (C, H, W) uint8; of episodes most images occur more than once."""
    if key.index not in kept:
        kept[key.index] = torch.from_numpy(np.ascontiguousarray(pipeline[key].image.transpose(2, 0, 1)))
    return kept[key.index]
