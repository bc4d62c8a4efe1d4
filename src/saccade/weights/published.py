"""Published checkpoints that Saccade's models load.

Where they are, how they are verified, under which licence they stand, what their authors measured. Claimed metrics are
the publisher's, on the data set and split named in the key; what Saccade measures itself stands in its benchmarks.
torchvision puts the first eight digits of the sha256 into the file name, and publishes no more; the YOLOX release
publishes no hash at all. A file without a full hash is recorded when it is first downloaded and compared with that
record from then on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from saccade.errors import WeightsError, did_you_mean
from saccade.weights.download import download, sha256_of
from saccade.weights.files import atomic_write

__all__ = ["PUBLISHED", "PublishedWeights", "cache_folder", "fetch_published", "find_published"]

logger = logging.getLogger("saccade")


@dataclass(frozen=True)
class PublishedWeights:
    """One published file.

    Args:
        builder: Builder it is for.
        name: What ``weights=`` takes: ``imagenet``, ``coco``.
        url: Where it is.
        layout: Name of the layout it comes in.
        licence: SPDX identifier of the project that publishes it, and what else binds its use.
        num_classes: Classes of its head.
        class_names_source: List its classes are named by.
        claimed: Metrics its publisher states.
        sha256: Full hash, where the publisher gives one.
        sha256_prefix: First digits of it, where that is all the publisher gives.
        preprocessing: Fields of the input spec in which it differs from its builder.
    """

    builder: str
    name: str
    url: str
    layout: str
    licence: str
    num_classes: int
    class_names_source: Literal["imagenet", "coco"]
    claimed: Mapping[str, float]
    sha256: str | None = None
    sha256_prefix: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """Name in the cache; that of two publishers never clashes because the builder stands before it."""
        return f"{self.builder}-{self.name}-{self.url.rsplit('/', 1)[1]}"

    def class_names(self) -> tuple[str, ...]:
        """Names of classes 0..N-1, from the lists that torchvision carries."""
        from torchvision.models import ResNet18_Weights
        from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

        if self.class_names_source == "imagenet":
            return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
        # 91 columns there: the background and ten ids that COCO never used.
        names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
        return tuple(name for name in names if name not in ("__background__", "N/A"))


def _resnet(
    builder: str, file: str, top1: float, top5: float, name: str = "imagenet", **preprocessing: Any
) -> PublishedWeights:
    return PublishedWeights(
        builder=builder,
        name=name,
        url=f"https://download.pytorch.org/models/{file}",
        layout="torchvision ResNet",
        licence="BSD-3-Clause (torchvision); trained on ImageNet-1K, whose own terms apply",
        num_classes=1000,
        class_names_source="imagenet",
        claimed={"ImageNet-1K val top-1": top1, "ImageNet-1K val top-5": top5},
        sha256_prefix=file.removesuffix(".pth").rsplit("-", 1)[1],
        preprocessing=preprocessing,
    )


def _yolox(builder: str, file: str, **claimed: float) -> PublishedWeights:
    return PublishedWeights(
        builder=builder,
        name="coco",
        url=f"https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/{file}",
        layout="official YOLOX",
        licence="Apache-2.0 (Megvii YOLOX 0.1.1rc0); trained on COCO 2017, whose own terms apply",
        num_classes=80,
        class_names_source="coco",
        claimed={f"COCO 2017 {split} AP": value for split, value in claimed.items()},
    )


_V2: dict[str, Any] = {"name": "imagenet_v2", "crop_fraction": 224 / 232}

_TABLE = (
    # Figures and file names: the metadata of torchvision's ResNet*_Weights.
    _resnet("resnet18", "resnet18-f37072fd.pth", 69.758, 89.078),
    _resnet("resnet34", "resnet34-b627a593.pth", 73.314, 91.420),
    _resnet("resnet50", "resnet50-0676ba61.pth", 76.130, 92.862),
    _resnet("resnet50", "resnet50-11ad3fa6.pth", 80.858, 95.434, **_V2),
    _resnet("resnet101", "resnet101-63fe2227.pth", 77.374, 93.546),
    _resnet("resnet101", "resnet101-cd907fc2.pth", 81.886, 95.780, **_V2),
    _resnet("resnet152", "resnet152-394f9c45.pth", 78.312, 94.046),
    _resnet("resnet152", "resnet152-f82ba261.pth", 82.284, 96.002, **_V2),
    # Figures and file names: the benchmark table in the README of the YOLOX repository.
    _yolox("yolox_nano", "yolox_nano.pth", val=25.8),
    _yolox("yolox_tiny", "yolox_tiny.pth", val=32.8),
    _yolox("yolox_s", "yolox_s.pth", val=40.5, test=40.5),
    _yolox("yolox_m", "yolox_m.pth", val=46.9, test=47.2),
    _yolox("yolox_l", "yolox_l.pth", val=49.7, test=50.1),
    _yolox("yolox_x", "yolox_x.pth", val=51.1, test=51.5),
    _yolox("yolox_darknet53", "yolox_darknet.pth", val=47.7, test=48.0),
)

PUBLISHED: dict[str, PublishedWeights] = {f"{entry.builder}/{entry.name}": entry for entry in _TABLE}


def find_published(builder: str, name: str) -> PublishedWeights:
    """Row of the table.

    Args:
        builder: Builder of the model that asks.
        name: ``imagenet``, or with the builder before it: ``resnet50/imagenet``.

    Raises:
        WeightsError: If there is none; the message says what there is for this builder.
    """
    key = name if "/" in name else f"{builder}/{name}"
    if key in PUBLISHED:
        return PUBLISHED[key]
    mine = [entry.name for entry in PUBLISHED.values() if entry.builder == builder]
    known = (
        f"Published for '{builder}': {', '.join(mine)}."
        if mine
        else f"Nothing is published for '{builder or 'this model'}'."
    )
    raise WeightsError(
        f"no weights '{name}': neither a file nor published weights. {known}{did_you_mean(name, mine) if mine else ''}"
    )


def cache_folder() -> Path:
    """Where downloads are kept: ``$SACCADE_CACHE/weights``, or ``~/.cache/saccade/weights``."""
    root = os.environ.get("SACCADE_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "saccade") / "weights"


def fetch_published(entry: PublishedWeights, folder: Path | None = None) -> Path:
    """The file of ``entry``, from the cache or downloaded, and verified.

    Args:
        entry: Row of the table.
        folder: Cache; :func:`cache_folder` if not given.

    Raises:
        WeightsError: If it cannot be downloaded, or is not the file it should be.
    """
    folder = cache_folder() if folder is None else folder
    path = folder / entry.file_name
    record = path.with_name(f"{path.name}.sha256")
    expected = entry.sha256 or (record.read_text().strip() if record.is_file() else None) or entry.sha256_prefix
    if path.is_file():
        found = sha256_of(path)
        if expected is not None and not found.startswith(expected):
            raise WeightsError(
                f"'{path}' has changed since it was verified (sha256 {found}, expected {expected}). Delete it and ask "
                "again to download it anew."
            )
    else:
        logger.info("downloading %s (licence: %s)", entry.url, entry.licence)
        found = _download_with_bar(entry, path, expected)
    if entry.sha256 is None and not record.is_file():
        if entry.sha256_prefix is None:
            logger.info("%s: its publisher gives no hash; recorded sha256 %s on this first use", path.name, found)
        atomic_write(record, lambda target: _write_text(target, found + "\n"))
    return path


def _write_text(path: Path, text: str) -> None:
    path.write_text(text)


def _download_with_bar(entry: PublishedWeights, path: Path, expected: str | None) -> str:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(entry.file_name, total=None)
        return download(
            entry.url, path, expected, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
