"""Validation while training: loss and figures on records that do not train, early stopping, and the best weights.

Every process measures all records; the first one's figures decide.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from bodh.backbones._modes import evaluating
from bodh.contracts import Batch, Json, Modality, Objective, Progress, RecordStore, Shard, View
from bodh.records.feed import targets_of


class Validation:
    """Measures an objective on records that do not train.

    Args:
        store: decoded, labelled records.
        positions: [n] of the validation part.
        modality: makes plain views of them.
        device: where the objective is.
        batch: records in one pass.
    """

    def __init__(
        self, store: RecordStore, positions: np.ndarray, modality: Modality, *, device: torch.device, batch: int = 256
    ) -> None:
        self._store, self._positions, self._modality = store, positions, modality
        self._device, self._batch = device, batch

    def __len__(self) -> int:
        return len(self._positions)

    @torch.no_grad()
    def measure(self, objective: Objective, network: nn.Module, progress: Progress) -> dict[str, float]:
        """Return the mean loss and figures over all records, in evaluation mode and float32, on plain views.

        Args:
            objective: what is trained.
            network: the same as a module, whose mode stays as it was.
            progress: where the run stands.
        """
        spec = tuple(view if view.kind == "target" else View("plain") for view in objective.views())
        total: dict[str, float] = {}
        with evaluating(network):
            for start in range(0, len(self._positions), self._batch):
                index = self._positions[start : start + self._batch]
                shard = Shard(0, len(index), len(index))
                views = self._modality.views(self._store.rows(index), spec, 0, shard, self._device)
                place = torch.from_numpy(index).to(self._device)
                output = objective.step(Batch(views, place, targets_of(self._store, index, self._device), 0), progress)
                for name, value in {"loss": output.loss, **output.figures}.items():
                    total[name] = total.get(name, 0.0) + float(value) * len(index) / len(self._positions)
        if "perplexity" in total:
            total["perplexity"] = math.exp(total["loss"])  # not the mean of the batches' own
        return total


@dataclass(slots=True)
class Best:
    """The best weights by validation; part of the checkpoint.

    A higher accuracy is better, and at equal accuracy a lower loss; where an objective tells no accuracy, a lower loss.

    Attributes:
        step: of the best measurement; -1: none yet.
        score: of it, the larger the better.
        stale: measurements since.
        weights: what the model would keep.
        points: all measurements.
    """

    step: int = -1
    score: list[float] = field(default_factory=list)
    stale: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    points: list[Json] = field(default_factory=list)

    def see(self, step: int, figures: dict[str, float], kept: nn.Module) -> bool:
        """Take note of one measurement; copy the weights and return True where it is the best so far."""
        self.points.append({"step": step, **figures})
        score = [figures.get("accuracy", 0.0), -figures["loss"]]
        if self.step >= 0 and not score > self.score:
            self.stale += 1
            return False
        self.step, self.score, self.stale = step, score, 0
        self.weights = {name: tensor.detach().cpu().clone() for name, tensor in kept.state_dict().items()}
        return True

    def settle(self, kept: nn.Module) -> Json:
        """Load the best weights into `kept`; return the choice and why."""
        kept.load_state_dict(self.weights)
        return {
            "rule": "best by validation: highest accuracy, then lowest loss",
            "points": self.points,
            "chosen": self.step,
            "why": f"no better figure in {self.stale} looks after it" if self.stale else "the last look was the best",
        }

    def to_json(self) -> Json:
        """Return the state for the checkpoint."""
        return asdict(self)
