"""The four steps in which the paper of Faster R-CNN trains two stages that come to share their features.

    step                backbone and pyramid             trains                    proposals
    rpn                 from their start                 they and the RPN          -
    fast_rcnn           from their start once more       they and the box branch   of the whole network of step 1
    rpn_shared          of step 2, fixed                 the RPN                   -
    fast_rcnn_shared    the same, fixed                  the box branch            of the RPN of step 3

Ren et al. 2015 (arXiv 1506.01497), section 3.2, "4-Step Alternating Training". The names are those of the steps of a
run (``TrainConfig.steps``); the third and the fourth set ``freeze.trainable`` to ``head``.

Differences from the paper: step 2 uses the network of step 1 itself, which computes its proposals anew for each
augmented image, in place of a list of proposals made once.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Model
from saccade.models.detection.rpn import RegionProposalNetwork
from saccade.ops.anchors import canvas_size

__all__ = ["STEPS", "Alternation", "Proposer"]

STEPS = ("rpn", "fast_rcnn", "rpn_shared", "fast_rcnn_shared")
_SHARED = ("backbone", "neck")
_PROPOSING = ("backbone", "neck", "rpn")


class Proposer:
    """A first stage of its own, fixed: backbone, pyramid and region proposal network.

    It is no module, so that it is no part of the network that it proposes for, nor of its checkpoints.

    Args:
        model: Network whose first stage is copied.

    Example:
        >>> from saccade.models.detection.faster_rcnn import fasterrcnn
        >>> model = fasterrcnn(num_classes=2, channels=16, hidden=16, proposals=50)
        >>> Proposer(model).propose(torch.zeros(1, 3, 64, 64))[0].shape
        torch.Size([1, 100, 4])
    """

    def __init__(self, model: Model) -> None:
        parts = {name: copy.deepcopy(getattr(model, name)) for name in _PROPOSING}
        self.parts = nn.ModuleDict(parts).requires_grad_(False).eval()

    @torch.no_grad()
    def propose(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals (B, K, 4), as many as training looks at, and their number (B,)."""
        self.parts.to(images.device)
        backbone, neck, rpn = (self.parts[name] for name in _PROPOSING)
        assert isinstance(backbone, Model)
        assert isinstance(rpn, RegionProposalNetwork)
        maps = neck(backbone.features(images))
        rpn.training = True  # for the number of proposals alone; it has no layer that behaves differently
        found: tuple[Tensor, Tensor] = rpn.propose(rpn(images, maps), maps, canvas_size(images))
        return found


class Alternation:
    """Where a network is in the four steps, and what they hand on.

    Attributes:
        step: Name of the step; empty when both stages train at once.
        proposer: Who proposes in place of the network's own first stage; in the second step alone.

    Example:
        >>> alternation = Alternation()
        >>> alternation.first_stage, alternation.second_stage
        (True, True)
    """

    def __init__(self) -> None:
        self.step = ""
        self.proposer: Proposer | None = None
        self._start: dict[str, Tensor] = {}
        self._parts: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    @property
    def first_stage(self) -> bool:
        """Whether the region proposal network trains."""
        return self.step in ("", "rpn", "rpn_shared")

    @property
    def second_stage(self) -> bool:
        """Whether what looks at regions trains."""
        return self.step in ("", "fast_rcnn", "fast_rcnn_shared")

    def begin(self, model: Model, step: str) -> None:
        """Enter a step, with the weights that the one before left in ``model``.

        Raises:
            ConfigError: If there is a step of another name.
        """
        if step and step not in STEPS:
            raise ConfigError(
                f"step '{step}' of {model.builder_name or 'Faster R-CNN'}: its steps are {', '.join(STEPS)}."
                f"{did_you_mean(step, STEPS)} A run without steps trains both stages at once."
            )
        self.step = step
        necks, heads = self._parts = self._parts or (model.neck_names, model.head_names)
        if step == "rpn_shared":  # what is trained by ``freeze.trainable: head``
            necks, heads = tuple(name for name in (*necks, *heads) if name != "rpn"), ("rpn",)
        model.neck_names, model.head_names = necks, heads
        self.proposer = None
        if step == "rpn":
            self._start = {name: value.clone() for name, value in _shared_state(model).items()}
        elif step == "fast_rcnn":
            self.proposer = Proposer(model)
            if self._start:
                with torch.no_grad():
                    for name, value in _shared_state(model).items():
                        value.copy_(self._start[name])

    def state(self) -> dict[str, Tensor]:
        """Tensors that a resumed run needs."""
        if not self.step:
            return {}
        state = {"step": torch.tensor(STEPS.index(self.step))}
        if self.step in ("rpn", "fast_rcnn"):
            state.update({f"start.{name}": value for name, value in self._start.items()})
        if self.proposer is not None:
            state.update({f"proposer.{name}": value for name, value in self.proposer.parts.state_dict().items()})
        return state

    def load(self, model: Model, state: Mapping[str, Tensor]) -> None:
        """Restore it, after :meth:`begin`; the state may be that of the end of the step before."""
        if not state:
            return
        own = {
            kind: {name.removeprefix(kind): value for name, value in state.items() if name.startswith(kind)}
            for kind in ("start.", "proposer.")
        }
        self._start = own["start."]
        if self.step and int(state["step"]) != STEPS.index(self.step):
            self.begin(model, self.step)  # now with the weights of the step before
        elif self.proposer is not None:
            self.proposer.parts.load_state_dict(own["proposer."])


def _shared_state(model: Model) -> dict[str, Tensor]:
    """Weights and statistics of the layers that both stages come to share."""
    return {f"{part}.{name}": value for part in _SHARED for name, value in getattr(model, part).state_dict().items()}
