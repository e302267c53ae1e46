"""The loop: fetch, vary, forward, backward, guard, clip, step, after-step, log, monitor, save.

It knows the objective protocol and no objective. The order of records, the views and the network's own randomness
are functions of (seed, step); with the checkpoint a run killed at any moment continues bit for bit.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from bodh.contracts import Json, Objective
from bodh.contracts import Progress as Where
from bodh.errors import Diverged, Interrupted
from bodh.records.feed import Feed
from bodh.train import checkpoint, signals
from bodh.train.config import TrainConfig
from bodh.train.engine import Engine
from bodh.train.find import find_rate
from bodh.train.freeze import Freezer
from bodh.train.log import JsonLog, Progress
from bodh.train.monitor import Choice, Monitor
from bodh.train.optimise import Clock, Plan, build_optimiser, decay_at, rate_at
from bodh.train.tally import Tally
from bodh.train.validate import Best, Validation

logger = logging.getLogger("bodh")


@dataclass
class Outcome:
    """What a finished run reports: steps, epochs, seconds of training, skipped steps, last scores, the choice."""

    steps: int
    epochs: float
    seconds: float
    skipped: int
    scores: Json
    choice: Json


@dataclass
class Training:
    """Everything that a run changes: saved and restored as one."""

    objective: nn.Module
    feed: Feed
    config: TrainConfig
    engine: Engine
    plan: Plan
    held: tuple[str, ...] = ()
    """stages of the backbone that never train"""
    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    scores: Json = field(default_factory=dict)
    choice: Choice = field(default_factory=Choice)
    best: Best = field(default_factory=Best)

    def __post_init__(self) -> None:
        if self.config.channels_last:
            self.objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective.to(self.engine.device)
        self.freezer = Freezer(
            self.objective, self.backbone,
            held=self.held, gradual=self.config.gradual, norms=self.config.frozen_norms,
        )  # fmt: skip
        self.optimiser = build_optimiser(self.objective, self.config, backbone=self.backbone)
        self.scaler = torch.amp.GradScaler(self.engine.device.type, enabled=self.engine.precision is torch.float16)
        self.trainable = [parameter for parameter in self.objective.parameters() if parameter.requires_grad]
        self.sane = [buffer.clone() for buffer in self.objective.buffers()]
        self.clock = Clock()
        self.tally = Tally(self.feed)
        self.born = time.monotonic()
        if self.config.compile:
            for name in ("forward", "features"):  # objectives call either
                setattr(self.backbone, name, torch.compile(getattr(self.backbone, name)))
        self.thaw()

    @property
    def methods(self) -> Objective:
        """The objective's protocol, beside its being a module."""
        return cast("Objective", self.objective)

    @property
    def backbone(self) -> nn.Module:
        """The network whose features are scored."""
        return self.methods.keep()["backbone"]

    @property
    def ended(self) -> bool:
        """True where the plan is fulfilled, or validation has not got better for `patience` epochs."""
        patience = self.config.patience
        return self.step >= self.plan.steps or (patience is not None and self.best.stale >= patience)

    def thaw(self) -> None:
        """Let those parts train that do so by now; data-parallel hooks are made anew, for they hang on what trains."""
        if self.freezer.enter(self.plan.fraction(self.step)):
            self.model = self.engine.wrap(self.objective)

    def elapsed(self) -> float:
        """Return seconds of training so far, earlier lives of a resumed run included."""
        return self.plan.spent + time.monotonic() - self.born

    def progress(self) -> Where:
        """Return where the run stands, for the objective."""
        per_epoch = self.feed.steps_per_epoch
        return Where(self.step, self.plan.steps, self.feed.epoch(self.step), math.ceil(self.plan.steps / per_epoch))

    def state(self) -> Json:
        """Return all state as tensors and plain values."""
        return {
            "step": self.step,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "scores": self.scores,
            "choice": self.choice.to_json(),
            "best": self.best.to_json(),
            "plan": self.plan.to_json() | {"spent": self.elapsed()},
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: Json) -> None:
        """Take up the run where `state` was saved."""
        self.step, self.skipped = state["step"], state["skipped"]
        self.skipped_in_a_row, self.scores = state["skipped_in_a_row"], state["scores"]
        self.choice, self.plan = Choice(**state["choice"]), Plan(**state["plan"])
        self.best = Best(**state.get("best", {}))
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.sane = [buffer.clone() for buffer in self.objective.buffers()]


def train(
    training: Training, *, run: Path, monitor: Monitor | None, title: str, validation: Validation | None = None
) -> Outcome:
    """Train until the plan is fulfilled; resume from the newest checkpoint in `run` where there is one.

    With `validation`, loss and figures are measured on it every epoch; with `patience`, the best weights are kept.

    Raises:
        Interrupted: SIGINT or SIGTERM, after a finished step and a saved checkpoint.
        Diverged: too many steps in a row whose loss or gradient was not finite.
        OutputError: a checkpoint could not be written.
    """
    config, engine = training.config, training.engine
    saved = checkpoint.newest(run / "checkpoints")
    if saved is not None:
        training.restore(saved)
        logger.info("resuming %s at step %d of %d", run, training.step, training.plan.steps)
    else:
        if config.learning_rate == "find":
            training.plan.rate = find_rate(training, _one_step, run)
        if training.plan.seconds is not None:
            training.plan.steps = _plan_steps(training)
    every, per_epoch = _monitor_interval(training), training.feed.steps_per_epoch
    log = JsonLog(run / "log.jsonl" if engine.leads else None, resumed_at=training.step)
    bar = Progress(
        config.progress if engine.leads else "none", title=title, steps=training.plan.steps, start=training.step
    )
    last_saved = last_logged = time.monotonic()
    logged_at = training.step
    training.clock = Clock()
    training.tally.clear()
    with signals.watch() as stop, log, bar, closing(training.feed):
        while not training.ended:
            figures = _one_step(training)
            training.step += 1
            bar.advance(training.step)
            now = time.monotonic()
            if training.step % config.log_every == 0 or training.step == training.plan.steps:
                record = _step_record(training, figures, training.step - logged_at, max(now - last_logged, 1e-9))
                log.write(record)
                bar.update(record)
                pace = engine.share((now - last_logged) / (training.step - logged_at))
                if training.plan.revise(training.step, engine.share(training.elapsed()), pace):
                    logger.debug("pace %.3f s a step: %d steps planned", pace, training.plan.steps)
                last_logged, logged_at = now, training.step
            if monitor is not None and (training.step % every == 0 or training.step == training.plan.steps):
                _look(training, monitor, log, bar)
                training.clock.lap("other")
            if validation is not None and (training.step % per_epoch == 0 or training.step == training.plan.steps):
                _validate(training, validation, log, bar)
                training.clock.lap("other")
            stopping = engine.agree(stop.number is not None)
            if stopping or training.ended or now - last_saved >= 60 * config.checkpoint_minutes:
                _save(training, run)
                last_saved = time.monotonic()
                training.clock.lap("other")
            if stopping and not training.ended:
                number = stop.number or 15
                raise Interrupted(
                    number, f"stopped at step {training.step}; the run is saved, type the same line with --resume"
                )
        choice = _settle(training)
        log.write(
            {"kind": "event", "event": "end", "step": training.step, "choice": choice, "seconds": training.elapsed()}
        )
    epochs = training.step / training.feed.steps_per_epoch
    return Outcome(training.step, epochs, training.elapsed(), training.skipped, training.scores, choice)


def _one_step(training: Training, rate: float | None = None) -> dict[str, Tensor]:
    """Do one optimiser step, at `rate` or else the schedule's; return the last micro-batch's figures, on the device."""
    config, engine, optimiser = training.config, training.engine, training.optimiser
    progress = training.progress()
    training.thaw()
    if rate is None:
        rate = rate_at(training.plan.fraction(training.step), config, training.plan.rate)
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)  # runs begun before there were scales have none
        if config.weight_decay_end is not None and group.get("decays", True):
            group["weight_decay"] = decay_at(training.plan.fraction(training.step), config)
    losses: list[Tensor] = []
    figures: dict[str, Tensor] = {}
    for part in range(config.accumulate):
        batch = training.feed.micro_batch(training.step, part, training.clock.lap)
        training.tally.add(batch.views)
        torch.manual_seed(batch.seed)  # dropout and the like
        last = part == config.accumulate - 1
        alone = nullcontext() if last or engine.world == 1 else cast("Any", training.model).no_sync()
        with alone:
            with engine.autocast():
                output = training.model(batch, progress)
            training.scaler.scale(output.loss / config.accumulate).backward()
        losses.append(output.loss.detach())
        figures = dict(output.figures)
    training.scaler.unscale_(optimiser)
    gradients = [parameter.grad for parameter in training.trainable if parameter.grad is not None]
    norm = get_total_norm(gradients)
    loss = torch.stack(losses).mean()
    if _finite(training, loss, norm):
        if config.clip is not None:
            clip_grads_with_norm_(training.trainable, config.clip, norm)
        training.scaler.step(optimiser)
        training.methods.after_step(progress)
    training.scaler.update()
    optimiser.zero_grad(set_to_none=True)
    training.clock.lap("network")
    return figures | {"loss": loss, "grad_norm": norm}


def _finite(training: Training, loss: Tensor, norm: Tensor) -> bool:
    """Count a step whose loss or gradient is not finite; it changes no weight. Raises Diverged on too many."""
    if training.engine.agree(not bool(torch.isfinite(loss) & torch.isfinite(norm))):
        training.skipped += 1
        training.skipped_in_a_row += 1
        logger.warning("step %d: loss %s, gradient norm %s; skipped", training.step, loss.item(), norm.item())
        for buffer, sane in zip(training.objective.buffers(), training.sane, strict=True):
            buffer.copy_(sane)  # running statistics saw the bad batch
        if training.skipped_in_a_row >= training.config.not_finite:
            raise Diverged(
                f"the loss was not finite in {training.skipped_in_a_row} steps in a row up to step {training.step}; "
                "the last good checkpoint is kept. Try a lower learning_rate, clip=1.0 or precision=float32"
            )
        return False
    training.skipped_in_a_row = 0
    for buffer, sane in zip(training.objective.buffers(), training.sane, strict=True):
        sane.copy_(buffer)
    return True


def _step_record(training: Training, figures: dict[str, Tensor], steps: int, seconds: float) -> Json:
    """Return what the log tells of the last `steps` steps, which took `seconds`; figures are of all processes."""
    return {
        "kind": "step",
        "step": training.step,
        "steps": training.plan.steps,
        "epoch": training.feed.epoch(training.step - 1),
        "lr": max(group["lr"] for group in training.optimiser.param_groups),
        "records_per_second": steps / seconds * training.config.batch,
        **training.tally.figures(training.engine, seconds),
        "seconds": training.elapsed(),
        "skipped": training.skipped,
        **training.engine.mean(figures),
        **training.clock.shares(),
    }


def _look(training: Training, monitor: Monitor, log: JsonLog, bar: Progress) -> None:
    """Score the backbone without labels; say a collapse at once."""
    if training.engine.leads:
        scores = monitor.score(training.backbone)
        training.scores = scores
        training.choice.see(training.step, scores, training.methods.keep())
        record = {"kind": "monitor", "step": training.step, **scores}
        log.write(record)
        bar.score(record)
        if scores["collapsed"]:
            logger.warning(
                "step %d: the representation has collapsed (feature deviation %.4f, effective rank %.1f); "
                "a lower learning_rate, stronger views or another objective usually helps",
                training.step, scores["std"], scores["rankme"],
            )  # fmt: skip
    training.engine.wait()


def _validate(training: Training, validation: Validation, log: JsonLog, bar: Progress) -> None:
    """Measure on the validation part, and take note where that was the best so far."""
    measured = validation.measure(training.methods, training.objective, training.progress())
    # on GPUs the last digit may differ between processes, and all must stop at the same step
    figures = {name: training.engine.share(value) for name, value in measured.items()}
    if training.config.patience is not None:
        training.best.see(training.step, figures, training.methods.keep())
    epoch = training.step / training.feed.steps_per_epoch
    record = {"kind": "validation", "step": training.step, "epoch": epoch, **figures}
    log.write(record)
    bar.validated(record)


def _settle(training: Training) -> Json:
    """Put the weights that the model keeps into the objective; return which, and by what rule."""
    kept = training.methods.keep()
    if training.best.step >= 0:
        record = training.best.settle(kept)
        logger.info("the weights of step %d of %d are kept: %s", record["chosen"], training.step, record["why"])
        return record
    return training.choice.settle(training.step, kept)


def _monitor_interval(training: Training) -> int:
    """Return the steps between two looks: an epoch, but at least 50 steps, so that looking stays cheap."""
    per_epoch = training.feed.steps_per_epoch
    if training.config.monitor_every is not None:
        return max(1, round(training.config.monitor_every * per_epoch))
    return max(50, per_epoch)


def _save(training: Training, run: Path) -> None:
    if training.engine.leads:
        checkpoint.save(run / "checkpoints", training.step, training.state(), keep=training.config.keep_checkpoints)
    training.engine.wait()


def _plan_steps(training: Training) -> int:
    """Time a few steps that change nothing and return how many fit into the budget."""
    before = {name: tensor.clone() for name, tensor in training.objective.state_dict().items()}
    training.thaw()
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) < 5 and sum(seconds) < 0.03 * (training.plan.seconds or 0.0)):
        step, start = len(seconds), time.perf_counter()
        batch = training.feed.micro_batch(step, 0, training.clock.lap)
        with training.engine.autocast():
            output = training.model(batch, training.progress())
        output.loss.backward()
        training.optimiser.zero_grad(set_to_none=True)
        output.loss.item()  # waits for the device
        seconds.append((time.perf_counter() - start) * training.config.accumulate)
    training.objective.load_state_dict(before)
    pace = training.engine.share(min(seconds[1:]))  # the first one warms up
    left = (training.plan.seconds or 0.0) - training.elapsed()
    steps = max(1, int(left / pace))
    logger.info(
        "%.0f steps a minute: %d steps planned (%.1f epochs)", 60 / pace, steps, steps / training.feed.steps_per_epoch
    )
    return int(training.engine.share(steps))
