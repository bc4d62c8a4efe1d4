"""``errors.html``: where a model fails, worst first, as one self-contained page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from saccade.data.derived.base import image_ids_of
from saccade.engine.evaluate.inspection import Inspection, LocatedFault
from saccade.metrics.base import MetricReport
from saccade.results import page
from saccade.results.images import read_rgb
from saccade.structures.dataset import VisionDataset
from saccade.structures.files import write_text

__all__ = ["ImageSource", "write_errors_page"]

_ROWS = 40  # images in the table
_SIDE = 480  # pixels of a drawing: a page of hundreds stays small enough to send


class ImageSource:
    """Images of a data set by their ids, for drawings.

    Args:
        dataset: The data set that was evaluated.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> data = DigitScenes("detection", "val", count=2)
        >>> ImageSource(data).read(1, data.path(1), (256, 256)).shape
        (256, 256, 3)
    """

    def __init__(self, dataset: VisionDataset) -> None:
        self._dataset = dataset
        self._index = {image_id: index for index, image_id in enumerate(image_ids_of(dataset).tolist())}

    def read(self, image_id: int, path: str, size: tuple[int, int]) -> NDArray[Any]:
        """Pixels of an image.

        Args:
            image_id: Its id.
            path: Its file, which is read where the data set holds it in parts (tiles, object crops).
            size: (height, width), pixels.

        Raises:
            DataError: If it cannot be read.
        """
        index = self._index.get(image_id)
        if index is not None and self._dataset.path(index) == path:
            image = self._dataset.read(index).image
            if image.shape[:2] == tuple(size):
                return image
        return read_rgb(path)


def write_errors_page(
    folder: str | Path, inspection: Inspection, report: MetricReport, dataset: VisionDataset, title: str
) -> Path:
    """Write ``errors.html``: figures, errors of each kind with drawings, worst first, and the worst images.

    Args:
        folder: Where to write; made if it is not there.
        inspection: What the evaluation found.
        report: Its figures.
        dataset: The data set that was evaluated.
        title: Heading.

    Returns:
        The file.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> from saccade.engine.evaluate.evaluate import evaluate
        >>> inspection, data = Inspection(), DigitScenes("classification", "val", count=4)
        >>> report = evaluate(EagerRuntime(saccade.create_model("lenet5")), data, observer=inspection)
        >>> path = write_errors_page("errors", inspection, report, data, "LeNet on digits")
        >>> path.name, "Misclassified" in path.read_text()
        ('errors.html', True)
    """
    images, faults = ImageSource(dataset), inspection.faults()
    kinds = {kind: about for kind, about in inspection.task.fault_kinds.items() if kind in faults}
    figures = {report.primary: report.values[report.primary], "images": len(inspection.rows)}
    counts = {kind: inspection.counts[kind] for kind in kinds}
    sections = [page.section("Figures", page.tiles(figures | counts))]
    sections += [_section(kind, about, faults[kind], counts[kind], images) for kind, about in kinds.items()]
    rows = [row.as_dict() for row in inspection.worst_first()[:_ROWS]]
    sections.append(page.section("Worst images", page.table([{**row, "path": Path(row["path"]).name} for row in rows])))
    target = Path(folder) / "errors.html"
    write_text(target, page.page(title, sections))
    return target


def _section(kind: str, about: str, faults: Sequence[LocatedFault], count: int, images: ImageSource) -> str:
    drawn = [one.fault.draw(images.read(one.image_id, one.path, one.image_size)) for one in faults]
    shown = f" {len(faults)} of {count:,} are shown." if count > len(faults) else ""
    body = page.images(drawn, [one.caption for one in faults], _SIDE)
    return page.section(f"{kind[0].upper()}{kind[1:]} ({count:,})", f"<p>{html.escape(about + shown)}</p>{body}")
