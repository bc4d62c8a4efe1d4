"""A model's predictions as labels to be corrected, in Python: ``label``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from saccade.api._open import ModelLike, open_model, tiling

if TYPE_CHECKING:
    from saccade.data.writers._common import ImagePolicy, LossReport

__all__ = ["label"]


def label(
    model: ModelLike,
    source: Any,
    *,
    to: str,
    out: str | Path,
    sort: Literal["source", "uncertain"] = "source",
    score_threshold: float | None = None,
    weights: str | None = None,
    batch_size: int = 1,
    device: str | None = None,
    recursive: bool = False,
    every: int = 1,
    image_files: ImagePolicy = "copy",
    tile: int | tuple[int, int] | None = None,
    overlap: float = 0.2,
    trust: bool = False,
) -> LossReport:
    """Write a model's predictions as labels that a person corrects in an annotation tool, with their scores.

    Args:
        model: Model: checkpoint, folder of a run, exported file, or name of a network with weights.
        source: Images: file, folder, pattern, zip, video file, or address of an image.
        to: Format to write: labelme, cvat, coco, yolo, voc, label_studio, csv, folder.
        out: Folder to write, which must be empty or not exist.
        sort: Order of the images: that of the source, or those first of which the model is least sure (uncertain).
        score_threshold: Leave out objects that score less; the model's own thresholds of its classes if not given, else
            0.25.
        weights: Published weights by name, or a file of any known layout, for a network given by name.
        batch_size: Images (or tiles) at a time.
        device: Such as cuda; a GPU if there is one, else the CPU through the fastest runtime installed, if not given.
        recursive: Search the folders below a folder too.
        every: Of videos: label each n-th frame.
        image_files: Copy the images, link them (hard links), or write annotations only (none).
        tile: Predict in tiles of so many pixels of the image, a side or (height, width).
        overlap: With tiles: share of a tile that its neighbour shows too.
        trust: Open a model file that can run code of its maker: a .pt2 program, or the checkpoint of a network from
            outside the package, whose module is imported.

    Returns:
        The account: what was kept, changed and dropped, by kind of annotation; images that cannot be read among the
        latter.

    Raises:
        SaccadeError: If the model cannot be opened, there is no image, the format cannot hold its labels, or ``out`` is
            there already.

    Example:
        >>> from PIL import Image
        >>> Path("photos").mkdir()
        >>> Image.new("L", (28, 28)).save("photos/a.png")
        >>> network = saccade.create_model("lenet5", num_classes=2)
        >>> network.class_names = ("cat", "dog")
        >>> report = saccade.label(network, "photos", to="labelme", out="labels")
        >>> report.kept["images"], sorted(file.name for file in Path("labels").iterdir())
        (1, ['a.json', 'a.png', 'flags.txt', 'uncertainty.csv'])
    """
    from saccade.data.writers import get_writer
    from saccade.deploy.base import points_of, score_thresholds_of
    from saccade.engine.predict.labels import write_labels
    from saccade.engine.predict.predict import SHOWN_SCORE
    from saccade.engine.predict.predict import predict as run
    from saccade.engine.predict.sources import SourceOptions

    get_writer(to)  # an unknown format is refused before anything is predicted
    runtime = open_model(model, weights, device, trust)
    if score_threshold is None and not score_thresholds_of(runtime):
        score_threshold = SHOWN_SCORE
    predictions = run(
        runtime,
        source,
        batch_size,
        tiling=tiling(tile, overlap),
        on_error="skip",
        score_threshold=score_threshold,
        options=SourceOptions(recursive, every),
    )
    name = getattr(model, "builder_name", "") or str(model)
    return write_labels(
        predictions, source, runtime.task, runtime.class_names, out, to, sort, image_files, name, points_of(runtime)
    )
