"""``make bench``: every benchmark here, each in its own process, as a table and ``benchmarks/results.json``.

A benchmark is a file with ``run() -> list[Figure]``. ``python -m benchmarks NAME ...`` runs only those and
leaves the file as it is. A whole run also renews the table of ``docs/benchmarks.md``; ``python -m benchmarks
--write-docs`` does that alone, from the file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import machine, print_machine
from benchmarks.docs_table import RESULTS, write_docs

FOLDER = Path(__file__).parent
# What the command line sets before it loads torch; the rest of the benchmarks has the default of torch.
ENVIRONMENT = {"training_step": {"GOMP_SPINCOUNT": "20000"}}
NOT_BENCHMARKS = {"__init__", "__main__", "common", "docs_table"}


def main(names: list[str]) -> int:
    """Run, print, write; the exit code is 1 if a benchmark broke, not if a promise was missed."""
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    available = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem not in NOT_BENCHMARKS)
    unknown = set(names) - set(available)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}. There are: {', '.join(available)}", file=sys.stderr)
        return 2
    print_machine()
    broken = []
    rows: list[dict[str, Any]] = []
    for name in names or available:
        print(f"\n{name} ...", flush=True)
        figures = _run_apart(name)
        if figures is None:
            broken.append(name)
            continue
        rows += [{"benchmark": name, **figure} for figure in figures]
        for figure in figures:
            _print_row(figure)
    if not names:
        values = {"machine": machine(), "figures": rows, "broken": broken}
        RESULTS.write_text(json.dumps(values, indent=1) + "\n")
        write_docs()
    missed = [row["name"] for row in rows if row["met"] is False]
    print(f"\n{len(rows)} figures; missed: {', '.join(missed) or 'none'}; broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


def _run_apart(name: str) -> list[dict[str, Any]] | None:
    """One benchmark in a fresh process, so that none warms or burdens the next."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.json"
        code = (
            f"import json, pathlib; from benchmarks.{name} import run; "
            f"pathlib.Path({str(target)!r}).write_text(json.dumps([figure.to_dict() for figure in run()]))"
        )
        environment = {**os.environ, **ENVIRONMENT.get(name, {})}
        done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, env=environment)
        return json.loads(target.read_text()) if done.returncode == 0 else None


def _print_row(figure: dict[str, Any]) -> None:
    bound = ""
    if figure["bound"] is not None:
        sign = ">=" if figure["at_least"] else "<="
        bound = f"{sign} {figure['bound']:g} {figure['unit']}: {'met' if figure['met'] else 'MISSED'}"
    print(f"  {figure['name']:<48} {figure['value']:>10.3f} {figure['unit']:<10} {bound}  {figure['note']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run; all, if none is named")
    parser.add_argument("--write-docs", action="store_true", help="only renew the table of docs/benchmarks.md")
    arguments = parser.parse_args()
    if arguments.write_docs:
        write_docs()
    else:
        sys.exit(main(arguments.names))
