"""Label-free scores while training: is the representation getting better, or has it collapsed?

Computed in evaluation mode on a fixed sample of records and fixed views, so that two points of one run differ by
the weights alone. The scores rank checkpoints of one run; they do not compare methods (see `metrics.label_free`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from bodh.backbones._modes import evaluating
from bodh.contracts import Json, Modality, RecordStore, Shard, View, derive_seed
from bodh.metrics.label_free import alignment, alpha_req, collapsed, feature_std, lidar, rankme, uniformity

LIDAR_VIEWS = 8
LIDAR_RECORDS = 64


class Monitor:
    """Scores a backbone on a fixed sample.

    Args:
        store: decoded records.
        positions: [n] what may be sampled (the training split).
        modality: makes the views.
        records: size of the sample.
        seed: root seed of the run.
        device: where the backbone is.
    """

    def __init__(
        self,
        store: RecordStore,
        positions: np.ndarray,
        modality: Modality,
        *,
        records: int,
        seed: int,
        device: torch.device,
    ) -> None:
        draw = np.random.default_rng(derive_seed("monitor", seed))
        chosen = draw.choice(positions, size=min(records, len(positions)), replace=False)
        self._rows = store.rows(np.sort(chosen))
        self._count = len(chosen)
        self._modality, self._seed, self._device = modality, seed, device

    @torch.no_grad()
    def score(self, backbone: nn.Module) -> Json:
        """Return the scores of `backbone`, whose mode and gradients stay as they were."""
        with evaluating(backbone):
            first, second = (self._features(backbone, view, self._count) for view in range(2))
            few = min(LIDAR_RECORDS, self._count)
            many = [self._features(backbone, view, few) for view in range(2, 2 + LIDAR_VIEWS)]
        std = feature_std(first)
        rank = rankme(first)
        return {
            "rankme": rank,
            "lidar": lidar(torch.stack(many, dim=1)),
            "alpha_req": alpha_req(first),
            "std": std,
            "alignment": alignment(first, second),
            "uniformity": uniformity(first),
            "collapsed": collapsed(std=std, rank=rank),
        }

    def _features(self, backbone: nn.Module, view: int, count: int) -> Tensor:
        seed = derive_seed("monitor-view", self._seed, view)
        shard = Shard(0, count, count)
        (images,) = self._modality.views(self._rows[:count], (View("strong"),), seed, shard, self._device)
        parts = [backbone(part).float() for part in torch.split(images, 256)]
        return torch.cat(parts)


@dataclass(slots=True)
class Choice:
    """Which weights the model keeps, decided without labels and recorded.

    The last weights are kept, for the schedule ends there; where they have collapsed, those of the latest look that
    had not are. The scores themselves do not choose: on digits LiDAR fell from 25 to 17 during a run in which accuracy
    with two labels a class rose from 79 % to 90 %, so a rule "best LiDAR" kept the worse weights.
    """

    good_step: int = -1
    good_weights: dict[str, Tensor] = field(default_factory=dict)
    points: list[Json] = field(default_factory=list)

    def see(self, step: int, scores: Json, kept: nn.Module) -> None:
        """Take note of one look; copy its weights where they have not collapsed."""
        self.points.append({"step": step, **{name: scores[name] for name in ("rankme", "lidar", "collapsed")}})
        if not scores["collapsed"]:
            self.good_step = step
            self.good_weights = {name: tensor.detach().cpu().clone() for name, tensor in kept.state_dict().items()}

    def settle(self, step: int, kept: nn.Module) -> Json:
        """Load the latest good weights into `kept` where the last ones have collapsed; return the choice and why."""
        record: Json = {
            "rule": "last, unless collapsed; then the latest that had not",
            "points": self.points,
        }
        if self.points and self.points[-1]["collapsed"] and self.good_step >= 0:
            kept.load_state_dict(self.good_weights)
            return record | {"chosen": self.good_step, "why": "the last weights collapsed"}
        return record | {
            "chosen": step,
            "why": "not collapsed" if self.points else "not looked at",
        }

    def to_json(self) -> Json:
        """Return the state for the checkpoint."""
        return {"good_step": self.good_step, "good_weights": self.good_weights, "points": self.points}
