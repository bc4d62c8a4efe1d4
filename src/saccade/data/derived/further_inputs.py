"""Where further inputs of networks come from: one table by name of the input, for data sets and for single images.

A network names its inputs (``input_names``); whoever gives it images looks each name up here. Names that are not here
are inputs that a data set holds itself, such as the second image of a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from saccade.errors import ConfigError
from saccade.structures.dataset import VisionDataset
from saccade.structures.folders import cache_root

if TYPE_CHECKING:
    from saccade.data.derived.proposals import Progress, ProposalSource

__all__ = ["INPUT_SOURCES", "InputSource", "add_inputs", "find_sources", "inputs_folder", "inputs_of_image"]


@dataclass(frozen=True)
class InputSource:
    """Source of further inputs.

    Args:
        setting: Name of the option that chooses among its methods (``--proposals``, ``data.proposals``).
        find: What a value of that option stands for; the usual method for an empty one.
        add: Adds the inputs to the samples of a data set.
        of_image: Inputs of one image by name: pixels, what ``find`` gave, path, id.
        computed: Whether the inputs come from the pixels alone, so that parts of an image have their own.
    """

    setting: str
    find: Callable[[str | Path], Any]
    add: Callable[..., VisionDataset]
    of_image: Callable[[NDArray[Any], Any, str, int], dict[str, NDArray[Any]]]
    computed: Callable[[Any], bool]


# What computes or reads inputs is imported when a network names one.


def _find_proposals(text: str | Path) -> ProposalSource:
    from saccade.data.derived.proposals import find_proposals

    return find_proposals(text)


def _add_proposals(*args: Any, **options: Any) -> VisionDataset:
    from saccade.data.derived.proposals import add_proposals

    return add_proposals(*args, **options)


def _proposals_of_image(
    image: NDArray[Any], source: ProposalSource, path: str, image_id: int
) -> dict[str, NDArray[Any]]:
    from saccade.data.derived.proposals import propose

    boxes, scores = propose(image, source, path, image_id)
    return {"proposals": boxes, "proposal_scores": scores}


def _is_method(source: ProposalSource) -> bool:
    from saccade.data.derived.selective_search import SelectiveSearch

    return isinstance(source, SelectiveSearch)


_PROPOSALS = InputSource("proposals", _find_proposals, _add_proposals, _proposals_of_image, _is_method)

INPUT_SOURCES: dict[str, InputSource] = {"proposals": _PROPOSALS, "proposal_scores": _PROPOSALS}
"""Source of each further input by its name."""

Found = dict[InputSource, Any]
"""Sources with what the value of their option stands for."""


def find_sources(names: Collection[str], settings: Mapping[str, str | Path | None], whose: str) -> Found:
    """Find the sources of the inputs that a network names.

    Args:
        names: Its ``input_names``.
        settings: Value of each option that chooses a method; none or an empty one is the usual method.
        whose: Name of the network, for messages.

    Raises:
        ConfigError: If an option is given that the network has no use for, or its value is unknown.

    Example:
        >>> found = find_sources(("proposals",), {"proposals": "selective_search_quality"}, "fast_rcnn")
        >>> [(source.setting, value.mode) for source, value in found.items()]
        [('proposals', 'quality')]
    """
    sources = dict.fromkeys(INPUT_SOURCES[name] for name in names if name in INPUT_SOURCES)
    used = {source.setting for source in sources}
    for setting, value in settings.items():
        if value and setting not in used:
            raise ConfigError(f"{setting} is '{value}', but {whose} takes no {setting}. Leave it out.")
    return {source: source.find(settings.get(source.setting) or "") for source in sources}


def add_inputs(
    dataset: VisionDataset,
    found: Found,
    folder: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    others: Sequence[VisionDataset] | None = (),
) -> VisionDataset:
    """Add further inputs to the samples of a data set; itself if the network names none.

    Args:
        dataset: Any data set.
        found: Of :func:`find_sources`.
        folder: Keeps what is computed; see :func:`inputs_folder`.
        workers: Processes that compute.
        progress: Wraps the images that are worked on, given their number, to show a bar.
        others: Other splits that a file may hold as well; None passes over whatever ``dataset`` lacks.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> scenes = DigitScenes("detection", "val", count=1, size=(64, 64))
        >>> data = add_inputs(scenes, find_sources(("proposals",), {}, "fast_rcnn"), workers=0)
        >>> list(data.read(0).inputs)
        ['proposals', 'proposal_scores']
    """
    for source, value in found.items():
        dataset = source.add(dataset, value, folder=folder, workers=workers, progress=progress, others=others)
    return dataset


def inputs_of_image(image: NDArray[Any], found: Found, path: str = "", image_id: int = 0) -> dict[str, NDArray[Any]]:
    """Further inputs of one image, by name, in its pixels.

    Example:
        >>> inputs = inputs_of_image(np.zeros((20, 30, 3), np.uint8), find_sources(("proposals",), {}, "fast_rcnn"))
        >>> inputs["proposals"].tolist()
        [[0.0, 0.0, 30.0, 20.0]]
    """
    inputs: dict[str, NDArray[Any]] = {}
    for source, value in found.items():
        inputs |= source.of_image(image, value, path, image_id)
    return inputs


def inputs_folder(runs: str | Path | None = None) -> Path:
    """Folder where computed inputs are kept: beside the runs, or in the cache (``SACCADE_CACHE``).

    Example:
        >>> inputs_folder("runs").as_posix()
        'runs/proposals'
    """
    return (cache_root() if runs is None else Path(runs)) / "proposals"
