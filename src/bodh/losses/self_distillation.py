"""Self-distillation: the student's distribution over prototypes of one view follows the teacher's of another.

Source: Caron et al. 2021, "Emerging properties in self-supervised vision transformers" (DINO), arXiv 2104.14294,
equations 1 to 4, algorithm 1. Axes: `v` views, `n` records, `k` prototypes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bodh.losses.precision import full_precision


@full_precision
def self_distillation(
    student: Tensor, teacher: Tensor, centre: Tensor, *, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Return the mean cross-entropy, a scalar: every view of the student against every other view of the teacher.

    The centre keeps one prototype from winning always, the low temperature (sharpening) keeps all from winning
    equally; each alone collapses the one way or the other (paper, section 5.3).

    Args:
        student: [v n k] scores of all views, those of the teacher first and in its order.
        teacher: [g n k] scores of the first g of these views; no gradient goes into them. A pair of one view with
            itself is left out, so g · v - g pairs, at least one, remain.
        centre: [k] running mean of the teacher's scores, taken from them.
        student_temperature: divisor of the student's scores, above 0.
        teacher_temperature: divisor of the teacher's, above 0 and below the student's.
    """
    wanted = ((teacher.detach() - centre) / teacher_temperature).softmax(dim=2)
    told = (student / student_temperature).log_softmax(dim=2)
    pairs = torch.einsum("gnk,vnk->gv", wanted, told)  # [g v]
    different = 1 - torch.eye(*pairs.shape, dtype=pairs.dtype, device=pairs.device)
    return -(pairs * different).sum() / (different.sum() * student.shape[1])
