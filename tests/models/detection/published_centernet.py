"""CenterNets of its authors as functions of the names in their files, for comparison: no module of ours is used.

Every layer takes its tensors from ``state`` by their published names; a name that is not there yet gets made-up values,
so that one pass makes a whole file.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Published"]


class Published:
    """A network in eval mode, and the state dict that its authors would publish."""

    def __init__(self, num_classes: int, seed: int = 0) -> None:
        self.state: dict[str, Tensor] = {}
        self.num_classes = num_classes
        self.generator = torch.Generator().manual_seed(seed)

    def _tensor(self, name: str, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        if name not in self.state:
            self.state[name] = low + (high - low) * torch.rand(*shape, generator=self.generator)
        return self.state[name]

    def conv(self, x: Tensor, name: str, out: int, kernel: int = 3, stride: int = 1, bias: bool = False) -> Tensor:
        bound = (6 / (x.shape[1] * kernel * kernel)) ** 0.5
        weight = self._tensor(f"{name}.weight", out, x.shape[1], kernel, kernel, low=-bound, high=bound)
        shift = self._tensor(f"{name}.bias", out) if bias else None
        return F.conv2d(x, weight, shift, stride, padding=kernel // 2)

    def up(self, x: Tensor, name: str, out: int, kernel: int, groups: int = 1) -> Tensor:
        bound = (3 / x.shape[1] * groups) ** 0.5
        weight = self._tensor(f"{name}.weight", x.shape[1], out // groups, kernel, kernel, low=-bound, high=bound)
        return F.conv_transpose2d(x, weight, stride=kernel // 2, padding=kernel // 4, groups=groups)

    def norm(self, x: Tensor, name: str) -> Tensor:
        count = x.shape[1]
        self.state.setdefault(f"{name}.num_batches_tracked", torch.tensor(1))
        return F.batch_norm(
            x,
            self._tensor(f"{name}.running_mean", count, low=-0.1, high=0.1),
            self._tensor(f"{name}.running_var", count, low=0.5, high=1.5),
            self._tensor(f"{name}.weight", count, low=0.5, high=1.0),
            self._tensor(f"{name}.bias", count, low=-0.1, high=0.1),
        )

    def heads(self, x: Tensor, channels: int, suffix: str = "", first: str = "0", last: str = "2") -> dict[str, Tensor]:
        outputs = {}
        for head, count in (("hm", self.num_classes), ("wh", 2), ("reg", 2)):
            inner = self.conv(x, f"{head}{suffix}.{first}", channels, bias=True).relu()
            outputs[head] = self.conv(inner, f"{head}{suffix}.{last}", count, kernel=1, bias=True)
        return outputs

    def _basic(self, x: Tensor, name: str, out: int, stride: int, shortcut: str) -> Tensor:
        inner = self.norm(self.conv(x, f"{name}.conv1", out, stride=stride), f"{name}.bn1").relu()
        inner = self.norm(self.conv(inner, f"{name}.conv2", out), f"{name}.bn2")
        if stride != 1 or x.shape[1] != out:
            x = self.norm(self.conv(x, f"{name}.{shortcut}.0", out, 1, stride), f"{name}.{shortcut}.1")
        return (inner + x).relu()

    def res_18(self, images: Tensor) -> dict[str, Tensor]:
        x = F.max_pool2d(self.norm(self.conv(images, "conv1", 64, 7, 2), "bn1").relu(), 3, 2, 1)
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage and not block else 1
                x = self._basic(x, f"layer{stage + 1}.{block}", 64 * 2**stage, stride, "downsample")
        for layer in (0, 3, 6):
            x = self.norm(self.up(x, f"deconv_layers.{layer}", 256, 4), f"deconv_layers.{layer + 1}").relu()
        return self.heads(x, 64)

    # --- Two hourglasses.

    def hourglass(self, images: Tensor, channels: Sequence[int], blocks: Sequence[int]) -> list[dict[str, Tensor]]:
        own = channels[0]
        x = self.norm(self.conv(images, "pre.0.conv", own // 2, 7, 2), "pre.0.bn").relu()
        x = self._basic(x, "pre.1", own, 2, "skip")
        stacks = []
        for stack in range(2):
            inner = self._hourglass(x, f"kps.{stack}", channels, blocks)
            joint = self.norm(self.conv(inner, f"cnvs.{stack}.conv", own), f"cnvs.{stack}.bn").relu()
            stacks.append(self.heads(joint, own, f".{stack}", "0.conv", "1"))
            if stack == 0:
                before = self.norm(self.conv(x, "inters_.0.0", own, 1), "inters_.0.1")
                after = self.norm(self.conv(joint, "cnvs_.0.0", own, 1), "cnvs_.0.1")
                x = self._basic((before + after).relu(), "inters.0", own, 1, "skip")
        return stacks

    def _hourglass(self, x: Tensor, name: str, channels: Sequence[int], blocks: Sequence[int]) -> Tensor:
        own, lower, count = channels[0], channels[1], blocks[0]
        side = x
        for block in range(count):
            side = self._basic(side, f"{name}.up1.{block}", own, 1, "skip")
        for block in range(count):
            x = self._basic(x, f"{name}.low1.{block}", lower, 1 if block else 2, "skip")
        if len(channels) > 2:
            x = self._hourglass(x, f"{name}.low2", channels[1:], blocks[1:])
        else:
            for block in range(blocks[1]):
                x = self._basic(x, f"{name}.low2.{block}", lower, 1, "skip")
        for block in range(count):
            x = self._basic(x, f"{name}.low3.{block}", own if block == count - 1 else lower, 1, "skip")
        return side + F.interpolate(x, scale_factor=2, mode="nearest")

    # --- DLA-34.

    def dlav0_34(self, images: Tensor) -> dict[str, Tensor]:
        c2, c3, c4, c5 = self.dla34(images)
        # Coarse to fine: c4 takes in c5; c3 those two; c2 those three.
        (c5,) = self._join("ida_0", [c4, c5])
        c4, c5 = self._join("ida_1", [c3, c4, c5])
        c3, c4, c5 = self._join("ida_2", [c2, c3, c4, c5])
        return self.heads(c5, 256)

    def dla34(self, images: Tensor) -> list[Tensor]:
        x = self.norm(self.conv(images, "base.base_layer.0", 16, 7), "base.base_layer.1").relu()
        x = self.norm(self.conv(x, "base.level0.0", 16), "base.level0.1").relu()
        x = self.norm(self.conv(x, "base.level1.0", 32, stride=2), "base.level1.1").relu()
        c2 = self._two_blocks(x, "base.level2", 64, 2, [])
        c3 = self._four_blocks(c2, "base.level3", 128)
        c4 = self._four_blocks(c3, "base.level4", 256)
        c5 = self._two_blocks(c4, "base.level5", 512, 2, [F.max_pool2d(c4, 2)])
        self.conv(c5, "base.fc", 1000, 1, bias=True)
        return [c2, c3, c4, c5]

    def _project(self, x: Tensor, name: str, out: int) -> Tensor:
        return self.norm(self.conv(x, f"{name}.project.0", out, 1), f"{name}.project.1")

    def _block(self, x: Tensor, name: str, out: int, stride: int, shortcut: Tensor) -> Tensor:
        inner = self.norm(self.conv(x, f"{name}.conv1", out, stride=stride), f"{name}.bn1").relu()
        return (self.norm(self.conv(inner, f"{name}.conv2", out), f"{name}.bn2") + shortcut).relu()

    def _two_blocks(self, x: Tensor, name: str, out: int, stride: int, joined: list[Tensor]) -> Tensor:
        pooled = F.max_pool2d(x, stride) if stride > 1 else x
        shortcut = self._project(pooled, name, out) if x.shape[1] != out else pooled
        first = self._block(x, f"{name}.tree1", out, stride, shortcut)
        second = self._block(first, f"{name}.tree2", out, 1, first)
        joint = torch.cat([second, first, *joined], dim=1)
        return self.norm(self.conv(joint, f"{name}.root.conv", out, 1), f"{name}.root.bn").relu()

    def _four_blocks(self, x: Tensor, name: str, out: int) -> Tensor:
        pooled = F.max_pool2d(x, 2)
        self._project(pooled, name, out)  # in the authors' files, and nothing comes of it
        first = self._two_blocks(x, f"{name}.tree1", out, 2, [])
        return self._two_blocks(first, f"{name}.tree2", out, 1, [pooled, first])

    def _join(self, name: str, maps: list[Tensor]) -> list[Tensor]:
        out = maps[0].shape[1]
        same = maps[:1]
        for index, x in enumerate(maps[1:], start=1):
            prefix = f"dla_up.{name}"
            if x.shape[1] != out:
                x = self.norm(self.conv(x, f"{prefix}.proj_{index}.0", out, 1), f"{prefix}.proj_{index}.1").relu()
            same.append(self.up(x, f"{prefix}.up_{index}", out, 4, groups=out))
        joined, results = same[0], []
        for index, x in enumerate(same[1:], start=1):
            both = torch.cat([joined, x], dim=1)
            joined = self.norm(self.conv(both, f"{prefix}.node_{index}.0", out), f"{prefix}.node_{index}.1").relu()
            results.append(joined)
        return results
