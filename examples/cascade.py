"""What a cascade gains, and why one head at a higher overlap does not: scores, and overlaps of boxes with objects.

python examples/cascade.py                     # three trainings on blood cells (BCCD), from recipes
python examples/cascade.py --choices cascade   # some of them
python examples/cascade.py --quick             # a few small scenes of digits: does it run?

Cai and Vasconcelos 2018, sections 3.2 and 4: a head is best for proposals of the quality that it learnt from. The
figure shows, for each detector, how much the regions that training samples as positives, the proposals at test, and the
boxes of each stage at test overlap the object they overlap most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import torch
from _runs import METRICS, Row, machine, markdown, measure_runs, options, scenes, scores
from torch import Tensor

from saccade.data.loading.loader import make_eval_loader
from saccade.data.loading.pipeline import EvalPipeline
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets, build_model, open_datasets
from saccade.models.checkpoint import load_model
from saccade.models.detection.base import unpack_targets
from saccade.models.detection.box_branch import SingleBoxBranch
from saccade.models.detection.cascade_branch import CascadeBranch
from saccade.models.detection.faster_rcnn import FasterRCNN
from saccade.models.detection.roi_branches import RoiSample
from saccade.models.normalize import Normalize
from saccade.ops.iou import pairwise_iou
from saccade.recipes import get_recipe

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CHOICES = {
    "faster 0.5": ("fasterrcnn_r18_bccd", 0.5),
    "faster 0.7": ("fasterrcnn_r18_bccd", 0.7),
    "cascade": ("cascade_r18_bccd", 0.5),
}
RESULTS = "cascade.json"
BINS = torch.linspace(0.3, 1.0, 15)


def best_overlaps(boxes: Tensor, objects: Tensor) -> Tensor:
    """Overlap of each box with area (N, 4) with the object (M, 4) that it overlaps most."""
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(dim=1)]
    return pairwise_iou(boxes, objects).amax(dim=1) if len(boxes) and len(objects) else boxes.new_zeros(0)


@torch.no_grad()
def histograms(model: FasterRCNN, data: Datasets, size: tuple[int, int]) -> dict[str, list[int]]:
    """Counts by overlap of the positives of training (training images), and of proposals and boxes of stages (test)."""
    counts: dict[str, Tensor] = {}

    def add(name: str, boxes: Tensor, objects: Tensor) -> None:
        counts.setdefault(name, torch.zeros(len(BINS) - 1))
        counts[name] += torch.histogram(best_overlaps(boxes, objects), BINS).hist

    normalize = Normalize(model.input_spec)
    for split, dataset in (("training", data.train), ("test", data.test)):
        assert dataset is not None
        for batch in make_eval_loader(EvalPipeline(dataset, model.input_spec, size), batch_size=4):
            images = normalize(batch.images)
            boxes, labels = unpack_targets(batch.targets)
            maps = model.features(images)
            canvas = torch.tensor(images.shape[2:], dtype=torch.float32)
            proposals, number = model.rpn.propose(model.rpn(images, maps), maps, canvas)
            valid = torch.arange(proposals.shape[1]) < number[:, None]
            if split == "training":
                samples = training_samples(model, (maps, proposals, valid, boxes, labels))
            else:
                stages = stages_at_test(model, maps, proposals)
            for image, owners in enumerate(labels):
                objects = boxes[image, owners >= 0]
                if split == "training":
                    for stage, sample in enumerate(samples, start=1):
                        add(f"training, head {stage}", sample.boxes_xyxy[image, sample.positive[image]], objects)
                else:
                    for stage, found in enumerate(stages, start=1):
                        add(
                            "test, proposals" if stage == 1 else f"test, boxes of head {stage - 1}",
                            found[image],
                            objects,
                        )
    return {name: [int(value) for value in values] for name, values in counts.items()}


def training_samples(
    model: FasterRCNN, given: tuple[Sequence[Tensor], Tensor, Tensor, Tensor, Tensor]
) -> list[RoiSample]:
    """What the heads learn from, head by head."""
    branch = model.box_branch
    if isinstance(branch, CascadeBranch):
        return branch.stage_losses(*given)[1]
    return [branch.loss(*given)[1]]


def stages_at_test(model: FasterRCNN, maps: Sequence[Tensor], proposals: Tensor) -> list[Tensor]:
    """Proposals, and the boxes into which head after head moves them."""
    branch = model.box_branch
    return branch.stage_boxes(maps, proposals) if isinstance(branch, CascadeBranch) else [proposals]


def draw(results: Mapping[str, Row], file: Path) -> None:
    """One panel a detector: shares by overlap."""
    figure, axes = plt.subplots(1, len(results), figsize=(5 * len(results), 4), sharey=True, squeeze=False)
    middles = ((BINS[1:] + BINS[:-1]) / 2).tolist()
    for panel, row in zip(axes[0], results.values(), strict=True):
        for name, values in row["overlaps"].items():
            total = max(1, sum(values))
            style = "--" if name.startswith("training") else "-"
            panel.plot(middles, [value / total for value in values], style, label=name)
        panel.set(title=row["choice"], xlabel="overlap with the nearest object")
        panel.legend(fontsize=7)
    axes[0, 0].set_ylabel("share of regions above 0.3")
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def settings(choice: str, seed: int, out: Path, quick: bool) -> TrainConfig:
    config = get_recipe(CHOICES[choice][0])
    config.name, config.seed, config.out = f"cascade_{choice.replace(' ', '_')}_{seed}", seed, str(out)
    if quick:
        config.epochs, config.phases, config.data.workers = 1, (), 0
        config.data.source, config.data.train, config.data.size = "digit_scenes", "crowded", (64, 64)
        config.model_args |= {"backbone": "mobilenet_v3_small", "channels": 8, "hidden": 16, "proposals": 40}
        config.schedule.warmup_epochs = 0.0
    return config


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        return [row["choice"], *scores(row), f"{row['minutes']:.1f}", str(row["seed"])]

    return markdown(("detector", *METRICS, "minutes of training", "seed"), results, cells)


def main(out: Path, choices: tuple[str, ...] = ("faster 0.7", "cascade"), seed: int = 0, quick: bool = True) -> str:
    names = {settings(choice, seed, out, quick).name: choice for choice in choices}

    def measure(key: str) -> Row:
        choice = names[key]
        config = settings(choice, seed, out, quick)
        data = scenes(64, 8) if quick else open_datasets(config)
        seed_step(seed, -1)
        model = build_model(config, data.train.info)
        assert isinstance(model, FasterRCNN)
        if isinstance(model.box_branch, SingleBoxBranch):
            model.box_branch.sampling = replace(model.box_branch.sampling, positive=CHOICES[choice][1])
        run = fit(config, resume=True, model=model, data=data)
        kept = load_model(run.model_path).eval()
        assert isinstance(kept, FasterRCNN)
        if isinstance(kept.box_branch, SingleBoxBranch):
            kept.box_branch.sampling = replace(kept.box_branch.sampling, positive=CHOICES[choice][1])
        assert config.data.size is not None
        return {
            "choice": choice,
            **{metric: run.metrics[metric] for metric in METRICS},
            "overlaps": histograms(kept, data, config.data.size),
            "minutes": run.history[-1]["minutes"],
            "quick": quick,
            "seed": seed,
            "machine": machine(),
        }

    results = measure_runs(out / RESULTS, names, {"quick": quick}, measure, table)
    draw(results, out / "cascade.png")
    result = f"{table(results)}\n\nOverlaps: {out / 'cascade.png'}"
    print(result, flush=True)
    return result


if __name__ == "__main__":
    parser = options(__doc__, "choices", list(CHOICES), "runs/cascade")
    arguments = parser.parse_args()
    main(arguments.out, tuple(arguments.choices), arguments.seed, arguments.quick)
