"""Three poolings of a pyramid: the block of YOLOv3-SPP, SPPF of YOLOv5, and the fixed bins of SPP-Net.

python examples/spp.py                 # the map of a 640 pixel image: 512 channels, 20 x 20
python examples/spp.py --side 40       # another map
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOWS = (5, 9, 13)
BINS = (4, 2, 1)


def spp(x: Tensor) -> Tensor:
    """YOLOv3-SPP: three windows side by side at stride 1, concatenated with their input; a map as large as before."""
    return torch.cat([x, *(F.max_pool2d(x, window, 1, window // 2) for window in WINDOWS)], dim=1)


def sppf(x: Tensor) -> Tensor:
    """SPPF: the smallest window, three times in a row."""
    maps = [x]
    for _ in WINDOWS:
        maps.append(F.max_pool2d(maps[-1], WINDOWS[0], 1, WINDOWS[0] // 2))
    return torch.cat(maps, dim=1)


def spp_net(x: Tensor) -> Tensor:
    """SPP-Net (He et al. 2014): maxima of 4 x 4, 2 x 2 and 1 x 1 bins; a vector of one length for maps of any size."""
    return torch.cat([F.adaptive_max_pool2d(x, bins).flatten(1) for bins in BINS], dim=1)


def milliseconds(pool: Callable[[Tensor], Tensor], x: Tensor, repeats: int) -> float:
    """Median of several runs, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        pool(x)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times[1:])


def main(out: Path, channels: int = 16, side: int = 10, repeats: int = 3) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, channels, side, side).to(memory_format=torch.channels_last)
    other = torch.randn(1, channels, side + 3, 2 * side)
    poolings: dict[str, Callable[[Tensor], Tensor]] = {
        "SPP (5, 9, 13)": spp,
        "SPPF (5, 5, 5)": sppf,
        "SPP-Net (4, 2, 1)": spp_net,
    }
    rows = ["| pooling | output | output of another size | equals SPP | ms |", "|---|---|---|---|---:|"]
    for name, pool in poolings.items():
        found, expected = pool(x), spp(x)
        same = "bit for bit" if torch.equal(found, expected) else "no: another thing"
        shapes = " | ".join(" x ".join(map(str, pool(one).shape[1:])) for one in (x, other))
        rows.append(f"| {name} | {shapes} | {same} | {milliseconds(pool, x, repeats):.2f} |")
    rows += ["", f"Map of {channels} x {side} x {side}, {torch.get_num_threads()} threads, median of {repeats}."]
    text = "\n".join(rows)
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / "spp.md").write_text(text + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/spp"))
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--side", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    main(arguments.out, arguments.channels, arguments.side, arguments.repeats)
