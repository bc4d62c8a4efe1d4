"""A data set through four formats and back, with an account of what each conversion kept and lost. A few seconds.

python examples/convert_round_trip.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.open import open_dataset
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import LossReport
from saccade.data.writers.convert import convert
from saccade.data.writers.voc import write
from saccade.structures.dataset import DatasetInfo

FORMATS = ("coco", "yolo", "labelme", "voc")


def make_voc(root: Path) -> None:
    """Four generated scenes as a VOC folder; every third digit is marked as difficult."""
    scenes = DigitScenes("detection", "train", count=4, size=(128, 128))
    builder = TableBuilder(scenes.info.class_names)
    count = 0
    for index in range(len(scenes)):
        sample = scenes.read(index)
        file = root / "images" / f"scene_{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), sample.image[..., ::-1])
        builder.add_image(f"images/{file.name}", size=sample.size)
        for label, box in zip(sample.target["labels"], sample.target["boxes"], strict=True):
            marks = {"pose": "Frontal", "difficult": int(count % 3 == 0)}
            builder.add_object(scenes.info.class_names[label], box.tolist(), attributes=marks)
            count += 1
    data = TableDataset(DatasetInfo("scenes", "detection", scenes.info.class_names), root, builder.build())
    write(data, root / "voc", "train", "copy", LossReport("digit_scenes", "voc"))


def main(out: Path) -> None:
    make_voc(out / "start")
    source = out / "start" / "voc"
    for name in FORMATS:
        report = convert(source, out / name, name)
        print(f"{report.source} -> {report.target}: {'nothing lost' if report.lossless else 'with losses'}")
        for row in report.rows():
            why = f" ({row['why']})" if row["why"] else ""
            print(f"  {row['fate']:8}{row['count']:4} {row['what']}{why}")
        source = out / name

    before, after = open_dataset(out / "start" / "voc", "train"), open_dataset(out / "voc", "train")
    order = {Path(after.path(index)).name: index for index in range(len(after))}
    largest = 0.0
    for index in range(len(before)):
        one, other = before.target(index), after.target(order[Path(before.path(index)).name])
        assert one["labels"].tolist() == other["labels"].tolist()
        largest = max(largest, float(np.abs(one["boxes"] - other["boxes"]).max()))
    print(f"{len(before)} images came back; the largest difference of an edge is {largest:.1e} pixels")


if __name__ == "__main__":
    main(Path(tempfile.mkdtemp(prefix="saccade-")))
