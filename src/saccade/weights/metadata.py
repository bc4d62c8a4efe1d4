"""Metadata of checkpoints and exported files, read as a stranger's: typed, bounded, and with nothing that reaches out.

A header names a network, its classes and its input. Whatever it holds, reading it opens no further file, downloads
nothing, imports nothing and asks for no more memory than a network of that file has.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from saccade.errors import ConfigError, DataError, SaccadeError
from saccade.ops.nms_settings import NmsKind
from saccade.structures.input_spec import InputSpec
from saccade.structures.point_layout import PointLayout
from saccade.structures.text import printable

__all__ = [
    "CHECKPOINT_FIELDS",
    "EXPORTED_FIELDS",
    "FORMAT_VERSION",
    "MAX_CLASSES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "library_version",
    "read_text_metadata",
    "require_fields",
]

# Goes up when older code could misread a new file.
FORMAT_VERSION = 1
MAX_CLASSES = 100_000
MAX_SIDE = 16_384
# Of a canvas: more than any network is made for, and still a few gigabytes in its first layers.
MAX_PIXELS = 1 << 25
CHECKPOINT_FIELDS = (
    "format_version",
    "saccade_version",
    "builder_name",
    "builder_args",
    "task",
    "num_classes",
    "class_names",
    "input_spec",
)
EXPORTED_FIELDS = (*CHECKPOINT_FIELDS, "outputs", "decoded", "batch")

_REMEDY = "It is damaged, or was not written by Saccade: copy, download or save it again."
_MAX_TEXT = 64 << 20
_MAX_CFG = 1 << 20  # of a Darknet configuration; those of the YOLO line have up to 15,000 characters
_MAX_ARGUMENT = 1_000_000
_MAX_VALUES = 1_000  # of one argument, lists in lists included
_LARGEST = 1e6  # of mean and std, in units of 0..255

_Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
_Classes = Annotated[int, Meta(ge=0, le=MAX_CLASSES)]
_Name = Annotated[str, Meta(max_length=1_000)]
_Names = Annotated[list[_Name], Meta(max_length=MAX_CLASSES)]
_Keys = Annotated[list[_Name], Meta(max_length=100)]
_Index = Annotated[int, Meta(ge=0, lt=MAX_CLASSES)]
_Pairs = Annotated[list[tuple[_Index, _Index]], Meta(max_length=MAX_CLASSES)]
_Mean = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Rows = Annotated[int, Meta(ge=1, le=_MAX_ARGUMENT)]
_Deviation = Annotated[float, Meta(gt=0, le=_LARGEST)]


class _Spec(msgspec.Struct):
    size: tuple[_Side, _Side]
    channels: Annotated[int, Meta(ge=1, le=1024)] = 3
    resize: Literal["letterbox", "stretch", "center_crop", "shorter_side", "multiple", "none", "rectangle"] = "stretch"
    align: Literal["center", "top_left"] = "center"
    pad_value: Annotated[int, Meta(ge=0, le=255)] = 114
    pad_multiple: Annotated[int, Meta(ge=1, le=1024)] = 1
    mean: Annotated[list[_Mean], Meta(max_length=1024)] = []
    std: Annotated[list[_Deviation], Meta(max_length=1024)] = []
    channel_order: Literal["rgb", "bgr"] = "rgb"
    crop_fraction: Annotated[float, Meta(gt=0, le=1)] = 0.875
    fixed: bool = False
    object_crops: Annotated[float, Meta(ge=0, le=100)] = 0.0


class _Head(msgspec.Struct):
    num_classes: _Classes
    class_names: _Names


class _Nms(msgspec.Struct, forbid_unknown_fields=True):
    iou: _Share = 0.5
    score_threshold: _Share = 0.01
    pre_nms: _Rows = 1000
    max_detections: _Rows = 100
    kind: NmsKind = "nms"
    class_agnostic: bool = False
    sigma: Annotated[float, Meta(gt=0, le=_LARGEST)] = 0.5
    diou_beta: Annotated[float, Meta(gt=0, le=_LARGEST)] = 1.0


class _Points(msgspec.Struct, forbid_unknown_fields=True):
    names: _Names = []
    flip_pairs: _Pairs = []
    skeleton: _Pairs = []
    object_name: _Name = ""


class _Metadata(msgspec.Struct):
    """Types and limits of all fields; which of them a file must have is asked apart, and others pass as they are."""

    format_version: Annotated[int, Meta(ge=1)] = 1
    saccade_version: _Name = ""
    builder_name: _Name = ""
    builder_args: dict[str, Any] = {}
    task: _Name = ""
    num_classes: _Classes = 0
    class_names: _Names = []
    input_spec: _Spec | msgspec.UnsetType = msgspec.UNSET
    decoded_keys: _Keys = []
    finish: _Name = ""
    finish_options: dict[str, Any] = {}
    score_thresholds: Annotated[list[_Share], Meta(max_length=MAX_CLASSES)] = []
    nms: _Nms | msgspec.UnsetType = msgspec.UNSET
    points: _Points | msgspec.UnsetType = msgspec.UNSET
    metrics: dict[str, float | None] = {}
    extra: dict[str, Any] = {}
    earlier_heads: Annotated[list[_Head], Meta(max_length=100)] = []
    # Of exported files:
    inputs: _Keys = []
    outputs: Annotated[list[_Name], Meta(min_length=1, max_length=100)] | msgspec.UnsetType = msgspec.UNSET
    decoded: bool = True
    batch: Annotated[int, Meta(ge=1, le=4096)] | None = None
    max_detections: _Rows | None = None


def library_version() -> str:
    """Installed version of Saccade.

    Example:
        >>> library_version() == saccade.__version__
        True
    """
    return importlib.metadata.version("saccade")


def read_text_metadata(
    text: str | bytes, path: str | Path, error: type[SaccadeError], required: Sequence[str] = ()
) -> dict[str, Any]:
    """Read the metadata of a file from its JSON, checked field by field.

    Args:
        text: The JSON, as the file holds it.
        path: The file, for messages.
        error: Raised for what is wrong.
        required: Fields that must be there: see :func:`require_fields`.

    Raises:
        SaccadeError: Of the type ``error``: if it is no JSON, a field is missing, of the wrong type or beyond its
            limit, or an argument of the builder is no plain value. The message names file and field.

    Example:
        >>> from saccade.errors import WeightsError
        >>> read_text_metadata('{"builder_name": 7}', "a.safetensors", WeightsError)
        Traceback (most recent call last):
        saccade.errors.WeightsError: 'a.safetensors': metadata, field builder_name: expected `str`, got `int`. ...
    """
    title = f"'{printable(str(path))}'"
    if len(text) > _MAX_TEXT:
        raise error(f"{title}: its metadata has {len(text):,} characters, more than {_MAX_TEXT:,} are read. {_REMEDY}")
    try:
        # NaN is no JSON; files of older versions have it among their metrics.
        values = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as problem:
        raise error(f"{title} has damaged metadata ({_plain(problem)}). {_REMEDY}") from problem
    if not isinstance(values, dict):
        raise error(f"{title} has damaged metadata (a {type(values).__name__}). {_REMEDY}")
    try:
        found = msgspec.to_builtins(msgspec.convert(values, _Metadata))
        if "input_spec" in values:
            spec = found["input_spec"] = {key: found["input_spec"].get(key) for key in values["input_spec"]}
            _check_size(InputSpec.from_dict(spec).size)
        PointLayout.from_dict(found.get("points", {}))  # refuses pairs of other points
        _check_arguments("builder_args", found["builder_args"])
        _check_arguments("finish_options", found["finish_options"])
        _check_thresholds(found["score_thresholds"], found["num_classes"])
    except (msgspec.ValidationError, _FieldError, ConfigError, DataError, RecursionError) as problem:
        raise error(f"{title}: {_located(problem)}. {_REMEDY}") from problem
    found["metrics"] = {key: math.nan if value is None else value for key, value in found["metrics"].items()}
    require_fields(values, required, path, error)
    return {key: found.get(key, value) for key, value in values.items()}


def require_fields(
    metadata: Mapping[str, Any], required: Sequence[str], path: str | Path, error: type[SaccadeError]
) -> None:
    """Refuse metadata without fields that are needed.

    Args:
        metadata: From :func:`read_text_metadata`.
        required: Names of the fields: ``CHECKPOINT_FIELDS``, ``EXPORTED_FIELDS``.
        path: The file, for messages.
        error: Raised for the first that is missing.
    """
    for field in required:
        if field not in metadata:
            raise error(f"'{printable(str(path))}': metadata, field {field}: it is missing. {_REMEDY}")


def _located(problem: Exception) -> str:
    """What is wrong, after the name of the field that it is wrong with."""
    what, _, field = _plain(problem).rstrip(".").partition(" - at `$.")
    if isinstance(problem, ConfigError | DataError) or not field:
        return f"metadata: {what}"
    if what.startswith("Object missing required field"):
        field, what = f"{field.strip('`')}.{what.rpartition(' ')[2].strip('`')}", "it is missing"
    return f"metadata, field {field.strip('`')}: {what[:1].lower()}{what[1:]}"


class _FieldError(ValueError):
    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{problem} - at `$.{field}`")


def _check_size(size: tuple[int, int]) -> None:
    height, width = size
    if height * width > MAX_PIXELS:
        raise _FieldError("input_spec.size", f"a canvas of {height} x {width} pixels is more than {MAX_PIXELS:,}")


def _check_arguments(field: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that are no plain values or could reach a file or the network."""
    for name, value in arguments.items():
        where = f"{field}.{name}"
        if name == "weights":
            raise _FieldError(where, "a file names no other weights than its own")
        _check_value(where, value, [_MAX_VALUES], depth=0)


def _check_thresholds(thresholds: Sequence[float], classes: int) -> None:
    if thresholds and len(thresholds) != classes:
        raise _FieldError("score_thresholds", f"{len(thresholds)} thresholds for {classes} classes")


def _check_value(where: str, value: Any, left: list[int], depth: int) -> None:
    left[0] -= 1
    if left[0] < 0 or depth > 4:
        raise _FieldError(where, f"more than {_MAX_VALUES} values, or lists within lists within lists")
    if isinstance(value, list):
        for item in value:
            _check_value(where, item, left, depth + 1)
    elif isinstance(value, dict):
        raise _FieldError(where, "expected a plain value or a list of them, got `object`")
    elif isinstance(value, str) and len(value) > (longest := _MAX_CFG if where == "builder_args.cfg" else 200):
        raise _FieldError(where, f"a text of {len(value):,} characters, more than {longest:,}")
    elif isinstance(value, int | float) and not abs(value) <= _MAX_ARGUMENT:
        raise _FieldError(where, f"a number beyond {_MAX_ARGUMENT:,}")


def _plain(problem: Exception) -> str:
    return printable(str(problem), limit=300)
