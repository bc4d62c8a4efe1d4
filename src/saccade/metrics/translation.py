"""Metrics of image translation: L1, PSNR and SSIM where the wanted image is known, KID where only its domain is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.metrics.base import MetricReport, RecordEvaluator
from saccade.results.base import Result
from saccade.results.translated_image import TranslatedImage
from saccade.structures.sample import Target

__all__ = ["KernelDistance", "TranslationEvaluator", "kernel_distance", "psnr", "ssim"]

_MOST_DECIBELS = 100.0  # of equal images, whose ratio is infinite
_WINDOW, _SIGMA = 11, 1.5  # Wang et al. 2004, section III-C
_K1, _K2 = 0.01, 0.03
_PEAK = 255.0
_THUMBNAIL = 16  # side, pixels


def psnr(image: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio of two images of 0..255, in decibels; 100 for equal images.

    Args:
        image: (H, W, C).
        wanted: Of the same shape.

    Example:
        >>> image = np.full((4, 4, 3), 100, np.uint8)
        >>> round(psnr(image, image + 10), 2), psnr(image, image)
        (28.13, 100.0)
    """
    error = float(np.square(image.astype(np.float64) - wanted).mean())
    return _MOST_DECIBELS if error == 0 else min(10 * float(np.log10(_PEAK**2 / error)), _MOST_DECIBELS)


def ssim(image: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Structural similarity of two images of 0..255, mean over pixels and channels, 1 for equal images.

    Wang et al. 2004, equation 13, with their Gaussian window of 11 x 11 pixels and deviation 1.5, at every location
    where it lies inside the image; a smaller image has the largest window of odd side that fits.

    Args:
        image: (H, W) or (H, W, C).
        wanted: Of the same shape.

    Example:
        >>> image = np.arange(256, dtype=np.uint8).reshape(16, 16)
        >>> ssim(image, image), round(ssim(image, 255 - image), 3)
        (1.0, -0.826)
    """
    x, y = image.astype(np.float64), wanted.astype(np.float64)
    side = min(_WINDOW, *(length - 1 + length % 2 for length in x.shape[:2]))
    margin = side // 2
    inside = (slice(margin, x.shape[0] - margin), slice(margin, x.shape[1] - margin))

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        blurred: NDArray[Any] = cv2.GaussianBlur(values, (side, side), _SIGMA)
        return blurred[inside]

    mean_x, mean_y = mean(x), mean(y)
    c1, c2 = (_K1 * _PEAK) ** 2, (_K2 * _PEAK) ** 2
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    return float(similarity.mean())


class KernelDistance(NamedTuple):
    """Kernel distance between two sets of features.

    Attributes:
        value: Mean over the subsets; 0 for equal distributions, and by chance a little below.
        deviation: Standard deviation over the subsets; NaN where one subset is all there is.

    Example:
        >>> found = kernel_distance(np.eye(3), np.eye(3) + 1)
        >>> round(found.value, 3), found.deviation
        (13.716, nan)
    """

    value: float
    deviation: float


def kernel_distance(
    first: NDArray[Any], second: NDArray[Any], subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """Kernel distance of two sets of features: KID, if they are those of a classifier (Binkowski et al. 2018).

    The unbiased estimate of the squared maximum mean discrepancy with the kernel k(x, y) = (x.y / D + 1)^3
    (section 4), as the mean over random subsets; sets no larger than a subset are compared whole, once.

    Args:
        first: (N, D).
        second: (M, D).
        subsets: How many are drawn.
        subset_size: Features of each set in a subset.
        seed: Of the subsets: the same sets give the same figure.

    Returns:
        Both NaN where a set has fewer than two features.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> one, same, other = rng.normal(size=(3, 300, 8))
        >>> abs(kernel_distance(one, same).value) < 0.05 < kernel_distance(one, other + 1).value
        True
    """
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    sizes = [min(len(x), subset_size), min(len(y), subset_size)]
    if min(sizes) < 2:
        return KernelDistance(float("nan"), float("nan"))
    if sizes == [len(x), len(y)]:
        return KernelDistance(_squared_discrepancy(x, y), float("nan"))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(subsets):
        rows, others = (rng.choice(len(one), size, replace=False) for one, size in zip((x, y), sizes, strict=True))
        found.append(_squared_discrepancy(x[rows], y[others]))
    return KernelDistance(float(np.mean(found)), float(np.std(found, ddof=1)) if subsets > 1 else float("nan"))


def _squared_discrepancy(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Unbiased MMD^2 (Gretton et al. 2012, equation 3): no image is compared with itself."""

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        table: NDArray[np.float64] = (a @ b.T / a.shape[1] + 1) ** 3
        return table

    def within(a: NDArray[np.float64]) -> float:
        table = kernel(a, a)
        return float((table.sum() - np.trace(table)) / (len(a) * (len(a) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


class _Pair(NamedTuple):
    """What is kept of an image: figures of the pair, or thumbnails of the two domains."""

    path: str
    errors: tuple[float, float, float] | None
    thumbnails: tuple[NDArray[np.float32], NDArray[np.float32]] | None


class TranslationEvaluator(RecordEvaluator[_Pair]):
    """Metrics of image translation: on pairs L1, PSNR and SSIM, otherwise a kernel distance of thumbnails.

    On pairs ``SSIM`` decides, and each figure is the mean over images. Without pairs the outputs as a set are compared
    with the images of the other domain as a set. ``KID_thumbnails`` does so by thumbnails of 16 x 16 pixels: it sees
    colours and their layout, and no texture. It costs nothing and needs no second network, and is not the KID of
    papers, which ``saccade evaluate --features CLASSIFIER`` gives
    (:func:`saccade.engine.evaluate.kid.evaluate_kid`).

    Example:
        >>> image = np.zeros((16, 16, 3), np.uint8)
        >>> about = dict(path="a.jpg", image_id=0, image_size=(16, 16), class_names=())
        >>> evaluator = TranslationEvaluator()
        >>> target = {"target_image": image + 51, "paired": np.array(True)}
        >>> evaluator.update([TranslatedImage(**about, output=image)], [target])
        >>> report = evaluator.compute()
        >>> report.primary, round(report.values["L1"], 3)
        ('SSIM', 0.2)
    """

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take outputs beside ``target_image`` and whether it is the same scene (``paired``)."""
        for result, target in zip(results, targets, strict=True):
            if not isinstance(result, TranslatedImage):
                raise TypeError(f"metrics of image translation need TranslatedImage, got {type(result).__name__}.")
            output, wanted = result.output, np.asarray(target["target_image"])
            if not target.get("paired", True):
                thumbnails = (_thumbnail(output), _thumbnail(wanted))
                self._records[int(result.image_id)] = _Pair(result.path, None, thumbnails)
                continue
            if output.shape != wanted.shape:
                raise DataError(
                    f"{result.path}: the output is {output.shape[1]}x{output.shape[0]}, the image it is to be "
                    f"{wanted.shape[1]}x{wanted.shape[0]}. Both images of a pair have one size."
                )
            l1 = float(np.abs(output.astype(np.float64) - wanted).mean()) / _PEAK
            errors = (l1, psnr(output, wanted), ssim(output, wanted))
            self._records[int(result.image_id)] = _Pair(result.path, errors, None)

    def compute(self) -> MetricReport:
        """Report of all images seen."""
        rows = [self._records[key] for key in sorted(self._records)]
        errors = [row.errors for row in rows if row.errors is not None]
        if len(errors) == len(rows):
            means = np.mean(errors, axis=0).tolist() if errors else [float("nan")] * 3
            return MetricReport(dict(zip(("L1", "PSNR", "SSIM"), means, strict=True)), primary="SSIM")
        # The shorter domain is repeated to the length of the other one: an image counts once.
        outputs = {row.path: row.thumbnails[0] for row in rows if row.thumbnails is not None}
        others = {row.thumbnails[1].tobytes(): row.thumbnails[1] for row in rows if row.thumbnails is not None}
        distance = kernel_distance(np.stack(list(outputs.values())), np.stack(list(others.values())))
        values = {"KID_thumbnails": distance.value}
        if np.isfinite(distance.deviation):
            values["KID_thumbnails_deviation"] = distance.deviation
        notes = []
        if min(len(outputs), len(others)) < 2:
            notes.append(
                f"there are {len(outputs)} images of one domain and {len(others)} of the other; distances between "
                "domains need two of each, so KID_thumbnails is undefined."
            )
        return MetricReport(values, primary="KID_thumbnails", higher_is_better=False, notes=notes)


def _thumbnail(image: NDArray[Any]) -> NDArray[np.float32]:
    """Means of 16 x 16 areas, -2..2: of photographs about mean 0 and deviation 1, so that the kernel sees both."""
    small: NDArray[Any] = cv2.resize(image.astype(np.float32), (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    return (small / np.float32(_PEAK / 4) - 2).ravel()
