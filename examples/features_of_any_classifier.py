"""Any classifier is a backbone: its feature maps, their channels and strides, and a U-Net over them. Seconds.

python examples/features_of_any_classifier.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

import saccade


def main(out: Path) -> None:
    images = torch.zeros(1, 3, 224, 224)
    for name in ("resnet18", "resnet50"):
        model = saccade.create_model(name).eval()
        with torch.no_grad():
            maps = model.features(images)
        print(name, [tuple(value.shape[1:]) for value in maps], "strides", model.feature_strides)

    segmenter = saccade.create_model("unet_backbone", num_classes=5, backbone="resnet18").eval()
    with torch.no_grad():
        print("unet over resnet18:", tuple(segmenter(images)["logits"].shape))
    table = str(saccade.summary("yolox_nano"))
    print(table)
    (out / "yolox_nano.txt").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main(Path(tempfile.mkdtemp(prefix="saccade-")))
