"""Every example runs from its first line to its last, and prints what it is there to show."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

PRINTS = {
    "assignment_pictures.py": "retinanet: 2 objects, positives P3",
    "box_loss_simulation.py": "| CIoU | 3.",
    "box_losses_yolov3.py": "| CIoU | ",
    "cascade.py": "| cascade | ",
    "compare_detectors.py": "| `fcos_r18_bccd` |",
    "compare_line.py": "shufflenet_v2_x1_0",
    "compare_segmenters.py": "| `unetpp_camvid`, pruned to L1 |",
    "convert_round_trip.py": "images came back",
    "crf_refine.py": "| dense CRF, learnt compatibility | ",
    "crowd.py": "ground truth, then each detector: ",
    "cycle_or_not.py": "| half a cycle | ",
    "darknet_round_trip.py": "bit for bit the same",
    "dilation_choices.py": "| stride 16 without multi-grid |",
    "dsnt_choices.py": "| fully connected | 4 x 4 |",
    "export_and_compare.py": "same numbers",
    "fcos_choices.py": "| softmax |",
    "features_of_any_classifier.py": "unet over resnet18: (1, 5, 224, 224)",
    "first_classifier.py": "the report is",
    "focal_loss.py": "| RetinaNet, focal, gamma 2, alpha 0.25 | 30 % |",
    "hdc.py": "| 1, 2, 9 | 3, 5, 9 | no | 1 | 25 x 25 | 71 % | grids |",
    "identity_mappings.py": "original",
    "int8_families.py": "| `resnet20_cifar` | top1 | ",
    "joint_or_steps.py": "| steps | ",
    "mask_choices.py": "| pool |",
    "omniglot_runs.py": "| mean of 2 | ",
    "progressive_learning.py": "fixed size",
    "pyramids.py": "| (a) featurised image pyramid |",
    "rcnn_line_speed.py": "| Faster R-CNN |",
    "roi_align_misalignment.py": "665 / 32 = 20.78 steps of the map",
    "segmentation_losses.py": "| Dice |",
    "spp.py": "| SPPF (5, 5, 5) | 64 x 10 x 10 | 64 x 13 x 20 | bit for bit |",
    "transfer.py": "The old head, kept beside the new one",
    "tune_digits.py": "| best of 2 trials |",
    "unet_choices.py": "| elastic deformation and weight map |",
    "yolo_line.py": "| `yolov5n_bccd` |",
    "yolov5_tricks.py": "| anchors: AutoAnchor |",
}


def test_every_example_is_listed() -> None:
    assert sorted(PRINTS) == sorted(file.name for file in EXAMPLES.glob("[!_]*.py"))


# Those that need real data.
REAL = {
    "compare_line.py": "intel_scenes",
    "identity_mappings.py": "intel_scenes",
    "omniglot_runs.py": "omniglot",
    "progressive_learning.py": "intel_scenes",
    "transfer.py": "intel_scenes",
}


def _load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)  # what several examples share lies beside them
    spec = importlib.util.spec_from_file_location(name.removesuffix(".py"), EXAMPLES / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.data(REAL[name])) if name in REAL else name for name in sorted(PRINTS)],
)
def test_example(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _load(name, monkeypatch).main(tmp_path)
    printed = capsys.readouterr().out
    assert PRINTS[name] in printed
    assert "DIFFERENT" not in printed


@pytest.mark.data("bccd")
def test_times_alone_need_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = _load("compare_detectors.py", monkeypatch).times(("yolox_nano_bccd",), rounds=1)
    assert re.search(r"^\| `yolox_nano_bccd` \| 256 x 320 \| [\d.]+ \|$", printed, flags=re.M)
