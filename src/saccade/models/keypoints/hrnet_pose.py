r"""HRNet for pose: keypoints of one object from heatmaps at a quarter of the image's resolution.

Papers: Ke Sun, Bin Xiao, Dong Liu, Jingdong Wang, "Deep High-Resolution Representation Learning for Human Pose
Estimation", CVPR 2019, arXiv 1902.09212; heads V2 and V2p from Jingdong Wang et al., TPAMI 2020, arXiv 1908.07919.

Other pose networks downsample an image and recover the resolution afterwards. HRNet keeps it, exchanging information
with coarser branches all along, so that its finest feature map already is what heatmaps are read from: a 1x1
convolution is the whole head. Pose is top-down: every person is cut out by a box, and the network sees one at a time.

    crop              3 x 256 x 192     the box of a person, 1.25 times as large, at the aspect of the canvas
    backbone          w x  64 x  48   (2w x 32 x 24, 4w x 16 x 12, 8w x 8 x 6)
    head v1           K x  64 x  48     1x1 of the finest branch; the last fusion makes no other
    head v2           K x  64 x  48     all branches upsampled and concatenated, 1x1, BN, ReLU; 1x1
    head v2p          K x  64 x  48     a pyramid of v2's mixture; heatmaps of its four levels, upsampled, averaged
    argmax            K x  2            a quarter of a cell towards the higher neighbour, or DARK

``head="v1"`` is the paper's for pose. The TPAMI paper has V2 for segmentation and V2p for detection (section 3.3) and
tells no more of pose; here both give heatmaps by one further 1x1 convolution.

Differences from the paper: Gaussians lie at a point itself, where the authors' code rounds it to a cell first (DARK,
Zhang et al. 2020, section 3.2), and are not cut off at three deviations. The squared error is summed over cells and
averaged over labelled points, so that a learning rate does not depend on the number of cells. A heatmap's value lies
in the middle of its cell, so that a mirrored image has mirrored heatmaps, and the flip test needs no shift by a cell.

Published weights: the authors' files (``stage2.0.branches.*``, ``final_layer.weight``) and MMPose's of the same network
load by their path; reader in ``saccade.weights.layouts``. In these a heatmap's value lies at the first pixel of its
cell: say ``cell_centre=0.125``. No address is on record. ``weights="hrnet_w32/imagenet"`` begins with the classifier's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.models.classification.base import build_backbone
from saccade.models.classification.hrnet import HRModule, HRNet
from saccade.models.keypoints.base import PeakReader, first_points, matching_loss
from saccade.models.registry import Reported, register_model
from saccade.ops.padding import pad_to_multiple
from saccade.structures.class_rows import linear_rows

__all__ = ["HEADS", "HRNetPose", "hrnet_pose", "hrnet_w32_pose", "hrnet_w48_pose"]

PAPER = "Sun et al., CVPR 2019, arXiv 1902.09212"

HEADS = ("v1", "v2", "v2p")
CROP = 1.25  # how much larger than its box a person is cut out
_STRIDE = 4
_PYRAMID = 256  # channels of V2p, those of feature pyramids
_LEVELS = (1, 2, 4, 8)  # strides of V2p's levels in cells


class HRNetPose(Model):
    """HRNet pose network: heatmaps of one object from the branches of an HRNet.

    Args:
        num_classes: Points, K.
        backbone: Builder name of an HRNet classifier.
        head: ``v1``, ``v2`` or ``v2p``.
        sigma: Standard deviation of the Gaussian that stands for a point, in heatmap cells.
        refine: How a point is read within its cell: ``quarter``, ``dark`` or ``none``
            (:class:`~saccade.models.keypoints.base.PeakReader`).
        cell_centre: Where in its cell a heatmap's value lies, 0..1 from its first edge.

    Raises:
        ConfigError: If the backbone is no HRNet, or head or refinement are unknown.

    Example:
        >>> model = HRNetPose(num_classes=17, backbone="hrnet_w18_small").eval()
        >>> model(torch.zeros(1, 3, 64, 96))["heatmaps"].shape
        torch.Size([1, 17, 16, 24])
    """

    task = "keypoints"
    single_object = True
    target_names = ("keypoints",)
    head_names = ("head",)
    class_rows = linear_rows("head")  # points are the classes

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        head: str = "v1",
        sigma: float = 2.0,
        refine: str = "quarter",
        cell_centre: float = 0.5,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ConfigError(f"head is '{head}'.{did_you_mean(head, HEADS)}")
        self.num_classes = num_classes
        self.sigma, self.cell_centre = sigma, cell_centre
        body = build_backbone(backbone)
        if not isinstance(body, HRNet):
            raise ConfigError(
                f"backbone '{backbone}' is no HRNet. Take one such as hrnet_w32, or heatmap_regression over any "
                "classifier."
            )
        self.backbone = body
        self.feature_channels, self.feature_strides = body.feature_channels, body.feature_strides
        self.kind = head
        if head == "v1":
            _keep_finest(body)
            self.feature_channels, self.feature_strides = self.feature_channels[:1], self.feature_strides[:1]
            channels = self.feature_channels[0]
        else:
            channels = self._add_neck(sum(self.feature_channels))
        self.head = nn.Conv2d(channels, num_classes, 1)
        nn.init.normal_(self.head.weight, std=0.001)  # as the authors' code does
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        self.read_peaks = PeakReader(refine, sigma, _STRIDE, cell_centre)
        self.decoded_keys = self.read_peaks.decoded_keys
        self.input_spec = replace(
            body.input_spec, size=(256, 192), resize="letterbox", pad_multiple=32, object_crops=CROP
        )
        self.stage_names = tuple(f"backbone.{name}" for name in body.stage_names)

    def _add_neck(self, channels: int) -> int:
        """Mixture of all branches, and the levels of V2p; returns the channels that the head takes."""
        if self.kind == "v2":
            mixed = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
            self.neck_names = ("neck",)
            self.neck = mixed
            return channels
        self.neck_names = ("neck", "levels")
        self.neck = nn.Sequential(nn.Conv2d(channels, _PYRAMID, 1))
        self.levels = nn.ModuleList(nn.Conv2d(_PYRAMID, _PYRAMID, 3, padding=1) for _ in _LEVELS)
        return _PYRAMID

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone; of ``v1`` the finest alone."""
        return self.backbone.features(images)

    def forward(self, images: Tensor) -> Outputs:
        """``heatmaps`` (B, K, h, w), about 0 to 1, h a quarter of H (rounded up to 32), of images (B, 3, H, W)."""
        maps = self.features(pad_to_multiple(images, 32))
        if self.kind == "v1":
            return {"heatmaps": self.head(maps[0]).float()}
        finest = maps[0].shape[-2:]
        x = self.neck(torch.cat([_upsample(one, finest) for one in maps], dim=1))  # (B, 15w, H/4, W/4)
        if self.kind == "v2":
            return {"heatmaps": self.head(x).float()}
        heatmaps = [
            _upsample(self.head(level(F.avg_pool2d(x, stride) if stride > 1 else x)), finest).float()
            for level, stride in zip(self.levels, _LEVELS, strict=True)
        ]
        return {"heatmaps": torch.stack(heatmaps).mean(0)}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``heatmap``: squared error against Gaussians of height 1 at ``keypoints`` (B, N, K, 3)."""
        heatmaps = self(images)["heatmaps"]
        size = (heatmaps.shape[-2], heatmaps.shape[-1])
        points, visible = first_points(targets, size, _STRIDE, self.cell_centre)
        return {"heatmap": matching_loss(heatmaps, points, visible, self.sigma)}

    def decode(self, outputs: Outputs) -> Decoded:
        """One object: ``keypoints`` (B, 1, K, 2) in pixels, ``point_scores`` (B, 1, K), the height of each peak."""
        return self.read_peaks(outputs["heatmaps"])


def _keep_finest(body: HRNet) -> None:
    """Take out what the last fusion makes for the coarser branches."""
    last = body.stage4[-1]
    assert isinstance(last, HRModule)
    last.fuse_layers = last.fuse_layers[:1]
    body.feature_channels, body.feature_strides = body.feature_channels[:1], body.feature_strides[:1]


def _upsample(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


@register_model("keypoints", PAPER, Reported(params=28.5e6, macs=7.10 * 2**30, source="table 1 (256 x 192)"))
def hrnet_w32_pose(
    num_classes: int = 17,
    head: str = "v1",
    sigma: float = 2.0,
    refine: str = "quarter",
    cell_centre: float = 0.5,
    weights: str | None = None,
) -> HRNetPose:
    """HRNet-W32 for pose; 28.5 M parameters, 7.6 G multiply-adds at 256 x 192.

    Args:
        num_classes: Points; 17 on COCO's persons.
        head: v1 (the paper's), v2 or v2p.
        sigma: Standard deviation of the Gaussians, in heatmap cells; the paper's 2 at 256 x 192, 3 at 384 x 288.
        refine: How a point is read within its cell: quarter, dark or none.
        cell_centre: Where in its cell a heatmap's value lies; 0.125 of weights that others published.
        weights: As everywhere.
    """
    return HRNetPose(num_classes, "hrnet_w32", head, sigma, refine, cell_centre)


@register_model("keypoints", PAPER, Reported(params=63.6e6, macs=32.9 * 2**30, source="table 1 (384 x 288)"))
def hrnet_w48_pose(
    num_classes: int = 17,
    head: str = "v1",
    sigma: float = 3.0,
    refine: str = "quarter",
    cell_centre: float = 0.5,
    weights: str | None = None,
) -> HRNetPose:
    """HRNet-W48 for pose, made for 384 x 288; 63.6 M parameters, 35.3 G multiply-adds.

    Args:
        num_classes: Points; 17 on COCO's persons.
        head: v1 (the paper's), v2 or v2p.
        sigma: Standard deviation of the Gaussians, in heatmap cells; the paper's 2 at 256 x 192, 3 at 384 x 288.
        refine: How a point is read within its cell: quarter, dark or none.
        cell_centre: Where in its cell a heatmap's value lies; 0.125 of weights that others published.
        weights: As everywhere.
    """
    model = HRNetPose(num_classes, "hrnet_w48", head, sigma, refine, cell_centre)
    model.input_spec = replace(model.input_spec, size=(384, 288))
    return model


@register_model("keypoints", PAPER)
def hrnet_pose(
    num_classes: int = 17,
    backbone: str = "hrnet_w18_small",
    head: str = "v1",
    sigma: float = 2.0,
    refine: str = "quarter",
    weights: str | None = None,
) -> HRNetPose:
    """HRNet for pose over any registered HRNet; small by default.

    Args:
        num_classes: Points.
        backbone: Builder name of the HRNet.
        head: v1 (the paper's), v2 or v2p.
        sigma: Standard deviation of the Gaussians, in heatmap cells.
        refine: How a point is read within its cell: quarter, dark or none.
        weights: As everywhere.

    Example:
        >>> model = hrnet_pose(num_classes=5, head="v2").eval()
        >>> model.predict(torch.zeros(2, 3, 64, 64))["keypoints"].shape
        torch.Size([2, 1, 5, 2])
    """
    return HRNetPose(num_classes, backbone, head, sigma, refine)
