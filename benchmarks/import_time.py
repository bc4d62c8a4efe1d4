"""``import saccade`` stays under 0.1 s and ``saccade --help`` under 0.3 s, each in a fresh process."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.common import Figure, alternate


def run() -> list[Figure]:
    """Median of ten processes each; the interpreter's own start is measured beside them and taken off the import."""
    seconds = alternate(
        {
            "empty": lambda: _python("pass"),
            "import": lambda: _python("import saccade"),
            "help": lambda: _python("import sys; from saccade.cli import main; sys.exit(main(['--help']))"),
        }
    )
    return [
        Figure("import saccade", seconds["import"] - seconds["empty"], "s", 0.1, note="beyond the start of Python"),
        Figure("saccade --help", seconds["help"], "s", 0.3, note="whole process"),
    ]


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
