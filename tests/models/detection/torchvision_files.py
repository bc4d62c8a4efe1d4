"""Files as torchvision publishes detectors, and a pass of its networks, for the tests of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList


def older_pyramid(name: str) -> str:
    """Name of a weight of the feature pyramid in older releases."""
    for index in range(4):
        name = name.replace(f"_blocks.{index}.0.", f"_blocks.{index}.")
    return name


@contextmanager
def published_file(row: Any, state: Mapping[str, Tensor], cache: Path) -> Iterator[Path]:
    """A file of weights where a download of it would lie."""
    path = cache / "weights" / row.file_name
    path.parent.mkdir()
    torch.save(dict(state), path)
    path.with_name(f"{path.name}.sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SACCADE_CACHE", str(cache))
        yield path


def check_names(ours: Any, row: Any) -> None:
    """A network that was made of a published file of COCO has the 80 classes that are used, and says where from."""
    assert ours.num_classes == 80
    assert ours.class_names[:2] == ("person", "bicycle")
    assert ours.class_names[-1] == "toothbrush"
    assert row.sha256_prefix in row.url


def their_pass(model: Any, images: Tensor, anchors: int) -> tuple[dict[str, Tensor], list[Tensor], list[int]]:
    """Raw outputs, anchors of each image, and anchors of each level, of a network of torchvision."""
    maps = list(model.backbone(images).values())
    regions = model.anchor_generator(ImageList(images, [tuple(images.shape[-2:])] * len(images)), maps)
    return model.head(maps), regions, [level.shape[2] * level.shape[3] * anchors for level in maps]
