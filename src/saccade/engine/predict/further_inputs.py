"""Further inputs of the network in a prediction: found for each image by the name of the input."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from saccade.data.derived.further_inputs import Found, find_sources
from saccade.data.transforms.move import move_inputs, resize_pixels
from saccade.deploy.base import Runtime
from saccade.structures.geometry import Geometry

__all__ = ["move_to_canvas", "sources_of", "with_inputs"]


def with_inputs(runtime: Runtime, settings: Mapping[str, str | Path | None]) -> Runtime:
    """The same runtime, whose further inputs come from where the settings say.

    Args:
        runtime: What predicts.
        settings: Value of each option that chooses a source, by name (``{"proposals": "selective_search_quality"}``);
            what has none comes from the usual one.

    Raises:
        ConfigError: If the network has no use for an option, or its value is unknown.
        DataError: If a file cannot be read.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime = EagerRuntime(saccade.create_model("lenet5"), "cpu", "32")
        >>> with_inputs(runtime, {"proposals": "selective_search"})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        saccade.errors.ConfigError: proposals is 'selective_search', but lenet5 (...) takes no proposals. Leave it out.
    """
    changed = copy.copy(runtime)
    vars(changed)["input_sources"] = find_sources(runtime.input_names, settings, runtime.name)
    return changed


def sources_of(runtime: Runtime) -> Found:
    """Sources of the further inputs of a runtime: those that were chosen, else the usual ones.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> sources_of(EagerRuntime(saccade.create_model("lenet5")))
        {}
    """
    chosen: Found | None = getattr(runtime, "input_sources", None)
    return find_sources(runtime.input_names, {}, runtime.name) if chosen is None else chosen


def move_to_canvas(inputs: Mapping[str, NDArray[Any]], geometry: Geometry, fill: int) -> dict[str, NDArray[Any]]:
    """Move further inputs from pixels of an image to those of its canvas.

    Args:
        inputs: By name.
        geometry: Of the canvas.
        fill: Value of pixels of the canvas that the image does not cover.

    Example:
        >>> geometry = Geometry.identity((100, 200)).then(np.diag([0.5, 0.5, 1.0]), (50, 100))
        >>> move_to_canvas({"proposals": np.array([[0, 0, 80, 60]], np.float32)}, geometry, fill=114)["proposals"]
        array([[ 0.,  0., 40., 30.]], dtype=float32)
    """

    def remap(values: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
        return resize_pixels(values, geometry.size, linear)

    return move_inputs(dict(inputs), geometry.matrix, geometry.size, remap, fill)
