"""DINO: small crops of a record follow a slow teacher's view of the whole, as distributions over prototypes.

Paper: Caron et al. 2021, "Emerging properties in self-supervised vision transformers", arXiv 2104.14294; section 3
and appendix C.
Published: ImageNet, 800 epochs: ViT-S/16, kNN 74.5 %, linear 77.0 %; ResNet-50, kNN 67.5 %, linear 75.3 % (table 2).
CIFAR-10, ResNet-18: batch 128, 200 epochs, without small crops, kNN 84.0 % (lightly's benchmark page, best epoch on
test); 1000 epochs, online linear 89.5 % (solo-learn's results page).
Checked against: lightly's loss, head, centre and momentum update, one whole update with small crops on real images.

Not for a few minutes on a CPU: the teacher has little to say at first, and after a minute on one core the features
were no better than an untrained network's (`simclr` and `vicreg` were). Not without an eye on the figures `entropy`
and `used`: it collapses where centre, temperatures and teacher do not suit each other.

Two large views and several small ones (multi-crop). The student sees all, the teacher the large ones only. As in the
authors' code (facebookresearch/dino/main_dino.py) views of one size pass the backbone together and all views pass the
head together; the teacher computes in training mode. Small views have a smaller side where the backbone takes any
(`any_side`); else they are small parts of the picture at the full side, which costs more and teaches alike.

What the authors count in epochs of 100 or more (rising temperature, held prototypes) are shares of the run here.
The head begins as linear layers of PyTorch do: the authors' deviation of 0.02 shrinks the features of narrow networks
so much that the normalisation after it makes the first steps far too long.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import Annotated, Any, Literal, NamedTuple, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.heads import projection
from bodh.heads.prototypes import Prototypes
from bodh.losses.gather import average
from bodh.losses.self_distillation import self_distillation
from bodh.losses.teacher import Teacher

FAMILY = "contrast"
NEEDS = Needs(smallest_batch=2)
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.04, "weight_decay_end": 0.4, "warmup": 0.1,
    "clip": 3.0,
}  # fmt: skip

LARGE = 2
"""Large views: what the teacher sees."""

Share = Annotated[float, Field(gt=0, le=1)]
Temperature = Annotated[float, Field(ge=0.001, le=10)]


class Config(BaseConfig):
    """Settings of DINO."""

    outputs: int = Field(1024, ge=2, le=1 << 20, description="prototypes (paper: 65536)")
    hidden: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="width of the head's hidden layers; empty: the backbone's, at least 256 (paper: 2048)",
    )
    bottleneck: int = Field(
        128, ge=1, le=65536, description="width of what is compared with the prototypes (paper: 256)"
    )
    head_norm: Literal["batch", "none"] = Field(
        "batch",
        description="normalisation inside the head and before the prototypes (paper: none, for hundreds of epochs)",
    )
    small_views: int = Field(2, ge=0, le=32, description="small views beside the two large ones (paper: 8 or 10)")
    small_side: Share = Field(
        0.43, description="side of small views as a share of the large ones' (paper: 96 of 224), if the backbone can"
    )
    small_scale: tuple[Share, Share] = Field(
        (0.05, 0.4), description="share of the picture's area in small views, (least, most)"
    )
    large_scale: tuple[Share, Share] = Field(
        (0.4, 1.0), description="share of the picture's area in large views, (least, most)"
    )
    momentum: float | None = Field(
        None,
        ge=0,
        le=1,
        description="the teacher's momentum at the start, rising to 1 along a cosine; "
        "empty: 1 - 50 / steps, from 0.9 up to the paper's 0.996",
    )
    student_temperature: Temperature = Field(0.1, description="divisor of the student's scores")
    teacher_temperature: tuple[Temperature, Temperature] = Field(
        (0.04, 0.04),
        description="divisor of the teacher's scores, at the start and after the warm-up (paper: 0.04 and 0.07; "
        "a short run learns more from the sharper)",
    )
    temperature_warmup: float = Field(
        0.3, ge=0, le=1, description="share of the run in which the teacher's temperature rises (paper: 30 epochs)"
    )
    centre_momentum: float = Field(0.9, ge=0, lt=1, description="of the running mean of the teacher's scores")
    held: float = Field(
        0.01, ge=0, le=1, description="share of the run in which the prototypes stay (paper: the first epoch)"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("small_scale", "large_scale"):
            least, most = getattr(self, name)
            if least > most:
                raise ValueError(f"{name} must be (least, most), got ({least:g}, {most:g})")
        return self


class Temperatures(NamedTuple):
    """Divisors of scores: the student's, and the teacher's, which rises in the first share `warmup` of the run."""

    student: float
    first: float
    last: float
    warmup: float

    def teacher(self, fraction: float) -> float:
        """Return the teacher's after `fraction` (0 to 1) of the run."""
        done = 1.0 if self.warmup == 0 else min(1.0, fraction / self.warmup)
        return self.first + (self.last - self.first) * done


class DINO(nn.Module):
    """The objective: student and teacher with head and prototypes, centre, small and large views."""

    centre: Tensor

    def __init__(
        self,
        backbone: Backbone,
        projector: nn.Module,
        prototypes: Prototypes,
        *,
        views: ViewSpec,
        temperatures: Temperatures,
        momentum: float,
        centre_momentum: float,
        held: float,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.prototypes = prototypes
        self.teacher = Teacher(cast("nn.Module", backbone), nn.Sequential(projector, prototypes), momentum=momentum)
        self.register_buffer("centre", torch.zeros(len(prototypes.weight)))  # [k]
        self.temperatures = temperatures
        self.centre_momentum = centre_momentum
        self.held = held
        self._views = views
        self._waiting: list[Tensor] = []  # mean scores of the running step's micro-batches, until it is done
        self._waiting_step = -1

    def views(self) -> ViewSpec:
        """Return two large views, not drawn alike (as BYOL), and the small ones."""
        return self._views

    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        """Return the loss of one batch of large and small views."""
        held = progress.fraction < self.held
        students = self.prototypes(self.projector(self._see(batch.views)), held=held)
        teachers = self.teacher(torch.cat(batch.views[:LARGE])).unflatten(0, (LARGE, -1))  # [2 n k]
        temperature = self.temperatures.teacher(progress.fraction)
        loss = self_distillation(
            students.unflatten(0, (len(batch.views), -1)),  # [v n k]
            teachers,
            self.centre,
            student_temperature=self.temperatures.student,
            teacher_temperature=temperature,
        )
        if self._waiting_step != progress.step:  # scores of a step that was skipped
            self._waiting.clear()
        self._waiting_step = progress.step
        self._waiting.append(teachers.to(self.centre.dtype).mean(dim=(0, 1)))
        return StepOutput(loss, _figures((teachers - self.centre) / temperature))

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        """Move the teacher, and the centre towards the step's mean score over all processes (paper, equation 4)."""
        head = nn.Sequential(self.projector, self.prototypes)
        self.teacher.follow(cast("nn.Module", self.backbone), head, progress.fraction)
        if self._waiting:
            mean = average(torch.stack(self._waiting).mean(dim=0))
            self._waiting.clear()
            self.centre.lerp_(mean, 1 - self.centre_momentum)

    def keep(self) -> nn.ModuleDict:
        """Return the student's backbone; teacher, head, prototypes and centre are thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._waiting.clear()  # they belong to the state before
        super()._load_from_state_dict(*args, **kwargs)

    def _see(self, views: tuple[Tensor, ...]) -> Tensor:
        """Return the student's features [v·n d], view after view; views of one shape pass together."""
        together = (torch.cat(list(alike)) for _, alike in groupby(views, key=lambda view: view.shape[1:]))
        return torch.cat([self.backbone(part) for part in together])


def build(backbone: Backbone, config: Config, facts: Facts) -> DINO:
    """Build the objective.

    Args:
        backbone: gives pooled features; the teacher starts as its copy. With `any_side`, small views are smaller.
        config: settings.
        facts: the planned steps choose the momentum where `config` leaves it open.
    """
    projector = projection.build(
        inputs=backbone.dim,
        hidden=config.hidden or max(256, backbone.dim),
        outputs=config.bottleneck,
        layers=3,
        norm=config.head_norm,
        final_norm=config.head_norm == "batch",
        activation="gelu",
    )
    return DINO(
        backbone,
        projector,
        Prototypes(config.bottleneck, config.outputs),
        views=_views(config, any_side=getattr(backbone, "any_side", False)),
        temperatures=Temperatures(config.student_temperature, *config.teacher_temperature, config.temperature_warmup),
        momentum=momentum_for(facts.steps) if config.momentum is None else config.momentum,
        centre_momentum=config.centre_momentum,
        held=config.held,
    )


def momentum_for(steps: int) -> float:
    """Return the teacher's base momentum for a run of so many steps: it shall not stay what chance made it.

    The teacher forgets in 1 / (1 - momentum) steps: a fiftieth of the run, at least 10 and at most the paper's 250.
    """
    return min(0.996, max(0.9, 1 - 50 / max(1, steps)))


def _views(config: Config, *, any_side: bool) -> ViewSpec:
    large = [View("strong", {"crop_scale": config.large_scale, "solarise": chance}) for chance in (0.0, 0.2)]
    small: dict[str, Any] = {"crop_scale": config.small_scale}
    if any_side:
        small["side"] = config.small_side
    return (*large, *[View("strong", small)] * config.small_views)


@torch.no_grad()
def _figures(scores: Tensor) -> dict[str, Tensor]:
    """Return what tells a collapse, from the teacher's centred and sharpened scores [2 n k].

    Figures: agreement, the share of records whose two large views are nearest to one prototype; entropy of the
    distributions, 0 to 1 (1: all prototypes alike, the one collapse); used, the effective number of prototypes in the
    batch (1: all records alike, the other one).
    """
    first, second = scores.argmax(dim=2)
    shares = scores.float().softmax(dim=2)
    entropy = torch.special.entr(shares).sum(dim=2).mean() / math.log(scores.shape[2])
    used = torch.special.entr(shares.mean(dim=(0, 1))).sum().exp()
    return {"agreement": (first == second).float().mean(), "entropy": entropy, "used": used}
