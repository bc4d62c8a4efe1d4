"""Parameters and multiply-adds that the reference does not know, put together by hand: one file a family.

Each file has ``COUNTS``: by builder, ``num_classes``, ``params``, ``macs`` and ``input`` (C, H, W), or those of them
that the reference lacks. Figures are at the network's own canvas unless ``input`` says otherwise. They are sums that
can be read, built on figures that the reference knows where there are such.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

REFERENCE: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[2] / "reference_counts.json").read_text())[
    "counts"
]


def hand_counts() -> dict[str, dict[str, Any]]:
    """Those of all files."""
    files = [importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)]
    return {name: counts for file in files for name, counts in file.COUNTS.items()}
