"""Size of a network before there is one: parameters, multiply-adds and shapes, without allocating weights.

The forward pass runs on torch's ``meta`` device, where tensors have a shape and no content. Multiply-adds are read off
the operations that really run there, not guessed from the kinds of modules: convolution, transposed convolution, linear
layers and the two products of attention. Normalisation, activation, pooling and resizing are not counted, as in the
figures of the papers and of torchvision.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.registry import create_model

__all__ = ["Summary", "SummaryRow", "summary"]


@dataclass(frozen=True)
class SummaryRow:
    """One module.

    Args:
        name: Path inside the network (``layer1.0.conv1``).
        type: Class name.
        output_shape: Shape of what it gave, batch of one; of the largest tensor where it gave several; empty where it
            gave none.
        params: Parameters in it and below it.
        macs: Multiply-adds in it and below it, over all its calls.
        depth: 1 for a module of the network itself.
        leaf: Whether there is nothing below it: leaves add up to the whole, but for parameters that a container holds
            itself.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    depth: int
    leaf: bool


@dataclass(frozen=True)
class Summary:
    """What a network costs; ``str()`` is a table.

    Args:
        name: Builder, or class.
        input_shape: (C, H, W) it was measured at.
        params: Parameters; one that is shared counts once, buffers (running statistics) do not count.
        macs: Multiply-adds of one picture.
        rows: Every module that ran, containers before what they hold.
    """

    name: str
    input_shape: tuple[int, int, int]
    params: int
    macs: int
    rows: tuple[SummaryRow, ...]

    def table(self, depth: int = 2) -> str:
        """Text table of the modules down to ``depth`` levels, with the totals."""
        from rich import box
        from rich.console import Console
        from rich.table import Table

        channels, height, width = self.input_shape
        table = Table(
            title=f"{self.name} at {channels} x {height} x {width}", box=box.SIMPLE_HEAD, title_justify="left"
        )
        table.add_column("module")
        table.add_column("type")
        for heading in ("output", "parameters", "multiply-adds"):
            table.add_column(heading, justify="right")
        for row in self.rows:
            if row.depth <= depth:
                shape = " x ".join(str(side) for side in row.output_shape[1:]) or "-"
                indent = "  " * (row.depth - 1)
                table.add_row(
                    f"{indent}{row.name.rpartition('.')[2]}", row.type, shape, f"{row.params:,}", f"{row.macs:,}"
                )
        table.add_section()
        table.add_row("total", "", "", f"{self.params:,}", f"{self.macs:,}")
        console = Console(file=io.StringIO(), width=120, color_system=None)
        console.print(table)
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in text.splitlines()).rstrip()

    def __str__(self) -> str:
        return self.table()


def summary(
    name_or_model: str | Model, num_classes: int | None = None, input_size: Sequence[int] | None = None
) -> Summary:
    """Parameters, multiply-adds and shapes of a network, without allocating its weights.

    Args:
        name_or_model: A builder's name, or a network (which stays as it is).
        num_classes: Passed to the builder; only with a name.
        input_size: (H, W) or (C, H, W); the network's own if not given.

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
    shapes, macs = _trace(name, model, shape)
    return Summary(
        name=name,
        input_shape=shape,
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=macs[""],
        rows=tuple(
            SummaryRow(
                name=path,
                type=type(module).__name__,
                output_shape=shapes[path],
                params=sum(parameter.numel() for parameter in module.parameters()),
                macs=macs[path],
                depth=path.count(".") + 1,
                leaf=next(module.children(), None) is None,
            )
            for path, module in model.named_modules()
            if path in shapes and path
        ),
    )


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


def _trace(name: str, model: Model, shape: tuple[int, int, int]) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Output shape and multiply-adds by module path; the path of the network itself is empty."""
    shapes: dict[str, tuple[int, ...]] = {}
    macs: dict[str, int] = defaultdict(int)
    running: list[str] = []
    before: list[int] = []
    counter = FlopCounterMode(display=False)

    def enter(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            running.append(path)
            before.append(counter.get_total_flops())

        return hook

    def leave(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            running.pop()
            done = counter.get_total_flops() - before.pop()
            if path not in running:  # a module that calls itself is counted by its outermost call
                macs[path] += done // 2  # the counter counts multiply and add apart
            shapes[path] = max((tuple(tensor.shape) for tensor in _tensors(output)), key=_size, default=())

        return hook

    modes = {module: module.training for module in model.modules()}
    hooks = []
    for path, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(path)))
        hooks.append(module.register_forward_hook(leave(path)))
    content = {key: tensor.to("meta") for key, tensor in (*model.named_parameters(), *model.named_buffers())}
    images = torch.empty(1, *shape, device="meta")
    try:
        model.eval()
        with torch.no_grad(), counter:
            torch.func.functional_call(model, content, (images,))
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"'{name}' cannot take pictures of {' x '.join(map(str, shape))}: {reason}") from error
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return shapes, macs


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, (list, tuple)) else []


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())
