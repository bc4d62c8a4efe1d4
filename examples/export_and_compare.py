"""Export a detector to ONNX and OpenVINO and prove that the files give the same numbers. Half a minute on two cores.

python examples/export_and_compare.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import saccade


def main(out: Path) -> None:
    model = saccade.create_model("yolox_nano", num_classes=3)
    model.class_names = ("red cell", "white cell", "platelet")
    model.score_threshold = 1e-4  # an untrained network is sure of nothing, and there must be something to compare
    for kind, suffix in (("onnx", ".onnx"), ("openvino", ".xml")):
        result = saccade.export(model, format=kind, path=out / f"yolox_nano{suffix}", verify=True)
        print(result.parity)


if __name__ == "__main__":
    main(Path(tempfile.mkdtemp(prefix="saccade-")))
