"""Export a network to ONNX and OpenVINO and prove that the files give the same numbers. Half a minute on two cores.

python examples/export_and_compare.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import saccade


def main(out: Path) -> None:
    model = saccade.create_model("resnet18", num_classes=3)
    model.class_names = ("cat", "dog", "bird")
    for kind, suffix in (("onnx", ".onnx"), ("openvino", ".xml")):
        result = saccade.export(model, format=kind, path=out / f"resnet18{suffix}", verify=True)
        print(result.parity)


if __name__ == "__main__":
    main(Path(tempfile.mkdtemp(prefix="saccade-")))
