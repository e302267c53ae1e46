"""What every objective must pass, ours and yours: `check_objective(module)`, or one of `CHECKS` at a time.

    from bodh.testing.objectives import CHECKS, Subject

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_mine(check):
        check(Subject(my_objective))

A failed check raises AssertionError that says what the objective did and what the loop relies on. Everything runs
on a tiny backbone in a fraction of a second. Axes: `n` records, `c h w` image, `t` tokens, `d` feature.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast, get_args

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from bodh.backbones._stages import pooled
from bodh.contracts import Batch, Facts, Features, NetworkSpec, Objective, Progress, Task, Tokens, View, derive_seed
from bodh.train.config import TrainConfig

FAMILIES = ("contrast", "mask", "reconstruct", "predict", "pretext", "supervise")
KEPT = {"backbone", "head"}
ROWS = 16
STEPS = 20
WRITTEN = 12
"""Tokens of a text that is to be written for a record of another kind."""
SPECIAL, VOCABULARY = 5, 24
"""Token ids of texts: padding, unknown, begin, end and mask, in this order; and how many there are in all."""


class TinyBackbone(nn.Module):
    """A backbone of a few thousand weights with batch normalisation; offers pooled features, tokens and a map."""

    def __init__(self, shape: tuple[int, ...], *, dim: int = 16) -> None:
        super().__init__()
        self.spec = NetworkSpec("backbones", "tiny", {"shape": list(shape), "dim": dim})
        self.dim = dim
        self.block_names = ("first", "second")
        if len(shape) == 3:
            self.first = nn.Sequential(nn.Conv2d(shape[0], 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
            self.second = nn.Sequential(nn.Conv2d(8, dim, 3, stride=2, padding=1), nn.BatchNorm2d(dim), nn.ReLU())
        else:
            self.first = nn.Sequential(nn.Flatten(), nn.LazyLinear(32), nn.BatchNorm1d(32), nn.ReLU())
            self.second = nn.Sequential(nn.Linear(32, dim), nn.BatchNorm1d(dim), nn.ReLU())
            self.first(torch.zeros(2, *shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features `[n d]`."""
        return self.features(x).pooled

    def features(self, x: Tensor) -> Features:
        """Return pooled features, and for images the map and its positions as tokens."""
        y = self.second(self.first(x))
        if y.ndim == 2:
            return Features(y, None, None)
        return Features(y.mean(dim=(2, 3)), y.flatten(2).transpose(1, 2), y)

    def blocks(self, x: Tensor, *, grid: int = 1) -> dict[str, Tensor]:
        """Return the pooled features of both blocks."""
        first = self.first(x)
        return {name: pooled(y, grid=grid) for name, y in (("first", first), ("second", self.second(first)))}

    def block_modules(self) -> dict[str, list[nn.Module]]:
        """Return the modules of both blocks."""
        return {"first": [self.first], "second": [self.second]}


@dataclass(frozen=True)
class Subject:
    """What is checked: an objective's module, and the circumstances that it is checked under.

    Attributes:
        module: holds `Config`, `NEEDS`, `FAMILY`, `DEFAULTS` and `build`.
        settings: overrides of `Config`.
        task: what labels mean; used by objectives that need labels. One whose module lists others as `TASKS` gets the
            first of them.
        shape: of one prepared record.
        text: whether records are rows of token ids.
        rate: of the plain gradient descent that it is trained with.
    """

    module: ModuleType
    settings: dict[str, Any] = field(default_factory=dict)
    task: Task = "single"
    shape: tuple[int, ...] = (3, 8, 8)
    text: bool = False
    rate: float = 0.05

    def build(self, seed: int = 0) -> nn.Module:
        """Return a newly built objective in training mode, its weights drawn from `seed`."""
        task = self.means
        classes = 2 if task == "binary" else 4
        labels: dict[str, Any] = {"task": task, "class_names": tuple(f"वर्ग {k}" for k in range(classes))}
        if task == "regress":
            labels |= {"target_mean": (3.0,) * classes, "target_deviation": (2.0,) * classes}
        else:
            labels["class_counts"] = (ROWS,) * classes
        facts = Facts(
            records=8 * ROWS, steps=STEPS, batch_size=ROWS, **self._about_records(),
            **cast("Any", labels if self.module.NEEDS.labels else {}),
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("testing", seed))
            built = self.module.build(self._backbone(), self.module.Config(**self.settings), facts)
        return cast("nn.Module", built.train())

    def _backbone(self) -> nn.Module:
        """Return the tiny backbone, or where patches must be left out or texts are read a tiny transformer."""
        if self.text:
            from bodh.backbones import transformer

            wanted: dict[str, Any] = getattr(self.module, "BACKBONE", {})
            known = {key: value for key, value in wanted.items() if key in transformer.Config.model_fields}
            own = {"width": 16, "depth": 2, "heads": 2, **known}
            return transformer.build(shape=self.shape, vocabulary=VOCABULARY, padding=0, **own)
        if not self.module.NEEDS.masking:
            return TinyBackbone(self.shape)
        from bodh.backbones import vit

        return vit.build(shape=self.shape, width=16, depth=2, heads=2, patch=2)

    def _about_records(self) -> dict[str, Any]:
        """Return what `Facts` tells of the records, and the same teacher every time where one is needed."""
        facts: dict[str, Any] = {"shape": self.shape}
        if len(self.shape) == 3:
            facts |= {"mean": (0.5,) * self.shape[0], "std": (0.25,) * self.shape[0]}
        facts["sample"] = lambda most: self._records(most, torch.Generator().manual_seed(1))
        if self.speaks:
            special = np.arange(VOCABULARY) < SPECIAL
            starts = special | (np.arange(VOCABULARY) % 2 == 0)
            facts |= {"tokens": Tokens(VOCABULARY, 0, 1, 2, 3, 4, starts, special), "bytes_per_token": 2.5}
            facts["length"] = self.shape[0] if self.text else WRITTEN
        if self.module.NEEDS.teacher:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed("testing", "teacher"))
                facts["teacher"] = self._backbone() if self.text else TinyBackbone(self.shape, dim=24)
        return facts

    def _records(self, count: int, generator: torch.Generator) -> Tensor:
        """Return prepared records `[count …]`; texts are of two documents where rows are packed, else padded."""
        if not self.text:
            return torch.randn(count, *self.shape, generator=generator)
        return self._ids(count, self.shape[0], generator)

    def _ids(self, count: int, length: int, generator: torch.Generator) -> Tensor:
        """Return rows of token ids `[count length]`."""
        ids = torch.randint(SPECIAL, VOCABULARY, (count, length), generator=generator)
        ids[:, 0], ids[:, -1] = 2, 3
        middle = length // 2
        ids[1::2, middle] = 3
        if self.module.NEEDS.packed:
            ids[1::2, middle + 1] = 2
        else:
            ids[1::2, middle + 1 :] = 0
        return ids

    @property
    def speaks(self) -> bool:
        """Whether there are texts: records are, or one belongs to each, to be written."""
        return self.text or self.writes

    @property
    def writes(self) -> bool:
        """Whether a text is to be written for records that are none."""
        return bool(self.module.NEEDS.target) and not self.module.NEEDS.labels and not self.text

    @property
    def means(self) -> Task:
        """What labels mean to this objective."""
        able: tuple[Task, ...] = getattr(self.module, "TASKS", (self.task,))
        return self.task if self.task in able else able[0]

    def batch(self, seed: int = 0) -> Batch:
        """Return a batch of as many views as the objective asks for; views of a record are alike, targets learnable."""
        generator = torch.Generator().manual_seed(derive_seed("testing", "batch", seed))
        records = self._records(ROWS, generator)
        views = tuple(
            records.clone() if self.text else records + 0.3 * torch.randn(records.shape, generator=generator)
            for _ in as_objective(self.build()).views()
        )
        if self.writes:
            views = (records, self._ids(ROWS, WRITTEN, generator))
        if self.means == "tags":  # what is to be told of a token follows from its id; of special ones there is nothing
            views = (records, torch.where(records < SPECIAL, -100, records % 4))
        targets: Tensor | None = None
        if self.module.NEEDS.labels:
            index = torch.arange(ROWS) % (2 if self.means == "binary" else 4)
            targets = index
            if self.means in {"multi", "regress"}:
                targets = torch.nn.functional.one_hot(index, 4).float()
            if self.module.NEEDS.unlabelled:
                targets = index.where(torch.arange(ROWS) % 2 == 0, -1)
        return Batch(views, torch.arange(ROWS), targets, seed=derive_seed("testing", "step", seed))


Check = Callable[[Subject], None]


def check_objective(module: ModuleType, **circumstances: Any) -> None:
    """Run every check on `module` under `circumstances` (see `Subject`). Raises AssertionError at the first failure."""
    for check in CHECKS:
        check(Subject(module, **circumstances))


def as_objective(built: nn.Module) -> Objective:
    """Return the module seen as what it must be."""
    return cast("Objective", built)


def check_declares(subject: Subject) -> None:
    """The file says what it is, what it needs and how it is trained."""
    module = subject.module
    first = (module.__doc__ or "").strip().split("\n", 1)[0]
    _claim(20 <= len(first) <= 120, f"the header's first line is its summary in listings; it is {first!r}")
    _claim(module.FAMILY in FAMILIES, f"FAMILY is {module.FAMILY!r}, not one of {FAMILIES}")
    try:
        TrainConfig(**module.DEFAULTS)
    except ValidationError as error:
        raise AssertionError(f"DEFAULTS are no settings of training: {error}") from error
    config: type[BaseModel] = module.Config
    _claim(config.model_config.get("extra") == "forbid", "Config must refuse unknown settings (extra='forbid')")
    _claim(bool(config.model_config.get("frozen")), "Config must be frozen")
    for name, setting in config.model_fields.items():
        _claim(bool(setting.description), f"the setting {name!r} has no description")
        _claim(not setting.is_required(), f"the setting {name!r} has no default; an objective must work as it comes")


def check_views(subject: Subject) -> None:
    """Views are asked for as data, the same every time."""
    objective = as_objective(subject.build())
    spec = objective.views()
    kinds = get_args(View.__annotations__["kind"]) or ("strong", "weak", "crop", "plain", "target")
    _claim(isinstance(spec, tuple) and len(spec) > 0, f"views() returned {spec!r}, not a tuple of View")
    _claim(all(isinstance(view, View) and view.kind in kinds for view in spec), f"views() holds no View: {spec!r}")
    _claim(spec == objective.views(), "views() answered differently the second time")


def check_step(subject: Subject) -> None:
    """A step gives a finite scalar with gradient, detached figures, and leaves its input alone."""
    objective, batch = subject.build(), subject.batch()
    before = [tensor.clone() for tensor in _tensors(batch)]
    output = objective(batch, _at(0))
    _claim(output.loss.shape == (), f"the loss has shape {tuple(output.loss.shape)}, not a scalar")
    _claim(bool(output.loss.isfinite()), f"the loss of the first step is {output.loss.item()}")
    _claim(output.loss.requires_grad, "the loss has no gradient")
    for name, figure in output.figures.items():
        _claim(isinstance(figure, Tensor) and figure.shape == (), f"the figure {name!r} is no scalar tensor")
        _claim(not figure.requires_grad, f"the figure {name!r} is not detached: it would keep the whole graph alive")
    output.loss.backward()
    same = all(torch.equal(now, then) for now, then in zip(_tensors(batch), before, strict=True))
    _claim(same, "the step changed its input in place")
    backbone = as_objective(objective).keep()["backbone"]
    gradient = sum(float(p.grad.abs().sum()) for p in backbone.parameters() if p.grad is not None)
    _claim(gradient > 0, "no gradient reached the backbone")


def check_every_parameter_learns(subject: Subject) -> None:
    """Every trainable parameter gets a gradient in every step: data-parallel training waits for it otherwise.

    A module may list the exceptions, by the start of their names, as `WITHOUT_GRADIENT`.
    """
    objective = subject.build()
    objective(subject.batch(), _at(0)).loss.backward()
    excepted = tuple(getattr(subject.module, "WITHOUT_GRADIENT", ()))
    idle = [
        name
        for name, parameter in objective.named_parameters()
        if parameter.requires_grad and parameter.grad is None and not name.startswith(excepted)
    ]
    _claim(not idle, f"parameters without gradient: {', '.join(idle)}; freeze them or list them in WITHOUT_GRADIENT")


def check_keep(subject: Subject) -> None:
    """What is kept is what was trained, under known names, and can be built again."""
    objective = subject.build()
    kept = as_objective(objective).keep()
    _claim(isinstance(kept, nn.ModuleDict), f"keep() returned {type(kept).__name__}, not a ModuleDict")
    _claim("backbone" in kept and set(kept) <= KEPT, f"keep() holds {sorted(kept)}; allowed: backbone, head")
    own = {id(parameter) for parameter in objective.parameters()}
    for name, module in kept.items():
        _claim(isinstance(getattr(module, "spec", None), NetworkSpec), f"{name!r} has no .spec to be built again from")
        _claim(all(id(p) in own for p in module.parameters()), f"{name!r} does not share the trained weights")
        _claim(all(p.requires_grad for p in module.parameters()), f"{name!r} is a copy that is not trained")


def check_after_step(subject: Subject) -> None:
    """After the step, trained parameters stay as the optimiser left them; teachers and buffers may move."""
    objective = subject.build()
    _train(objective, [subject.batch()], after=False)
    before = {name: parameter.detach().clone() for name, parameter in objective.named_parameters()}
    as_objective(objective).after_step(_at(0))
    for name, parameter in objective.named_parameters():
        moved = not torch.equal(parameter, before[name])
        _claim(not (moved and parameter.requires_grad), f"after_step changed the trained parameter {name}")
        _claim(parameter.requires_grad or parameter.grad is None, f"the frozen parameter {name} has a gradient")


def check_resumes(subject: Subject) -> None:
    """All state is in the state dict: restored into another build, training goes on bit for bit."""
    first, second = subject.build(seed=0), subject.build(seed=1)
    _train(first, [subject.batch(number) for number in range(3)])
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second.load_state_dict(torch.load(saved, weights_only=True))
    following = [subject.batch(number) for number in (3, 4)]
    losses = [_train(objective, following, start=3) for objective in (first, second)]
    _claim(losses[0] == losses[1], f"after a resume the losses were {losses[1]} instead of {losses[0]}")


def check_deterministic(subject: Subject) -> None:
    """What the objective draws comes from the batch's seed alone."""
    losses = []
    for number in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            # the networks of texts drop out, as the loop seeds it; no other may touch the global state
            losses.append(_train(subject.build(), [subject.batch(0), subject.batch(1)], seeded=subject.speaks))
    _claim(losses[0] == losses[1], f"the same batches gave {losses[0]} and {losses[1]}: draw from batch.seed")


def check_learns(subject: Subject) -> None:
    """Twenty steps on one batch lower its loss; teacher, queue and schedules are held still: the question stays."""
    losses = _train(
        subject.build(), [subject.batch()] * STEPS, after=False, at=_at(STEPS // 2), rate=subject.rate
    )  # fmt: skip
    _claim(losses[-1] < losses[0], f"the loss went from {losses[0]:.4f} to {losses[-1]:.4f} in {STEPS} steps")


def check_half_precision(subject: Subject) -> None:
    """Under autocast the loss is computed in float32 and stays near."""
    losses = []
    for halved in (False, True):
        with torch.random.fork_rng(devices=[]), torch.autocast("cpu", torch.bfloat16, enabled=halved):
            torch.manual_seed(0)  # dropout is the same in both
            losses.append(subject.build()(subject.batch(), _at(0)).loss)
    plain, half = losses
    _claim(half.dtype == torch.float32, f"under autocast the loss is {half.dtype}")
    near = torch.allclose(half, plain, rtol=0.1, atol=0.05)
    _claim(near, f"under autocast the loss is {half.item():.4f} instead of {plain.item():.4f}")


def check_memory_format(subject: Subject) -> None:
    """Channels-last networks and views give the same loss."""
    if len(subject.shape) != 3:
        return
    batch = subject.batch()
    plain = subject.build().train(not subject.writes)(batch, _at(0)).loss  # what writes drops out in training
    turned = subject.build().train(not subject.writes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    views = tuple(
        view.contiguous(memory_format=torch.channels_last) if view.ndim == 4 else view for view in batch.views
    )
    other = turned(Batch(views, batch.index, batch.targets, batch.seed), _at(0)).loss
    near = torch.allclose(plain, other, rtol=1e-4)
    _claim(near, f"channels-last, the loss is {other.item():.6f} instead of {plain.item():.6f}")


def check_frozen_backbone(subject: Subject) -> None:
    """With a frozen backbone the heads still learn and the backbone stays."""
    objective = subject.build()
    backbone = as_objective(objective).keep()["backbone"].requires_grad_(False)
    before = [parameter.clone() for parameter in backbone.parameters()]
    if not any(parameter.requires_grad for parameter in objective.parameters()):
        return
    _train(objective, [subject.batch()] * 2)
    same = all(torch.equal(now, then) for now, then in zip(backbone.parameters(), before, strict=True))
    _claim(same, "a frozen backbone changed")


CHECKS: tuple[Check, ...] = (
    check_declares,
    check_views,
    check_step,
    check_every_parameter_learns,
    check_keep,
    check_after_step,
    check_resumes,
    check_deterministic,
    check_learns,
    check_half_precision,
    check_memory_format,
    check_frozen_backbone,
)


def _claim(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _at(step: int) -> Progress:
    return Progress(step=step, steps=STEPS, epoch=0, epochs=1)


def _tensors(batch: Batch) -> list[Tensor]:
    return [*batch.views, batch.index, *([] if batch.targets is None else [batch.targets])]


def _train(
    objective: nn.Module,
    batches: list[Batch],
    *,
    start: int = 0,
    after: bool = True,
    at: Progress | None = None,
    rate: float = 0.05,
    seeded: bool = True,
) -> list[float]:
    """Train as the loop does, one step a batch, where `at` is given always at that point; return the losses."""
    # Plain gradient descent has no state of its own, so that a resume needs the objective's state alone.
    optimiser = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=rate)
    losses = []
    for step, batch in enumerate(batches, start):
        with torch.random.fork_rng(devices=[], enabled=seeded):
            if seeded:
                torch.manual_seed(batch.seed)  # dropout and the like, as in the loop
            output = objective(batch, at or _at(step))
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        if after:
            as_objective(objective).after_step(_at(step))
        losses.append(float(output.loss.detach()))
    return losses
