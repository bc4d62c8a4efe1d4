"""The speed-up of the R-CNN line: the same twenty photographs, the same small backbone, four detectors.

Seconds an image at test and an epoch in training, and the share of the proposals: selective search for R-CNN, SPP-Net
and Fast R-CNN, a network over shared maps for Faster R-CNN. Two pictures of the papers come out of it: convolutions
shared by all proposals (SPP-Net, Fast R-CNN), then proposals from the same maps (Faster R-CNN).

python examples/rcnn_line_speed.py                            # writes docs/results/rcnn_line_speed.md and its picture
python examples/rcnn_line_speed.py --count 4 --proposals 200  # a quick try
python examples/rcnn_line_speed.py --proposals 2000           # as many as in the papers

An epoch of R-CNN and SPP-Net is one of fine-tuning; their support vector machines and box regressors, which pass over
the features of all images, have a column of their own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from _runs import Row, machine, markdown, measure_runs

import saccade
from saccade.data.catalogue.catalogue import is_present
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.combine import subset
from saccade.data.derived.proposals import ProposalDataset, add_proposals
from saccade.data.derived.selective_search import SelectiveSearch, selective_search
from saccade.data.loading.loader import make_train_loader
from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import EpochSampler
from saccade.data.open import open_dataset
from saccade.data.transforms.config import AugmentConfig
from saccade.models.base import Model
from saccade.models.normalize import Normalize
from saccade.structures.batch import Batch
from saccade.structures.dataset import VisionDataset
from saccade.structures.kinds import select_inputs

DOCS = Path(__file__).parents[1] / "docs"

# Network, its options beside the backbone, and how the paper's own figure reads at test, seconds an image (VGG-16 on a
# K40: Girshick 2015, table 4; Ren et al. 2015, table 5; R-CNN and SPP-Net without the 2 seconds of selective search).
LINE: dict[str, tuple[str, dict[str, Any], float]] = {
    "R-CNN": ("rcnn", {"region_size": 112, "context": 8}, 47.0),
    "SPP-Net": ("spp_net", {"hidden": 1024}, 2.3),
    "Fast R-CNN": ("fast_rcnn", {"hidden": 1024}, 0.32),
    "Faster R-CNN": ("fasterrcnn", {"hidden": 1024, "channels": 128, "proposals": 300}, 0.2),
}


class Batches:
    """Images of a data set in batches of two, for a network."""

    def __init__(self, data: VisionDataset, model: Model) -> None:
        self.data, self.model = data, model
        self.normalize = Normalize(model.input_spec)

    def pairs(self) -> Iterator[Batch]:
        """One epoch, normalised."""
        pipeline = TrainPipeline(self.data, self.model.input_spec, [AugmentConfig()], 0)
        sampler = EpochSampler(len(self.data), batch_size=2)
        sampler.set_epoch(0)
        for batch in make_train_loader(pipeline, sampler, 0):
            yield Batch(self.normalize(batch.images), batch.targets, batch.infos, batch.originals, batch.inputs)

    def inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        """What the network takes beside the images."""
        return select_inputs(self.model.input_names, batch.inputs, self.model.builder_name)


def search_seconds(data: VisionDataset, settings: SelectiveSearch) -> float:
    """Seconds of selective search an image, on one thread."""
    images = [data.read(index).image for index in range(len(data))]
    start = time.perf_counter()
    for image in images:
        selective_search(image, settings)
    return (time.perf_counter() - start) / len(images)


def predict_seconds(batches: Batches) -> float:
    """Seconds of the network an image, one at a time; the first is not measured."""
    model, seconds = batches.model.eval(), []
    with torch.inference_mode():
        for batch in batches.pairs():
            inputs = batches.inputs(batch)
            for one in range(len(batch.images)):
                own = {name: value[one : one + 1] for name, value in inputs.items()}
                start = time.perf_counter()
                model.predict(batch.images[one : one + 1], **own)
                seconds.append(time.perf_counter() - start)
    return sum(seconds[1:]) / len(seconds[1:])


def epoch_seconds(batches: Batches) -> float:
    """Seconds of an epoch of gradient steps."""
    model = batches.model.train()
    if model.builder_name == "spp_net":  # what lies below its pooling is fixed
        for name in model.stage_names:
            model.get_submodule(name).requires_grad_(False)
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=1e-3, momentum=0.9)
    start = time.perf_counter()
    for batch in batches.pairs():
        loss = sum(model.loss(batch.images, batch.targets, **batches.inputs(batch)).values())
        assert isinstance(loss, torch.Tensor)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start


def solve_seconds(batches: Batches, folder: Path) -> float:
    """Seconds of the steps without gradients; 0 for networks that have none."""
    model = batches.model.eval()
    if model.builder_name not in ("rcnn", "spp_net"):
        return 0.0
    model.work_folder = folder / model.builder_name
    start = time.perf_counter()
    for step in ("svm", "boxes"):
        model.solve(step, batches.pairs())
    return time.perf_counter() - start


def photographs(count: int, size: int) -> VisionDataset:
    """Photographs of PASCAL VOC, or scenes of digits where those are not on this machine."""
    if is_present("voc100_multiformat"):
        return subset(open_dataset("voc100_multiformat", "all"), range(count), "all")
    return DigitScenes("detection", "train", count=count, size=(size, size))


def build(name: str, backbone: str, size: int, classes: int) -> Model:
    builder, options, _ = LINE[name]
    torch.manual_seed(0)
    model = saccade.create_model(builder, num_classes=classes, **{**options, "backbone": backbone})
    model.input_spec = model.input_spec.with_size((size, size))
    return model


def measure(name: str, data: ProposalDataset, search: float, arguments: argparse.Namespace) -> Row:
    """Times of one detector."""
    model = build(name, arguments.backbone, arguments.size, len(data.info.class_names))
    batches = Batches(data, model)
    proposals = search if model.input_names else 0.0
    with tempfile.TemporaryDirectory() as folder:
        return {
            "machine": machine(),
            "backbone": arguments.backbone,
            "size": arguments.size,
            "count": len(data),
            "proposals": arguments.proposals,
            "search": proposals,
            "network": predict_seconds(batches),
            "epoch": epoch_seconds(batches),
            "solve": solve_seconds(batches, Path(folder)),
        }


def table(rows: dict[str, Row]) -> str:
    titles = ["detector", "test, s an image", "of it proposals", "network alone, s"]
    titles += ["epoch, s", "machines and boxes, s", "paper, s an image"]

    def cells(name: str, row: Row) -> Sequence[str]:
        test = row["search"] + row["network"]
        return (
            name,
            f"{test:.3f}",
            f"{100 * row['search'] / test:.0f} %",
            f"{row['network']:.3f}",
            f"{row['epoch']:.1f}",
            f"{row['solve']:.1f}",
            f"{LINE[name][2]:g}",
        )

    return markdown(titles, rows, cells)


def draw(rows: dict[str, Row], file: Path) -> None:
    """Seconds an image at test, proposals and network, and of an epoch, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    test, training = figure.subplots(1, 2)
    names = list(rows)
    test.plot(names, [LINE[name][2] for name in names], "o--", color="0.6", label="paper, without selective search")
    test.plot(names, [rows[name]["network"] for name in names], "o-", label="network")
    test.plot(names, [rows[name]["network"] + rows[name]["search"] for name in names], "s-", label="with proposals")
    training.plot(names, [rows[name]["epoch"] for name in names], "o-", label="an epoch")
    whole = [rows[name]["epoch"] + rows[name]["solve"] for name in names]
    training.plot(names, whole, "s-", label="with machines, boxes")
    for axes, title in ((test, "test, seconds an image"), (training, "training, seconds")):
        axes.set_yscale("log")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def parse(text: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(LINE), choices=list(LINE))
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--proposals", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("runs") / "rcnn_line_speed")
    return parser.parse_args(text)


def main(out: Path, arguments: argparse.Namespace | None = None) -> str:
    small = ["--backbone", "mobilenet_v3_small", "--size", "64", "--count", "2", "--proposals", "20"]
    arguments = arguments or parse(small)
    data = photographs(arguments.count, arguments.size)
    settings = SelectiveSearch(count=arguments.proposals)
    search = search_seconds(data, settings)
    with_proposals = add_proposals(data, settings, folder=out / "proposals", workers=0)
    same = {key: getattr(arguments, key) for key in ("backbone", "size", "proposals")} | {"count": len(data)}
    rows = measure_runs(
        out / "rcnn_line_speed.json",
        arguments.names,
        same,
        lambda name: measure(name, with_proposals, search, arguments),
        table,
    )
    rows = {name: rows[name] for name in arguments.names}
    draw(rows, out / "rcnn_line_speed.png")
    text = table(rows)
    print(text)
    return text


if __name__ == "__main__":
    options = parse()
    text = main(options.out, options)
    page = DOCS / "results" / "rcnn_line_speed.md"
    if page.is_file() and vars(options) == vars(parse([])):
        head, mark, _ = page.read_text().partition("<!-- measured -->")
        page.write_text(f"{head}{mark}\n{text}\n")
        (options.out / "rcnn_line_speed.png").replace(DOCS / "images" / "rcnn_line_speed.png")
