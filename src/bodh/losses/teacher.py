"""The momentum teacher: a copy of a network that follows it slowly. What BYOL, MoCo and DINO share.

Source: Grill et al. 2020, arXiv 2006.07733, equations 1 and section 3.3; He et al. 2019, arXiv 1911.05722,
equation 2. Both average parameters only: the teacher computes in training mode, with batch statistics, and its
running statistics come from its own passes (deepmind-research/byol/byol_experiment.py, `target_state`;
facebookresearch/moco/moco/builder.py). So do these functions.
"""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class Teacher(nn.Module):
    """A backbone and its head that start as copies of the student's and follow them slowly.

    Args:
        backbone: the student's, from inputs to features `[n d]`.
        projector: the student's, from features to `[n d]`.
        momentum: of the copies, 0 (copy again) to 1 (stay); with `rises` that of the start.
        rises: the momentum goes up to 1 along half a cosine of the run, so that the teacher comes to rest.
    """

    def __init__(self, backbone: nn.Module, projector: nn.Module, *, momentum: float, rises: bool = True) -> None:
        super().__init__()
        self.backbone = teacher_of(backbone)
        self.projector = teacher_of(projector)
        self.momentum = momentum
        self.rises = rises

    @torch.no_grad()
    def forward(self, view: Tensor) -> Tensor:
        """Return the teacher's projection `[n d]` of one view, without gradient."""
        projection: Tensor = self.projector(self.backbone(view))
        return projection

    def follow(self, backbone: nn.Module, projector: nn.Module, fraction: float) -> None:
        """Move towards the student's `backbone` and `projector`, after `fraction` (0 to 1) of the run."""
        momentum = rising(self.momentum, fraction) if self.rises else self.momentum
        follow(self.backbone, backbone, momentum)
        follow(self.projector, projector, momentum)


def teacher_of(student: M) -> M:
    """Return a copy of `student` that starts equal and never gets a gradient."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's parameters towards the student's: t ← momentum · t + (1 - momentum) · s, in place.

    Args:
        teacher: made by `teacher_of(student)`.
        student: the network that is trained.
        momentum: 0 (copy) to 1 (stay).
    """
    # One call for all tensors: on a GPU a few kernels instead of two for each of a network's many tensors.
    torch._foreach_lerp_(
        list(teacher.parameters()), [parameter.detach() for parameter in student.parameters()], 1 - momentum
    )


def rising(base: float, fraction: float) -> float:
    """Return the momentum after `fraction` (0 to 1) of the run: from `base` up to 1 along half a cosine."""
    return 1 - (1 - base) * (math.cos(math.pi * min(1.0, fraction)) + 1) / 2


def base_for(epochs: float) -> float:
    """Return the base momentum for a run of so many epochs: a short one needs a teacher that follows faster.

    0.97, 0.99 and 0.996 as in deepmind-research/byol/configs/byol.py for 40, 300 and 1000 epochs; MoCo v3 has the
    same last two (README of facebookresearch/moco-v3).
    """
    if epochs <= 40:
        return 0.97
    return 0.99 if epochs <= 300 else 0.996
