"""Gridding: which pixels rows of dilated convolutions see, and what the rule for their rates says beforehand.

python examples/hdc.py                                 # the rows of the paper, and some that test the rule
python examples/hdc.py --kernel 5 --rates 1,2,5 2,4,8
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from saccade.analysis.coverage_drawing import save_coverage
from saccade.ops.conv_arithmetic import DilationCheck, hdc_check

# Two rows that the paper recommends, two that it warns of; then a common factor of some rates and of all, neither a
# common factor nor a rate of 1, and powers of three.
RATES = ((1, 2, 3), (1, 2, 5), (2, 2, 2), (1, 2, 9), (1, 2, 4), (2, 4, 8), (2, 3, 5), (1, 3, 9))


def row(check: DilationCheck) -> str:
    cells = [
        ", ".join(map(str, check.rates)),
        ", ".join(map(str, check.max_distances)),
        "yes" if check.meets_rule else "no",
        str(check.common_factor),
        f"{len(check.counts)} x {len(check.counts)}",
        f"{100 * check.covered_share:.0f} %",
        "grids" if check.grids else "covers",
    ]
    return f"| {' | '.join(cells)} |"


def main(out: Path, kernel: int = 3, rates: Sequence[Sequence[int]] = RATES) -> None:
    checks = [hdc_check(kernel, one) for one in rates]
    print(f"kernels of {kernel} x {kernel}")
    print("| rates | M | M2 <= K | common factor | field | seen | verdict |")
    print("|---|---|---|---:|---:|---:|---|")
    for check in checks:
        print(row(check))
    out.mkdir(parents=True, exist_ok=True)
    print(f"drawing: {save_coverage(checks, out / 'coverage.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", type=int, default=3)
    parser.add_argument("--rates", nargs="+", default=[",".join(map(str, one)) for one in RATES], metavar="1,2,5")
    parser.add_argument("--out", type=Path, default=Path("runs/hdc"))
    arguments = parser.parse_args()
    main(arguments.out, arguments.kernel, [[int(rate) for rate in one.split(",")] for one in arguments.rates])
