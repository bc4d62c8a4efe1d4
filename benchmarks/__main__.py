"""``make bench``: every benchmark here, each in its own process, as a table and ``benchmarks/results.json``.

A benchmark is a file with ``run() -> list[Figure]``. ``python -m benchmarks NAME ...`` runs only those and leaves the
file as it is. A whole run takes most of an hour and writes the file anew, after every benchmark; ``python -m
benchmarks --resume`` goes on where one was stopped, on the same machine. Both renew the table of
``docs/benchmarks.md``; ``--write-docs`` does that alone, from the file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import machine, print_machine
from benchmarks.docs_table import RESULTS, write_docs

FOLDER = Path(__file__).parent
# What the command line sets before it loads torch; the rest of the benchmarks has the default of torch.
ENVIRONMENT = {name: {"GOMP_SPINCOUNT": "20000"} for name in ("training_step", "episodes")}
NOT_BENCHMARKS = {"__init__", "__main__", "common", "docs_table"}


def main(names: list[str], resume: bool = False) -> int:
    """Run, print, write; the exit code is 1 if a benchmark broke, not if a promise was missed."""
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    available = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem not in NOT_BENCHMARKS)
    unknown = set(names) - set(available)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}. There are: {', '.join(available)}", file=sys.stderr)
        return 2
    print_machine()
    results = stopped_run() if resume else {"machine": _this_machine(), "runs": {}, "figures": [], "broken": []}
    if results is None:
        print(f"{RESULTS} is of another machine or other versions: run all, without --resume.", file=sys.stderr)
        return 2
    for name in names or [name for name in available if name not in results["runs"]]:
        print(f"\n{name} ...", flush=True)
        load, start = machine()["load_at_start"], time.perf_counter()
        figures = _run_apart(name)
        for figure in figures or []:
            _print_row(figure)
        add(results, name, figures, {"load_at_start": load, "minutes": round((time.perf_counter() - start) / 60, 1)})
        if not names:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            write_docs()
    missed = [row["name"] for row in results["figures"] if row["met"] is False]
    count, broken = len(results["figures"]), results["broken"]
    print(f"\n{count} figures; missed: {', '.join(missed) or 'none'}; broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


def _this_machine() -> dict[str, Any]:
    """All that should be the same in a run that goes on."""
    return {key: value for key, value in machine().items() if key != "load_at_start"}


def stopped_run() -> dict[str, Any] | None:
    """What a stopped run left; nothing if it was on another machine."""
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    return kept if kept.get("machine") == _this_machine() else None


def add(results: dict[str, Any], name: str, figures: list[dict[str, Any]] | None, run: dict[str, Any]) -> None:
    """Put what a benchmark measured among the results; without figures it is broken, and runs again on a resume."""
    if figures is None:
        results["broken"] = sorted({*results["broken"], name})
        return
    results["broken"] = [other for other in results["broken"] if other != name]
    results["runs"][name] = run
    results["figures"] = [row for row in results["figures"] if row["benchmark"] != name]
    results["figures"] += [{"benchmark": name, **figure} for figure in figures]
    results["figures"].sort(key=lambda row: row["benchmark"])  # those of one benchmark stay in order


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
    parser.add_argument("--resume", action="store_true", help="only those that a stopped run has not measured")
    parser.add_argument("--write-docs", action="store_true", help="only renew the table of docs/benchmarks.md")
    arguments = parser.parse_args()
    if arguments.names and arguments.resume:
        parser.error("--resume goes on with a whole run, and takes no names")
    if arguments.write_docs:
        write_docs()
    else:
        sys.exit(main(arguments.names, arguments.resume))
