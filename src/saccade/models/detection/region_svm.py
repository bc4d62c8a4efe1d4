"""What R-CNN and SPP-Net share: regions are classified by their features, in three steps of training.

Girshick et al. 2014 (R-CNN, arXiv 1311.2524) and He et al. 2014 (SPP-Net, arXiv 1406.4729). A network computes one
vector of features for each proposal; what is predicted from it is linear.

    features (B, P, D)
      |  softmax of 1 + C classes    learnt by gradients, together with the features     step "finetune" (any name)
      |  C support vector machines   solved: hard negative mining over cached features   step "svm"
      |  C box regressors            solved: ridge regression over the same cache        step "boxes"

Until a class has its machine, its score is that of the softmax. The margin m of a machine becomes the score
sigmoid(2 m), which keeps the order: 0.12 where m = -1, a half at the boundary, 0.88 where m = 1. Machines and
regressors are buffers beside the softmax, so that checkpoints, exported files and heads of other classes hold them.

The cache lies in the run's own folder (``solve/regions``) and stays there: a step that was killed goes on with the
images that it holds, and the second solved step computes none of them again.

Letters: B images, P proposals an image (padded), D features, C classes, M objects an image (padded).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.errors import ConfigError
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.detection.base import Assignment, Detector, unpack_targets
from saccade.models.detection.box_branch import decode_regions
from saccade.models.detection.region_cache import RegionCache, RegionFeatures, hash_tensors
from saccade.models.detection.region_solvers import LinearModels, SvmSettings, train_box_regressors, train_svms
from saccade.models.detection.roi_branches import RegionSampling, RoiSample, loss_generator, sample_regions
from saccade.ops.anchors import canvas_size
from saccade.ops.matching import IGNORED
from saccade.ops.nms import NmsSettings
from saccade.structures.batch import Batch
from saccade.structures.class_rows import ClassRows
from saccade.structures.dataset import VisionDataset

__all__ = ["RegionDetector", "RegionHead", "RegionRules", "has_area", "refuse_assignment"]

_CODE_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # appendix C: codes as they are
_SOLVED = ("svm", "boxes")  # steps without gradients


@dataclass(frozen=True)
class RegionRules:
    """Which regions the three steps learn from, and how; the defaults are R-CNN's.

    Args:
        sampling: Regions of a fine-tuning batch, shared out evenly among its images.
        svm: Of the support vector machines.
        ridge: Lambda of the box regression.
        regression_iou: Overlap above which a proposal takes part in the box regression.

    Example:
        >>> RegionRules().sampling.positives
        32
    """

    sampling: RegionSampling = field(default_factory=partial(RegionSampling, count=128))
    svm: SvmSettings = field(default_factory=SvmSettings)
    ridge: float = 1000.0
    regression_iou: float = 0.6


class RegionHead(nn.Module):
    """Softmax, support vector machines and box regressors over features of regions.

    Args:
        channels: D, length of the feature vectors.
        num_classes: C, without background.

    Attributes:
        svm_weight, svm_bias: Buffers, one row a class; zero until they are solved.
        box_weight, box_bias: Buffers, four rows of background and of each class; zero, which leaves a proposal as it
            is, until they are solved.

    Example:
        >>> outputs = RegionHead(16, num_classes=3)(torch.zeros(2, 5, 16))
        >>> {name: tuple(value.shape) for name, value in outputs.items()}
        {'roi_logits': (2, 5, 4), 'roi_scores': (2, 5, 4), 'roi_codes': (2, 5, 16)}
    """

    svm_weight: Tensor
    svm_bias: Tensor
    box_weight: Tensor
    box_bias: Tensor

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels, 1 + num_classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.register_buffer("svm_weight", torch.zeros(num_classes, channels))
        self.register_buffer("svm_bias", torch.zeros(num_classes))
        self.register_buffer("box_weight", torch.zeros(4 * (1 + num_classes), channels))
        self.register_buffer("box_bias", torch.zeros(4 * (1 + num_classes)))

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Features (B, P, D) to ``roi_logits`` and ``roi_scores`` (B, P, 1 + C), ``roi_codes`` (B, P, 4 (1 + C)).

        Background comes first; its score says nothing once classes have their machines.
        """
        logits = self.classifier(features)
        margins = F.linear(features, self.svm_weight, self.svm_bias).float()
        solved = self.svm_weight.abs().amax(dim=1) > 0
        background, classes = logits.float().softmax(dim=-1).split((1, len(solved)), dim=-1)
        scores = torch.cat((background, torch.where(solved, (2 * margins).sigmoid(), classes)), dim=-1)
        codes = F.linear(features, self.box_weight, self.box_bias)
        return {"roi_logits": logits, "roi_scores": scores, "roi_codes": codes}

    @torch.no_grad()
    def forget(self) -> None:
        """Set machines and regressors to zero: features that they were solved for are about to change."""
        for buffer in self.buffers():
            buffer.zero_()

    @torch.no_grad()
    def take(self, step: str, solved: LinearModels) -> None:
        """Store what the step ``svm`` or ``boxes`` solved."""
        weight, bias = torch.from_numpy(solved.weight), torch.from_numpy(solved.bias)
        if step == "svm":
            self.svm_weight.copy_(weight)
            self.svm_bias.copy_(bias)
        else:  # background stays where it is
            self.box_weight[4:] = weight
            self.box_bias[4:] = bias


class RegionDetector(Detector):
    """Base of R-CNN and SPP-Net; a subclass writes ``region_features``.

    Args:
        num_classes: C, without background.
        channels: D, length of the feature vectors.

    Attributes:
        rules: Which regions the steps learn from.
        head: Softmax, machines and regressors.
    """

    input_names = ("proposals",)
    head_names: tuple[str, ...] = ("head",)
    rules = RegionRules()

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__(num_classes, NmsSettings(iou=0.3, score_threshold=0.05, pre_nms=2000, max_detections=100))
        self.head = RegionHead(channels, num_classes)
        four = ClassRows(fixed=4, per_class=4)
        self.class_rows = {
            "head.classifier.weight": ClassRows(fixed=1),
            "head.classifier.bias": ClassRows(fixed=1),
            "head.svm_weight": ClassRows(),
            "head.svm_bias": ClassRows(),
            "head.box_weight": four,
            "head.box_bias": four,
        }

    def region_features(self, images: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """Features (B, R, D) of boxes (B, R, 4), pixels, of normalised ``images`` (B, 3, H, W)."""
        raise NotImplementedError

    @property
    def feature_settings(self) -> Mapping[str, Any]:
        """What the features depend on beside the weights, plain values: part of the cache's key."""
        raise NotImplementedError

    def forward(self, images: Tensor, proposals: Tensor) -> Outputs:
        """Raw outputs of all proposals.

        Args:
            images: (B, 3, H, W).
            proposals: (B, P, 4), pixels of the canvas; rows without area are padding.

        Returns:
            The ``proposals``, ``roi_logits`` and ``roi_scores`` (B, P, 1 + C), ``roi_codes`` (B, P, 4 (1 + C)), and
            ``canvas`` (2,) height and width.
        """
        outputs = self.head(self.region_features(images, proposals))
        return {"proposals": proposals, **outputs, "canvas": canvas_size(images)}

    def loss(self, images: Tensor, targets: Targets, proposals: Tensor) -> dict[str, Tensor]:
        """Fine-tuning: cross entropy of the softmax over sampled regions (R-CNN, section 2.3).

        Args:
            images: (B, 3, H, W).
            targets: Ground truth, padded or not.
            proposals: (B, P, 4), pixels; the objects themselves are regions too.

        Returns:
            ``classification``, the mean over the regions.
        """
        boxes_xyxy, labels = unpack_targets(targets)
        sample = self.sample(boxes_xyxy, labels, proposals, canvas_size(images))
        logits = self.head.classifier(self.region_features(images, sample.boxes_xyxy)).float()
        classes = torch.where(sample.positive, labels.gather(1, sample.owners.clamp(min=0)) + 1, 0)
        used = sample.owners != IGNORED
        entropy = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
        return {"classification": (entropy * used.flatten()).sum() / used.sum().clamp(min=1)}

    def sample(self, boxes_xyxy: Tensor, labels: Tensor, proposals: Tensor, canvas: Tensor) -> RoiSample:
        """Regions of a fine-tuning batch: of proposals, and of the objects themselves.

        Args:
            boxes_xyxy: Ground truth, (B, M, 4), pixels.
            labels: (B, M) int64; -1 for rows that do not train.
            proposals: (B, P, 4), pixels.
            canvas: (2,) height and width.
        """
        real = (labels >= 0) & has_area(boxes_xyxy, canvas)
        regions = torch.cat((proposals.to(boxes_xyxy.dtype), boxes_xyxy), dim=1)
        usable = torch.cat((has_area(proposals, canvas), real), dim=1)
        own = replace(self.rules.sampling, count=max(self.rules.sampling.count // len(labels), 1))
        return sample_regions(regions, usable, boxes_xyxy, real, own, loss_generator(self, labels.device))

    def decode(self, outputs: Outputs) -> Decoded:
        """Boxes in canvas pixels after suppression; a proposal may be of several classes, each with its own box."""
        return decode_regions(outputs, _CODE_WEIGHTS, self.nms)

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Objects (N, 4) that have an area on the canvas, (N,) bool: each is a positive of its own."""
        return has_area(boxes_xyxy, boxes_xyxy.new_tensor(size))

    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Not to be asked: it learns from proposals, and has no anchors.

        Raises:
            ConfigError: Always.
        """
        raise refuse_assignment(self)

    def begin(self, step: str, data: VisionDataset) -> None:
        """Forget machines and regressors, unless they are what the step solves: their features are about to change."""
        if step not in _SOLVED:
            self.head.forget()

    @torch.no_grad()
    def solve(self, step: str, batches: Iterable[Batch]) -> dict[str, float]:
        """Solve the support vector machines (step ``svm``) or the box regressors (step ``boxes``).

        Raises:
            ConfigError: If the step has another name.
        """
        if step not in _SOLVED:
            raise ConfigError(
                f"step '{step}' has the solver 'model', but {self.builder_name or type(self).__name__} solves only the "
                f"steps {' and '.join(_SOLVED)}. Name it so, or train it by gradients."
            )
        with ExitStack() as stack:
            folder = self.work_folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="saccade-")))
            cache = RegionCache(folder / "regions", self._hash_weights())
            keys = [key for batch in batches for key in self._fill(cache, batch)]
            regions = partial(cache.load_all, keys)
            if step == "svm":
                solved = train_svms(regions, self.num_classes, self.rules.svm)
            else:
                solved = train_box_regressors(regions, self.num_classes, self.rules.ridge, self.rules.regression_iou)
        self.head.take(step, solved)
        return solved.figures

    def _fill(self, cache: RegionCache, batch: Batch) -> list[str]:
        """Names of a batch's images in the cache, which holds all of them afterwards.

        Each is computed by itself, so that its features do not depend on who else is in the batch or was cached.
        """
        boxes_xyxy, labels = unpack_targets(batch.targets)
        canvas = canvas_size(batch.images)
        keys = []
        for image, proposals, own_boxes, own_labels in zip(
            batch.images, batch.inputs["proposals"], boxes_xyxy, labels, strict=True
        ):
            proposals = proposals[has_area(proposals, canvas)]
            objects = (own_labels >= 0) & has_area(own_boxes, canvas)
            regions = torch.cat((proposals, own_boxes[objects].to(proposals.dtype)))
            keys.append(hash_tensors(image, regions, own_labels[objects]))
            if cache.load(keys[-1]) is None:
                features = regions.new_zeros(0, self.head.classifier.in_features)
                if len(regions):
                    features = self.region_features(image[None], regions[None])[0]
                arrays = (value.cpu().numpy() for value in (features.float(), regions.float(), own_labels[objects]))
                cache.save(keys[-1], RegionFeatures(*arrays))
        return keys

    def _hash_weights(self) -> str:
        """Hash of all that features depend on: every tensor but the head's, and the settings."""
        state = {name: value for name, value in self.state_dict().items() if not name.startswith("head.")}
        text = json.dumps([type(self).__name__, dict(self.feature_settings), list(state)])
        return hash_tensors(*state.values(), text=text)


def refuse_assignment(model: Detector) -> ConfigError:
    """Error of a detector of proposals that is asked for anchors.

    Example:
        >>> str(refuse_assignment(saccade.create_model("spp_net", hidden=8)))[:46]
        'spp_net has no anchors to assign: proposals ov'
    """
    return ConfigError(
        f"{model.builder_name or type(model).__name__} has no anchors to assign: proposals overlap the objects, or "
        "they do not. 'saccade show DATA --proposals selective_search' draws how well they do."
    )


def has_area(boxes_xyxy: Tensor, canvas: Tensor) -> Tensor:
    """Which boxes (..., 4) have an area on a canvas (height, width), (...) bool; padding has none.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 0, 0], [70, 0, 80, 8], [-8, 4, 0, 6]])
        >>> has_area(boxes, torch.tensor([32.0, 64.0])).tolist()
        [True, False, False, False]
    """
    limits = canvas.flip(0).to(boxes_xyxy)
    inside = torch.minimum(boxes_xyxy[..., 2:], limits) > boxes_xyxy[..., :2].clamp(min=0)
    return inside.all(dim=-1)
