"""A COCO file of a million boxes: seconds, and memory above the idle process at its highest."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import Figure

OBJECTS, IMAGES, CLASSES = 1_000_000, 100_000, 80

READ = """
import json, resource, sys, time
from pathlib import Path
from saccade.data.readers import coco
idle = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here; ru_maxrss would begin with the parent's
started = time.perf_counter()
data = coco.read(Path(sys.argv[1]), "train")
seconds = time.perf_counter() - started
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
assert len(data.table.labels) == int(sys.argv[2])
print(json.dumps({"seconds": seconds, "megabytes": (peak - idle) / 1e6}))
"""


def run() -> list[Figure]:
    """Write the file, read it in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        done = subprocess.run(
            [sys.executable, "-c", READ, folder, str(OBJECTS)], check=True, capture_output=True, text=True
        )
    values = json.loads(done.stdout.splitlines()[-1])
    note = f"{OBJECTS:,} boxes in {IMAGES:,} images, one process"
    return [
        Figure("COCO file of a million boxes", values["seconds"], "s", 15.0, note=note),
        Figure("memory above idle while it is read", values["megabytes"], "MB", 600.0, note=note),
    ]


def _write(root: Path) -> None:
    rng = np.random.default_rng(0)
    boxes = rng.random((OBJECTS, 4)) * 300
    images, classes = rng.integers(0, IMAGES, OBJECTS), rng.integers(0, CLASSES, OBJECTS)
    (root / "annotations").mkdir()
    with (root / "annotations" / "instances_train.json").open("w") as stream:
        stream.write('{"images":[')
        stream.write(
            ",".join(f'{{"id":{i},"file_name":"{i:012d}.jpg","height":640,"width":640}}' for i in range(IMAGES))
        )
        stream.write('],"categories":[')
        stream.write(",".join(f'{{"id":{i},"name":"class {i}"}}' for i in range(CLASSES)))
        stream.write('],"annotations":[')
        for i, (x, y, width, height) in enumerate(boxes.tolist()):
            stream.write(
                f'{"," if i else ""}{{"id":{i},"image_id":{images[i]},"category_id":{classes[i]},'
                f'"bbox":[{x:.2f},{y:.2f},{width:.2f},{height:.2f}],"area":{width * height:.2f},"iscrowd":0}}'
            )
        stream.write("]}")
