"""MoCo: contrast against keys of a slow teacher; v2 keeps a queue of them, v3 takes the batch's.

Papers: He et al. 2019, arXiv 1911.05722; v2: Chen et al. 2020, "Improved baselines with momentum contrastive
learning", arXiv 2003.04297; v3: Chen, Xie and He 2021, arXiv 2104.02057.
Published: ImageNet, ResNet-50, linear: v2 67.5 % after 200 epochs, 71.1 % after 800; v3 74.6 % after 1000.
CIFAR-10, ResNet-18: v2 with batch 128, 200 epochs, kNN 83.8 % (lightly's benchmark page, best epoch on test);
v3 with 1000 epochs, online linear 93.1 % (solo-learn's results page).
Checked against: lightly's NT-Xent with a memory bank of known content and its momentum update (v2), and a plain
second implementation after the authors' code (v3): loss and one whole update, on real images.

v2 is for small batches with many records; not for small data (the queue then holds near-copies of the batch).
v3 is for large batches; below about 64 it has too few negatives. The loss of v2 rises at first, while real keys
replace the random ones in the queue: judge it by the label-free scores.

Batch statistics tell a query which keys came from its own batch, and v2 would learn that instead. The authors
shuffle keys over GPUs, so that query and key are normalised with different company. Here queries and keys pass in
`groups`, keys shuffled over all processes: the same on one device as on eight. v3 needs neither.
"""

from __future__ import annotations

import logging
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec, derive_seed
from bodh.heads import projection
from bodh.losses.cosine import agreement, spread, unit
from bodh.losses.gather import from_first, join_values, world
from bodh.losses.info_nce import batch_contrast, queue_contrast
from bodh.losses.teacher import Teacher, base_for

FAMILY = "contrast"
NEEDS = Needs(smallest_batch=4)
# AdamW rather than LARS: batches are below 1024 by default, and one rate then serves every kind of backbone.
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01, "warmup": 0.05}

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

logger = logging.getLogger("bodh")


class Config(BaseConfig):
    """Settings of MoCo."""

    version: Literal["v2", "v3"] = Field("v2", description="v2: queue of keys; v3: predictor, both views both ways")
    temperature: float = Field(
        0.2,
        ge=0.01,
        le=10,
        description="divisor of similarities in the loss (paper: 0.2 in v2 and for vision transformers in v3; "
        "the authors' ResNet-50 in v3 has 1.0)",
    )
    momentum: float | None = Field(
        None,
        ge=0,
        le=1,
        description="of the teacher. Empty, v2: 0.999 as in the paper from 50,000 planned steps on, else 0.99; "
        "v3: 0.97, 0.99 or 0.996 for up to 40, up to 300 or more epochs; v3 rises to 1 along a cosine",
    )
    hidden: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="width of the heads' hidden layer. Empty, v2: the backbone's width as in the paper, at least 512; "
        "v3: twice that width (paper: 4096 for 2048)",
    )
    outputs: int | None = Field(
        None, ge=2, le=65536, description="width of keys and queries. Empty: 128 in v2, 256 in v3, as in the papers"
    )
    head_norm: Literal["batch", "none"] | None = Field(
        None, description="normalisation inside the heads. Empty: none in v2, batch in v3, as in the papers"
    )
    queue: int | None = Field(
        None,
        ge=1,
        le=1 << 22,
        description="v2: keys that are kept (paper: 65536 for 1.28 million images). Empty: the largest power of two "
        "up to an eighth of the records, at most 65536, at least one batch",
    )
    groups: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="v2: parts of a process's batch with batch statistics of their own; 1: whole, for many processes. "
        "Empty: parts of about 32 as on the authors' 8 GPUs, 2 to 8 of them; 1 without batch normalisation",
    )


class MoCoV2(nn.Module):
    """The objective of version 2: queries against the teacher's keys and a queue of earlier ones."""

    queue: Tensor
    pointer: Tensor

    def __init__(
        self,
        backbone: Backbone,
        projector: nn.Module,
        *,
        temperature: float,
        momentum: float,
        queue: int,
        outputs: int,
        groups: int | None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.teacher = Teacher(cast("nn.Module", backbone), projector, momentum=momentum, rises=False)
        self.temperature = temperature
        self.groups = groups
        generator = torch.Generator().manual_seed(derive_seed("objective", "moco", queue, outputs))
        self.register_buffer("queue", unit(torch.randn(queue, outputs, generator=generator)))  # [m d]
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self._normalised = any(isinstance(part, BATCH_NORMS) for part in self.modules())
        self._waiting: list[Tensor] = []  # keys of the running step, until it is done
        self._waiting_step = -1

    def views(self) -> ViewSpec:
        """Return two strong views: the query's and the key's."""
        return (View("strong"), View("strong"))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        """Return the loss of one batch of two views."""
        first, second = batch.views
        groups = self._groups_of(len(first))
        parts = [self.projector(self.backbone(part)) for part in first.tensor_split(groups)]
        queries = torch.cat(parts)  # [n d]
        keys = self._keys(second, groups, batch.seed)
        loss = queue_contrast(queries, keys, self.queue, temperature=self.temperature)
        if self._waiting_step != progress.step:  # keys of a step that was skipped
            self._waiting.clear()
        self._waiting_step = progress.step
        self._waiting.append(keys)
        return StepOutput(loss, {"agreement": agreement(queries, keys), "spread": spread(keys)})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        """Move the teacher, and let the step's keys of all processes replace the oldest in the queue."""
        self.teacher.follow(cast("nn.Module", self.backbone), self.projector, progress.fraction)
        if not self._waiting:
            return
        size = len(self.queue)
        keys = join_values(torch.cat(self._waiting))[-size:]
        self._waiting.clear()
        # Positions are computed on the device, so that nothing waits for it.
        rows = (self.pointer + torch.arange(len(keys), device=keys.device)) % size
        self.queue.index_copy_(0, rows, keys)
        self.pointer.add_(len(keys)).remainder_(size)

    def keep(self) -> nn.ModuleDict:
        """Return the backbone of the queries; teacher, queue and heads are thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._waiting.clear()  # they belong to the state before
        super()._load_from_state_dict(*args, **kwargs)

    def _groups_of(self, n: int) -> int:
        if self.groups is not None:
            return max(1, min(self.groups, n // 2))  # batch statistics need two rows
        return max(1, min(8, max(2, n // 32), n // 2)) if self._normalised else 1

    @torch.no_grad()
    def _keys(self, view: Tensor, groups: int, seed: int) -> Tensor:
        """Return the unit-length keys [n d] of `view`, normalised in shuffled company."""
        if not self._normalised:
            return unit(self.teacher(view))
        n, (rank, processes) = len(view), world()
        generator = torch.Generator().manual_seed(seed)
        order = from_first(torch.randperm(n * processes, generator=generator).to(view.device))
        mine = slice(rank * n, (rank + 1) * n)
        shuffled = join_values(view)[order[mine]]
        keys = torch.cat([self.teacher(part) for part in shuffled.tensor_split(groups)])
        return unit(join_values(keys)[order.argsort()[mine]])


class MoCoV3(nn.Module):
    """The objective of version 3: each view's prediction against the teacher's keys of the other view."""

    def __init__(
        self, backbone: Backbone, projector: nn.Module, predictor: nn.Module, *, temperature: float, momentum: float
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.predictor = predictor
        self.teacher = Teacher(cast("nn.Module", backbone), projector, momentum=momentum)
        self.temperature = temperature

    def views(self) -> ViewSpec:
        """Return two strong views, the second sometimes solarised (as BYOL; paper, section 4.1)."""
        return (View("strong", {"solarise": 0.0}), View("strong", {"solarise": 0.2}))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of one batch of two views, every view in a pass of its own as in the authors' code."""
        first, second = batch.views
        q0, q1 = self._predict(first), self._predict(second)
        k0, k1 = self.teacher(first), self.teacher(second)
        loss = batch_contrast(q0, k1, temperature=self.temperature)
        loss = loss + batch_contrast(q1, k0, temperature=self.temperature)
        return StepOutput(loss, {"agreement": agreement(k0, k1), "spread": spread(k0)})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Move the teacher towards the student, ever more slowly."""
        self.teacher.follow(cast("nn.Module", self.backbone), self.projector, progress.fraction)

    def keep(self) -> nn.ModuleDict:
        """Return the student's backbone; teacher and heads are thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})

    def _predict(self, view: Tensor) -> Tensor:
        prediction: Tensor = self.predictor(self.projector(self.backbone(view)))
        return prediction  # [n d]


def build(backbone: Backbone, config: Config, facts: Facts) -> MoCoV2 | MoCoV3:
    """Build the objective.

    Args:
        backbone: gives pooled features; the teacher starts as its copy.
        config: settings.
        facts: records, steps and batch choose the queue and the momentum where `config` leaves them open.
    """
    return _build_v2(backbone, config, facts) if config.version == "v2" else _build_v3(backbone, config, facts)


def queue_size(records: int, batch: int) -> int:
    """Return the largest power of two up to an eighth of `records`, at most 65536, at least `batch`."""
    return max(batch, min(65536, 1 << max(0, (records // 8).bit_length() - 1)))


def _build_v2(backbone: Backbone, config: Config, facts: Facts) -> MoCoV2:
    outputs = config.outputs or 128
    projector = projection.build(
        inputs=backbone.dim,
        hidden=config.hidden or max(512, backbone.dim),
        outputs=outputs,
        norm=config.head_norm or "none",
    )
    queue = config.queue or queue_size(facts.records, facts.batch_size)
    momentum = (0.999 if facts.steps >= 50_000 else 0.99) if config.momentum is None else config.momentum
    logger.info("moco v2: queue of %d keys for %d records, momentum %g", queue, facts.records, momentum)
    return MoCoV2(
        backbone,
        projector,
        temperature=config.temperature,
        momentum=momentum,
        queue=queue,
        outputs=outputs,
        groups=config.groups,
    )


def _build_v3(backbone: Backbone, config: Config, facts: Facts) -> MoCoV3:
    outputs = config.outputs or 256
    hidden = config.hidden or max(512, 2 * backbone.dim)
    norm = config.head_norm or "batch"
    final = norm == "batch"
    projector = projection.build(inputs=backbone.dim, hidden=hidden, outputs=outputs, norm=norm, final_norm=final)
    predictor = projection.build(inputs=outputs, hidden=hidden, outputs=outputs, norm=norm, final_norm=final)
    momentum = base_for(facts.steps * facts.batch_size / max(1, facts.records))
    momentum = momentum if config.momentum is None else config.momentum
    return MoCoV3(backbone, projector, predictor, temperature=config.temperature, momentum=momentum)
