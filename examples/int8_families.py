"""What int8 costs and saves, family by family: accuracy on real data, size of the file, milliseconds an image.

python examples/int8_families.py --models runs/a runs/b            # each on the data of its run
python examples/int8_families.py --models a.safetensors --data DATA --split test
python examples/int8_families.py --train lenet5_mnist yolox_nano_bccd  # trains recipes first
python examples/int8_families.py --models runs/a --max-drop AP=0.01    # layers in float until it holds

Every network is calibrated on 300 of its training images and scored on all images of the split, in float32 and in int8,
by the evaluator of its task; times are those of one canvas at batch 1, decoding included. The table is written as
int8_families.md into --out, with a row a network as soon as it is measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _runs import Row, machine, markdown, measure_runs, milliseconds

import saccade
from saccade.deploy.openvino_file import OpenVinoFileRuntime
from saccade.deploy.runtime import open_runtime
from saccade.engine.train.configfile import load_config
from saccade.models.checkpoint import find_checkpoint, save_model

TITLES = ("network", "figure", "float32", "int8", "in float", "MB", "MB int8", "ms", "ms int8", "faster")


def data_of(model: Path) -> str:
    """The data of the run that a checkpoint lies in."""
    config = model / "config.yaml" if model.is_dir() else model.parent / "config.yaml"
    if not config.is_file():
        raise SystemExit(f"'{model}' lies in no folder of a run that names its data. Name them: --data DATA.")
    return str(load_config(config).data.source)


def measure(model: Path, given: argparse.Namespace) -> Row:
    """One row: exported twice, scored twice, timed twice."""
    folder = given.out / "files" / model.stem / (model.parent.name if model.is_file() else "")
    folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"precision": "int8", "calibrate": given.data or data_of(model), "split": given.split}
    small = saccade.export(str(model), given.format, folder / "int8", max_drop=given.max_drop, **options)
    whole = saccade.export(str(model), given.format, folder / "float32")
    report = small.int8
    assert report is not None
    exact = OpenVinoFileRuntime(whole.path, "32") if given.format == "openvino" else open_runtime(whole.path)
    figure, (before, after) = next(iter(small.metrics.items()))
    return {
        "network": saccade.load(find_checkpoint(model)).builder_name,
        "figure": figure,
        "before": before,
        "after": after,
        "layers": report.layers,
        "in_float": len(report.float_layers),
        "bytes": list(report.size),
        "ms": milliseconds(exact, exact.input_spec, given.rounds),
        "ms_int8": milliseconds(open_runtime(small.path), exact.input_spec, given.rounds),
        "machine": machine(),
        **same_of(given),
    }


def same_of(given: argparse.Namespace) -> dict[str, Any]:
    """What a row was measured with."""
    return {"format": given.format, "max_drop": list(given.max_drop), "data": given.data, "split": given.split}


def table(rows: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> Sequence[str]:
        return (
            f"`{row['network']}`",
            row["figure"],
            f"{row['before']:.4f}",
            f"{row['after']:.4f}",
            f"{row['in_float']} of {row['layers']}",
            *(f"{size / 1e6:.1f}" for size in row["bytes"]),
            f"{row['ms']:.1f}",
            f"{row['ms_int8']:.1f}",
            f"{row['ms'] / row['ms_int8']:.2f} x",
        )

    return markdown(TITLES, rows, cells)


def trained(recipe: str, out: Path) -> Path:
    """The folder of a run of a recipe."""
    config = saccade.recipe(recipe)
    config.name, config.out = recipe, str(out / "runs")
    return saccade.train(config).model_path


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=Path, default=[], metavar="CHECKPOINT")
    parser.add_argument("--train", nargs="+", default=[], metavar="RECIPE")
    parser.add_argument("--data", default=None, help="data of all of them; those of their runs if not given")
    parser.add_argument("--split", default=None, help="images that score; test, else val if not given")
    parser.add_argument("--max-drop", nargs="+", default=[], metavar="FIGURE=DROP")
    parser.add_argument("--format", default="openvino", choices=("openvino", "onnx"))
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("runs") / "int8_families")
    return parser.parse_args(words)


def quick(out: Path) -> argparse.Namespace:
    """A network of random weights on scenes of digits: does it run?"""
    model = saccade.create_model("resnet20_cifar", num_classes=10)
    model.class_names = tuple("0123456789")
    path = save_model(model, out / "quick" / "best.safetensors")
    return parse(["--models", str(path), "--data", "digit_scenes", "--rounds", "2", "--out", str(out)])


def main(out: Path, given: argparse.Namespace | None = None) -> str:
    given = given or quick(out)
    models = [*given.models, *(trained(recipe, given.out) for recipe in given.train)]
    if not models:
        raise SystemExit("there is nothing to measure. Name checkpoints (--models) or recipes (--train).")
    names = {str(model): model for model in models}
    file = given.out / "int8_families.json"
    rows = measure_runs(file, names, same_of(given), lambda name: measure(names[name], given), table)
    text = table({name: rows[name] for name in names})
    (given.out / "int8_families.md").write_text(f"{text}\n")
    print(text)
    return text


if __name__ == "__main__":
    options = parse()
    main(options.out, options)
