"""torchvision's operators, loaded when the first is called.

Importing torchvision loads torch's compiler, seconds for which a program without boxes would wait.
"""

from __future__ import annotations

from typing import Any

__all__ = ["torchvision_operators"]


def torchvision_operators() -> Any:
    """Module ``torchvision.ops``; its operators are registered from then on.

    Example:
        >>> torchvision_operators().box_area(torch.tensor([[0.0, 0.0, 2.0, 3.0]]))
        tensor([6.])
    """
    import torchvision

    return torchvision.ops
