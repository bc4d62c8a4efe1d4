from __future__ import annotations

SIDES = (56, 28, 14, 7)


class _Sum:
    """Parameters and multiply-adds, layer by layer."""

    def __init__(self) -> None:
        self.params = self.macs = 0

    def conv(self, kernel: int, first: int, second: int, side: int, bias: bool = False) -> None:
        """A convolution and its BatchNorm."""
        self.params += kernel**2 * first * second + (3 if bias else 2) * second
        self.macs += kernel**2 * first * second * side**2

    def bottleneck(self, first: int, inner: int, side: int) -> None:
        self.conv(1, first, inner, side)
        self.conv(3, inner, inner, side)
        self.conv(1, inner, 4 * inner, side)
        if first != 4 * inner:
            self.conv(1, first, 4 * inner, side)


def _count(
    width: int,
    modules: tuple[int, int, int] = (1, 4, 3),
    blocks: int = 4,
    first_blocks: int = 4,
    first_width: int = 64,
) -> dict[str, int]:
    total, widths = _Sum(), [width * 2**number for number in range(4)]
    total.conv(3, 3, 64, 112)
    total.conv(3, 64, 64, 56)
    first = 4 * first_width
    for number in range(first_blocks):
        total.bottleneck(64 if number == 0 else first, first_width, 56)
    total.conv(3, first, widths[0], 56)
    total.conv(3, first, widths[1], 28)
    for branches, count in zip((2, 3, 4), modules, strict=True):
        if branches > 2:
            total.conv(3, widths[branches - 2], widths[branches - 1], SIDES[branches - 1])
        for _ in range(count):
            for branch in range(branches):
                for _ in range(2 * blocks):
                    total.conv(3, widths[branch], widths[branch], SIDES[branch])
                for source in range(branches):
                    if source > branch:
                        total.conv(1, widths[source], widths[branch], SIDES[source])
                    for step in range(source, branch):
                        last = step == branch - 1
                        total.conv(3, widths[source], widths[branch if last else source], SIDES[step + 1])
    for branch, inner in enumerate((32, 64, 128, 256)):
        total.bottleneck(widths[branch], inner, SIDES[branch])
        if branch:
            total.conv(3, 2 * inner, 4 * inner, SIDES[branch], bias=True)
    total.conv(1, 1024, 2048, 7, bias=True)
    return {"num_classes": 1000, "params": total.params + 2049 * 1000, "macs": total.macs + 2048 * 1000}


COUNTS = {f"hrnet_w{width}": _count(width) for width in (30, 40, 44, 64)} | {
    "hrnet_w18_small": _count(16, (1, 1, 1), 2, 1, 32)
}
