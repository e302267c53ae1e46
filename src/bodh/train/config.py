"""The settings of a training run, shared by every objective."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt
from pydantic import Field, model_validator

from bodh.config.base import Config


class TrainConfig(Config):
    """How long, how fast and how carefully to train; bare `key=value` settings on the command line land here."""

    epochs: float | None = Field(None, gt=0, description="passes over the training split; fractions are allowed")
    minutes: float | None = Field(None, gt=0, description="wall-clock budget; the schedule is planned to end in time")
    batch: int = Field(256, ge=1, description="records in one optimiser step, over all processes")
    accumulate: int = Field(1, ge=1, description="micro-batches whose gradients are added up to one step")
    optimiser: Literal["adamw", "sgd", "lars"] = Field("adamw", description="update rule")
    learning_rate: Annotated[float, Gt(0)] | Literal["find"] = Field(
        1e-3,
        description="peak, for a batch of 256; scaled linearly with the batch. find: try rates on a copy that is "
        "thrown away, and take the one in the valley of the loss",
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="stage k of K gets the rate times this to the power K - k, heads the whole rate"
    )
    gradual: float = Field(
        0.0, ge=0, le=1, description="share of the run over which stages begin to learn, last first; 0: all at once"
    )
    frozen_norms: bool = Field(False, description="batch norms of the backbone keep the statistics that they came with")
    linear_first: bool | None = Field(
        None,
        description="fit the head on frozen features before the network is trained; None: where it is a trained one",
    )
    balance: bool = Field(False, description="draw every class equally often, whatever its number of records")
    validation: float | None = Field(
        None,
        gt=0,
        le=0.5,
        description="share of the labels set aside to look at every epoch, where the data has no validation part; "
        "None: a tenth where something needs it, else nothing",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="epochs without a better validation figure after which the run stops; the best weights are kept",
    )
    calibrate: bool | None = Field(
        None,
        description="set the temperature of the probabilities on the validation part; None: where there is one",
    )
    weight_decay: float = Field(1e-4, ge=0, description="decay of weights; biases and norms are never decayed")
    weight_decay_end: float | None = Field(
        None, ge=0, description="decay at the end of the run, reached along half a cosine (DINO: 0.4); None: constant"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and lars; beta 1 of adamw")
    beta2: float = Field(0.999, ge=0, lt=1, description="beta 2 of adamw: how long it remembers sizes of gradients")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="learning rate after the warm-up")
    rate_end: float = Field(0.0, ge=0, le=1, description="share of the peak that a cosine ends at")
    warmup: float = Field(0.05, ge=0, le=1, description="share of the run in which the rate rises linearly")
    clip: float | None = Field(None, gt=0, description="largest norm of the whole gradient")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the network's arithmetic; auto: bfloat16 where the device has units for it"
    )
    channels_last: bool = Field(True, description="memory format of images; faster on CPUs and tensor cores")
    compile: bool = Field(False, description="torch.compile the step; slow to start, gains on some networks only")
    seed: int = Field(0, ge=0, description="root of all randomness")
    log_every: int = Field(10, ge=1, description="steps between two lines of log.jsonl")
    monitor_every: float | None = Field(None, gt=0, description="epochs between label-free scores; None: chosen")
    monitor_records: int = Field(512, ge=0, description="records the label-free scores are computed on; 0: none")
    checkpoint_minutes: float = Field(5.0, ge=0, description="longest time between two checkpoints; 0: every step")
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints that stay on the disk")
    not_finite: int = Field(
        10, ge=1, description="skipped steps in a row (loss or gradient not finite) that stop the run"
    )
    progress: Literal["auto", "bar", "plain", "none"] = Field(
        "auto", description="a live bar on a terminal, plain lines elsewhere"
    )

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if self.epochs is not None and self.minutes is not None:
            raise ValueError("epochs and minutes exclude each other; give one of them")
        if self.batch % self.accumulate:
            raise ValueError(f"batch ({self.batch}) must be a multiple of accumulate ({self.accumulate})")
        return self
