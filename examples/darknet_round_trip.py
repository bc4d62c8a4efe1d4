"""Darknet's files in and out: a ``.cfg`` becomes a network, and its ``.weights`` come back byte for byte.

A detector in the manner of YOLOv3-tiny is described by a configuration, written as ``.weights`` with the header that
Darknet would give it, and opened again from the two files and a ``.names`` file: the same numbers, and every verb takes
it. A checkpoint of it opens without the configuration.
"""

from __future__ import annotations

from pathlib import Path

import torch

import saccade
from saccade.models.checkpoint import save_model
from saccade.weights.darknet import DarknetHeader, read_darknet_header, write_darknet

NAMES = ("red cell", "white cell", "platelet")


def configuration() -> str:
    """Six convolutions with pooling between them, and one level of three anchors."""
    sections = ["[net]\nwidth=128\nheight=128\nchannels=3"]
    for number, filters in enumerate((8, 16, 32, 64, 64)):
        sections.append(
            f"[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize=3\nstride=1\npad=1\nactivation=leaky"
        )
        sections.append(f"[maxpool]\nsize=2\nstride={1 if number == 4 else 2}")
    sections.append(f"[convolutional]\nfilters={3 * (5 + len(NAMES))}\nsize=1\nstride=1\npad=1\nactivation=linear")
    sections.append(f"[yolo]\nmask=0,1,2\nanchors=10,10, 24,24, 48,48\nclasses={len(NAMES)}\nnum=3\nignore_thresh=.7")
    return "\n\n".join(sections) + "\n"


def main(folder: Path = Path("runs/darknet_round_trip")) -> None:
    """Write the files, open them, write them again, and compare."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg, names = folder / "cells.cfg", folder / "cells.names"
    cfg.write_text(configuration())
    names.write_text("\n".join(NAMES) + "\n")
    torch.manual_seed(0)
    first = saccade.create_model("darknet_detector", cfg=cfg.read_text()).eval()
    weights = write_darknet(folder / "cells.weights", first, DarknetHeader(seen=32_013_312))

    model = saccade.load(cfg, weights=weights, class_names=names)
    print(f"{cfg.name}: {model.task}, {sum(value.numel() for value in model.parameters()):,} parameters, strides "
          f"{model.feature_strides}, classes {', '.join(model.class_names)}")  # fmt: skip

    images = torch.rand(1, 3, 128, 128)
    same = all(torch.equal(model(images)[name], value) for name, value in first(images).items())
    print(f"outputs of the network that was written and of the one that was read: {'equal' if same else 'DIFFERENT'}")

    again = write_darknet(folder / "again.weights", model, read_darknet_header(weights))
    same = again.read_bytes() == weights.read_bytes()
    print(f"{weights.stat().st_size:,} bytes, {read_darknet_header(weights).seen:,} images seen: "
          f"{'bit for bit the same' if same else 'DIFFERENT'}")  # fmt: skip

    checkpoint = save_model(model, folder / "cells.safetensors")
    opened = saccade.load(checkpoint)
    same = torch.equal(opened.predict(images)["boxes"], model.predict(images)["boxes"])
    print(f"{checkpoint.name} opens without the cfg: {'same boxes' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
