"""Summary of a network: parameters, multiply-adds, output shapes and receptive fields, without allocating weights.

The forward pass runs on torch's ``meta`` device, where tensors have a shape and no content. Multiply-adds are counted
from the operations that really run there, not estimated from the kinds of modules: convolution, transposed convolution,
linear layers and the two products of attention. Normalisation, activation, pooling and resizing are not counted, as in
the figures of the papers and of torchvision. Receptive fields are followed through the same operations.
"""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from saccade.analysis.receptive_field import Field, FieldTracer
from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.inputs import example_inputs
from saccade.models.registry import Reported, create_model, get_builder, list_models

__all__ = ["StageRow", "Summary", "SummaryRow", "receptive_fields", "summary"]


@dataclass(frozen=True)
class SummaryRow:
    """Row of a summary: one module with its output shape, parameters and multiply-adds.

    Args:
        name: Path inside the network (``layer1.0.conv1``).
        type: Class name.
        output_shape: Shape of its output for a batch of one; of the largest tensor if there are several; empty if there
            is none.
        params: Parameters in it and below it.
        macs: Multiply-adds in it and below it, over all its calls.
        depth: 1 for a module of the network itself.
        leaf: Whether it has no submodules: leaves add up to the whole, but for parameters that a container holds
            itself.

    Example:
        >>> row = summary("resnet18").rows[0]
        >>> row.name, row.type, row.output_shape, row.params, row.macs
        ('conv1', 'Conv2d', (1, 64, 112, 112), 9408, 118013952)
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    depth: int
    leaf: bool


@dataclass(frozen=True)
class StageRow:
    """Row of a summary: one stage of the network with its stride and receptive field.

    Args:
        name: Path inside the network.
        output_shape: Shape of its output for a batch of one.
        stride: Pixels between neighbouring locations of the output; None where it has a single location.
        receptive_field: Side of the square of pixels that a location depends on; infinite for the whole image. Gates
            that weight whole channels are left out of it.
        params: Parameters in it.
        macs: Multiply-adds in it.

    Example:
        >>> stage = next(stage for stage in summary("resnet18").stages if stage.name == "layer1")
        >>> stage.output_shape, stage.stride, stage.receptive_field
        ((1, 64, 56, 56), 4.0, 43.0)
    """

    name: str
    output_shape: tuple[int, ...]
    stride: float | None
    receptive_field: float
    params: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """Summary of a network: parameters, multiply-adds, modules and stages; ``str()`` is a table.

    Args:
        name: Builder, or class.
        input_shape: (C, H, W) of the image that was run.
        params: Parameters; one that is shared counts once, buffers (running statistics) do not count.
        macs: Multiply-adds of one image.
        rows: Every module that ran, containers before what they hold.
        stages: The network's stages, from the stem to the last.
        reported: Figures of its paper; None if none are on record, or the network has other classes than the paper's.

    Example:
        >>> report = summary("resnet18", num_classes=10, input_size=(64, 64))
        >>> report.input_shape, report.params
        ((3, 64, 64), 11181642)
    """

    name: str
    input_shape: tuple[int, int, int]
    params: int
    macs: int
    rows: tuple[SummaryRow, ...]
    stages: tuple[StageRow, ...] = ()
    reported: Reported | None = None

    def table(self, depth: int = 2) -> str:
        """Format a text table of the modules down to ``depth`` levels, with the totals."""
        channels, height, width = self.input_shape
        rows = [
            (
                f"{'  ' * (row.depth - 1)}{row.name.rpartition('.')[2]}",
                row.type,
                _sides(row.output_shape),
                f"{row.params:,}",
                f"{row.macs:,}",
            )
            for row in self.rows
            if row.depth <= depth
        ]
        total = ("total", "", "", f"{self.params:,}", f"{self.macs:,}")
        return _table(
            f"{self.name} at {channels} x {height} x {width}",
            ("module", "type", "output", "parameters", "multiply-adds"),
            rows,
            [total, *self._paper_rows()],
            left=2,
        )

    def stage_table(self) -> str:
        """Format a text table of the stages with output shape, stride and receptive field."""
        rows = [
            (
                row.name,
                _sides(row.output_shape),
                "-" if row.stride is None else f"{row.stride:g}",
                "whole image" if math.isinf(row.receptive_field) else f"{row.receptive_field:g}",
                f"{row.params:,}",
                f"{row.macs:,}",
            )
            for row in self.stages
        ]
        headings = ("stage", "output", "stride", "receptive field", "parameters", "multiply-adds")
        return _table("stages", headings, rows, [], left=1)

    def _paper_rows(self) -> list[tuple[str, ...]]:
        if self.reported is None:
            return []
        figures = [self.reported.params, self.reported.macs]
        accuracy = "" if self.reported.top1 is None else f"top-1 {self.reported.top1:g} %"
        return [
            (
                f"paper, {self.reported.source}",
                "",
                accuracy,
                *("-" if one is None else f"{one:,.0f}" for one in figures),
            )
        ]

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.stage_table()}" if self.stages else self.table()


def summary(
    name_or_model: str | Model, num_classes: int | None = None, input_size: Sequence[int] | None = None
) -> Summary:
    """Parameters, multiply-adds and shapes of a network, without allocating its weights.

    Args:
        name_or_model: A builder's name, or a network (which stays as it is).
        num_classes: Passed to the builder; only with a name.
        input_size: (H, W) or (C, H, W); the network's default if not given.

    Raises:
        ConfigError: If the name is unknown, or the size does not suit the network.

    Example:
        >>> report = summary("lenet5")
        >>> report.params, report.macs
        (61706, 416520)
    """
    if isinstance(name_or_model, str):
        with torch.device("meta"):
            model = create_model(name_or_model, num_classes=num_classes)
    else:
        model = name_or_model
        if num_classes is not None and num_classes != model.num_classes:
            raise ConfigError(
                f"num_classes={num_classes} was given with a network that has {model.num_classes}; give a name."
            )
    name = model.builder_name or type(model).__name__
    shape = _input_shape(name, model, input_size)
    shapes, macs, fields = _trace(name, model, shape)
    modules = {path: module for path, module in model.named_modules() if path in shapes and path}
    params = {path: _parameters(module) for path, module in modules.items()}
    return Summary(
        name=name,
        input_shape=shape,
        params=_parameters(model),
        macs=macs[""],
        rows=tuple(
            SummaryRow(
                name=path,
                type=type(module).__name__,
                output_shape=shapes[path],
                params=params[path],
                macs=macs[path],
                depth=path.count(".") + 1,
                leaf=next(module.children(), None) is None,
            )
            for path, module in modules.items()
        ),
        stages=tuple(
            StageRow(stage, shapes[stage], _stride(shapes[stage], field), field.side, params[stage], macs[stage])
            for stage in (*model.stage_names, *model.neck_names)
            if stage in shapes and (field := fields.get(stage)) is not None
        ),
        reported=_reported(model),
    )


def receptive_fields(model: Model, input_size: Sequence[int] | None = None) -> dict[str, Field]:
    """Receptive fields of all modules that ran, by their paths; that of a module that runs twice is of the last call.

    Args:
        model: The network, which stays as it is.
        input_size: (H, W) or (C, H, W); the network's default if not given.

    Raises:
        ConfigError: If the size does not suit the network.

    Example:
        >>> receptive_fields(saccade.create_model("lenet5"))["c3"].side
        14.0
    """
    name = model.builder_name or type(model).__name__
    return _trace(name, model, _input_shape(name, model, input_size))[2]


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _stride(shape: tuple[int, ...], field: Field) -> float | None:
    """Stride of the locations; None if there is a single location, or a vector of features."""
    return field.stride if len(shape) > 2 and shape[2:] != (1, 1) else None


def _reported(model: Model) -> Reported | None:
    """Figures of the paper, if the network has the builder's default classes and options."""
    if model.builder_name not in list_models():
        return None
    entry = get_builder(model.builder_name)
    own = {name: parameter.default for name, parameter in entry.parameters.items() if name in model.builder_args}
    return entry.reported if dict(model.builder_args) == own else None


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape[1:]) or "-"


def _table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], totals: Sequence[Sequence[str]], left: int
) -> str:
    """Format a table whose first ``left`` columns are left-aligned and the others right-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < left else "right")
    for row in rows:
        table.add_row(*row)
    table.add_section()
    for row in totals:
        table.add_row(*row)
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip()


def _input_shape(name: str, model: Model, input_size: Sequence[int] | None) -> tuple[int, int, int]:
    channels, (height, width) = model.input_spec.channels, model.input_spec.size
    if input_size is not None:
        if len(input_size) not in (2, 3) or any(side < 1 for side in input_size):
            raise ConfigError(f"input_size is (H, W) or (C, H, W), got {tuple(input_size)}.")
        height, width = input_size[-2:]
        if len(input_size) == 3 and input_size[0] != channels:
            raise ConfigError(
                f"'{name}' takes {channels} channels; input_size {tuple(input_size)} has {input_size[0]}."
            )
    return channels, height, width


class _Prediction(nn.Module):
    """``predict`` of a network as a forward pass."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        return self.model.predict(images, **inputs)


def _trace(
    name: str, model: Model, shape: tuple[int, int, int]
) -> tuple[dict[str, tuple[int, ...]], dict[str, int], dict[str, Field]]:
    """Output shape, multiply-adds and receptive field by module path; the path of the network itself is empty."""
    shapes: dict[str, tuple[int, ...]] = {}
    macs: dict[str, int] = defaultdict(int)
    running: list[str] = []
    before: list[int] = []
    counter = FlopCounterMode(display=False)
    images = torch.empty(1, *shape, device="meta")
    # One proposal: what a network does for each of them is counted once.
    inputs = {key: value.to("meta") for key, value in example_inputs(model, shape[1:], batch=1, rows=1).items()}
    tracer = FieldTracer(images)
    fields: dict[str, Field] = {}
    windows: list[int | None] = []

    def enter(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            running.append(path)
            before.append(counter.get_total_flops())
            windows.append(tracer.window)
            tracer.window = getattr(module, "window_size", tracer.window)

        return hook

    def leave(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            running.pop()
            done = counter.get_total_flops() - before.pop()
            if path not in running:  # a module that calls itself is counted by its outermost call
                macs[path] += done // 2  # the counter counts multiply and add apart
            tracer.window = windows.pop()
            largest = max(_tensors(output), key=lambda tensor: tensor.numel(), default=None)
            shapes[path] = () if largest is None else tuple(largest.shape)
            if largest is not None and (field := tracer.of(largest)) is not None:
                fields[path] = field

        return hook

    modes = {module: module.training for module in model.modules()}
    hooks = []
    # What runs on final boxes (masks, keypoints) is part of the network, too; its predict is then what is counted.
    further = type(model).predict is not Model.predict
    whole: nn.Module = _Prediction(model) if further else model
    for path, module in [("", whole), *list(model.named_modules())[1:]]:
        hooks.append(module.register_forward_pre_hook(enter(path)))
        hooks.append(module.register_forward_hook(leave(path)))
    content = {key: tensor.to("meta") for key, tensor in (*whole.named_parameters(), *whole.named_buffers())}
    try:
        model.eval()
        with torch.no_grad(), tracer, counter:
            torch.func.functional_call(whole, content, (images,), inputs)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"'{name}' cannot take images of {' x '.join(map(str, shape))}: {reason}") from error
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return shapes, macs, fields


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, (list, tuple)) else []
