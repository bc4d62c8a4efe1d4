"""``saccade explain``: what a classifier says of an image, and where it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from saccade.cli._arguments import parse
from saccade.cli._console import print_rows, printer

__all__ = ["run"]


@dataclass
class ExplainArguments:
    """Draw where a classifier looks (Grad-CAM), what it attends to, or what one of its stages has found."""

    model: tyro.conf.Positional[str]
    """Checkpoint, or name of a network with --weights."""
    image: tyro.conf.Positional[str]
    """The image."""
    weights: str | None = None
    """Published weights by name, or a file of any known layout, for a network given by name."""
    method: Literal["cam", "rollout", "features"] = "cam"
    """cam: Grad-CAM; rollout: attention followed back to the image (ViT, Swin); features: the strongest maps of a
    part."""
    layer: str | None = None
    """Part of the network to look at (cam, features); the last stage that gives a map if not given. An unknown name
    lists the stages."""
    classes: tuple[str, ...] = ()
    """Classes to explain in place of the most probable (cam)."""
    top: int = 3
    """How many classes (cam) or maps (features) to show."""
    save: Path = Path("explain.png")
    """Image to write."""


def run(argv: Sequence[str]) -> int:
    """Parse, explain, print the classes, say where the image is."""
    arguments = parse(ExplainArguments, argv, "explain")
    from saccade import api

    explanation = api.explain(
        arguments.model,
        arguments.image,
        weights=arguments.weights,
        method=arguments.method,
        layer=arguments.layer,
        classes=arguments.classes,
        top=arguments.top,
        save=arguments.save,
    )
    print_rows([{"class": name, "probability": share} for name, share in explanation.result.top(5)])
    printer().print(f"drawn in {arguments.save}", soft_wrap=True, markup=False)
    return 0
