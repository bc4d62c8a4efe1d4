"""Transforms of the user's own, ``augment.extra``, imported by name.

They run on the canvas: after everything that moves pixels (crops, mosaic, warps, mixing, mirrors) and before what
changes colours alone. Each sees a whole sample and a generator of random numbers; one of torchvision sees tv_tensors.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from saccade.data.transforms.affine import Transform
from saccade.errors import ConfigError, DataError, SaccadeError
from saccade.structures.imports import describe_failure, import_object
from saccade.structures.kinds import check_kinds, row_keys
from saccade.structures.sample import Sample

__all__ = ["ExtraTransform", "extra_transforms"]

_FORMS = (
    "Give a function or object of (sample, rng) that returns the sample, a transform of torchvision.transforms.v2, or "
    "a list of such."
)


class ExtraTransform:
    r"""Transforms of the user's own, by the name that they are imported by.

    Worker processes are sent the name, so that what it stands for need not be picklable. Random numbers come from the
    sample's generator; NumPy's, Python's and torch's global ones are seeded by it and then left as they were, so that
    the pixels do not depend on which process makes them, as long as the transform keeps no state.

    Args:
        name: ``package.module:name`` of a callable ``(sample, rng) -> sample``, of a class of such, of a transform of
            ``torchvision.transforms.v2``, or of a list of these.
        flip_pairs: Keypoints that a mirror of torchvision exchanges.

    Raises:
        ConfigError: If it cannot be imported or is none of these.

    Example:
        >>> _ = Path("fog.py").write_text("def fog(sample, rng):\n    sample.image //= 2\n    return sample\n")
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo
        >>> info = ImageInfo(0, "a.png", Geometry.identity((4, 4)))
        >>> sample = Sample(np.full((4, 4, 3), 200, np.uint8), {}, info)
        >>> int(ExtraTransform("fog:fog")(sample, np.random.default_rng(0)).image.max())
        100
    """

    def __init__(self, name: str, flip_pairs: Sequence[tuple[int, int]] = ()) -> None:
        self.name, self.flip_pairs = name, tuple(flip_pairs)
        self._what = f"augment.extra '{name}'"
        self._transforms = self._adapted(import_object(name, self._what))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.flip_pairs)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The transformed sample.

        Raises:
            ConfigError: If a transform fails, or gives what is no sample of the same canvas and kinds.
        """
        for transform in self._transforms:
            before, kinds = sample.image, list(sample.target)
            shape, dtype = before.shape, before.dtype
            try:
                with _seeded_globals(rng):
                    sample = transform(sample, rng)
            except SaccadeError as error:
                raise type(error)(f"{self._what}: {error}") from error
            except Exception as error:
                where = sample.info.path
                raise ConfigError(f"{self._what} fails on {where}: {describe_failure(error)}") from error
            self._check(sample, shape, dtype, kinds)
        return sample

    def _adapted(self, found: Any) -> list[Transform]:
        """Transforms of what was imported.

        Raises:
            ConfigError: If it is none of the forms.
        """
        if isinstance(found, list | tuple):
            return [transform for one in found for transform in self._adapted(one)]
        if inspect.isclass(found):
            try:
                found = found()
            except Exception as error:
                raise ConfigError(
                    f"{self._what}: {found.__name__}() fails: {describe_failure(error)} An object of it, made in the "
                    "module, may have arguments."
                ) from error
        if isinstance(found, nn.Module):
            from saccade.data.transforms.torchvision_v2 import from_torchvision

            return [from_torchvision(found, self.flip_pairs)]
        if not callable(found) or not _takes_two(found):
            raise ConfigError(f"{self._what} is a {type(found).__name__}. {_FORMS}")
        return [found]

    def _check(self, sample: Any, shape: tuple[int, ...], dtype: np.dtype[Any], kinds: Sequence[str]) -> None:
        """Refuse what the rest of the pipeline cannot go on with."""
        if not isinstance(sample, Sample):
            raise ConfigError(f"{self._what} returns a {type(sample).__name__}. Return the sample.")
        where, image = sample.info.path, sample.image
        if not isinstance(image, np.ndarray) or image.shape != shape or image.dtype != dtype:
            found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
            raise ConfigError(
                f"{self._what} makes {found} of the image of {where}, {dtype} {shape}. Keep size, channels and depth: "
                "the canvas is the network's (data.size)."
            )
        if missing := [kind for kind in kinds if kind not in sample.target]:
            raise ConfigError(f"{self._what} drops '{missing[0]}' of {where}. Keep every kind of ground truth.")
        try:
            check_kinds(sample.target)
        except DataError as error:
            raise ConfigError(f"{self._what}: {error}") from error
        rows = [key for key in row_keys() if key in sample.target and np.ndim(sample.target[key])]
        counts = {key: len(sample.target[key]) for key in rows}
        if "boxes" in counts and len(set(counts.values())) > 1:
            shown = ", ".join(f"{count} {key}" for key, count in counts.items())
            raise ConfigError(f"{self._what} leaves {shown} on {where}. Keep or drop all that belongs to an object.")
        for key in ("masks", "label_map"):
            if key in sample.target and sample.target[key].shape[-2:] != image.shape[:2]:
                raise ConfigError(f"{self._what} makes {key} {sample.target[key].shape} of {where}. Keep their size.")


def extra_transforms(names: Sequence[str], flip_pairs: Sequence[tuple[int, int]] = ()) -> list[Transform]:
    """Import the transforms that ``augment.extra`` names, in this order.

    Args:
        names: Each as of :class:`ExtraTransform`.
        flip_pairs: Keypoints that a mirror of torchvision exchanges.

    Raises:
        ConfigError: If one cannot be imported, or is no transform.

    Example:
        >>> extra_transforms(["my_package.fog"])
        Traceback (most recent call last):
        saccade.errors.ConfigError: augment.extra 'my_package.fog': name the module and an object in it: ...
    """
    return [ExtraTransform(name, flip_pairs) for name in names]


def _takes_two(function: Callable[..., Any]) -> bool:
    """Whether it can be called with a sample and a generator; what cannot be asked is called."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


@contextlib.contextmanager
def _seeded_globals(rng: np.random.Generator) -> Iterator[None]:
    """Seed the global generators of NumPy, Python and torch (CPU) inside the block, and restore them afterwards."""
    seed = int(rng.integers(2**32))
    states = np.random.get_state(), random.getstate(), torch.get_rng_state()  # noqa: NPY002 - others draw from it
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which would seed the accelerators too
    try:
        yield
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])
        torch.set_rng_state(states[2])
