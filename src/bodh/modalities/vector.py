"""Feature vectors: rows of numbers, one column a feature."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from bodh.config.base import Config
from bodh.contracts import Json, Shard, Source, View, ViewSpec, derive_seed
from bodh.errors import BadRecord, ConfigError, DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

log = logging.getLogger("bodh")

SAMPLE = 65536
"""Training records that mean and deviation are taken from."""


class VectorViews(Config):
    """How vectors may vary in "strong" views; the others do not vary."""

    corruption: Annotated[float, Ge(0.0), Le(1.0)] = Field(
        default=0.6, description="share of features that take the value of another record (SCARF: 0.6)"
    )
    noise: Annotated[float, Ge(0.0), Le(10.0)] = Field(
        default=0.0, description="standard deviation of Gaussian noise, in deviations of the feature (SCARF: none)"
    )


class VectorConfig(Config):
    """How vectors are prepared and varied; what is left open is measured on the training records."""

    mean: tuple[float, ...] | None = Field(default=None, description="mean of each feature")
    std: tuple[Annotated[float, Gt(0.0)], ...] | None = Field(
        default=None, description="standard deviation of each feature; 1 where a feature is constant"
    )
    views: VectorViews = Field(default=VectorViews(), description="how views may vary")


class Modality:
    """Vectors as `contracts.Modality`: stored as float32 `[d]`, prepared to standardised float `[n d]`.

    A missing value is NaN; it is filled with the training mean.
    """

    name: ClassVar[str] = "vector"

    def __init__(self, config: BaseModel) -> None:
        self.config = config if isinstance(config, VectorConfig) else VectorConfig.model_validate(config.model_dump())

    @classmethod
    def fit(cls, source: Source, config: BaseModel) -> Modality:
        """Measure mean and deviation on up to 65,536 training records of `source`, evenly spaced.

        Raises:
            DataError: no record of the sample is a readable vector, or their lengths differ.
        """
        given = cls(config).config
        if given.mean is not None and given.std is not None:
            return cls(given)
        rows = _sample(source, cls(given))
        present = ~np.isnan(rows)
        count = np.maximum(present.sum(axis=0), 1)
        filled = np.where(present, rows, 0.0)
        mean = filled.sum(axis=0) / count
        std = np.sqrt((np.where(present, rows - mean, 0.0) ** 2).sum(axis=0) / count)
        std = np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-30), std, 1.0)
        measured = {"mean": given.mean or tuple(mean.tolist()), "std": given.std or tuple(std.tolist())}
        log.info("vectors: %d features, standardised by %d records", rows.shape[1], len(rows))
        return cls(VectorConfig.model_validate(given.model_dump() | measured))

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        """Return a record as float32 `[d]`; an array of other dimensions is laid out in one row.

        Raises:
            BadRecord: with a short reason.
        """
        if not isinstance(raw, np.ndarray):
            raise BadRecord(f"{len(raw)} bytes; a vector is an array of numbers")
        if raw.dtype.kind not in "biuf" or raw.size == 0:
            raise BadRecord(f"an array of {raw.dtype}, shape {list(raw.shape)}; a vector has one number or more")
        row = np.ascontiguousarray(raw, dtype=np.float32).reshape(-1)
        if np.isinf(row).any():
            raise BadRecord("an infinite value")
        if self.config.mean is not None and len(row) != len(self.config.mean):
            raise BadRecord(f"{len(row)} features; this data has {len(self.config.mean)}")
        return row

    def standardise(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Return stored vectors as float32 `[n d]`; an array passes untouched."""
        if isinstance(rows, np.ndarray) and rows.dtype == np.float32:
            return rows
        return np.asarray(rows, dtype=np.float32).reshape(len(rows), *self.prepared_shape)

    def prepare(self) -> nn.Module:
        """Return the module from `[n d]` to standardised float `[n d]`."""
        from bodh.views.prepare import PrepareVector

        mean, std = self._fitted()
        return PrepareVector(mean=mean, std=std)

    def views(
        self, rows: np.ndarray | list[np.ndarray], spec: ViewSpec, seed: int, shard: Shard, device: torch.device
    ) -> tuple[Tensor, ...]:
        """Return one view `[n d]` an entry of `spec`; see `contracts.Modality.views` and `views.corrupt`.

        Corrupted features take values out of this shard's rows, so that, unlike those of images, these views depend
        on the number of processes.
        """
        from bodh.views.corrupt import corrupt, rows_to_tensor

        plain = self.prepare().to(device)(rows_to_tensor(self.standardise(rows), device))
        views = []
        for place, view in enumerate(spec):
            settings = self._settings(view)
            if settings is None:
                views.append(plain)
                continue
            views.append(
                corrupt(
                    plain,
                    rate=settings.corruption,
                    noise=settings.noise,
                    seed=derive_seed(seed, place),
                    start=shard.start,
                    total=shard.total,
                )
            )
        return tuple(views)

    @property
    def prepared_shape(self) -> tuple[int, ...]:
        """(d,): what a backbone takes, without the batch."""
        return (len(self._fitted()[0]),)

    def input_spec(self) -> Json:
        """Return the input array's name, type and shape: float32 `[n d]`."""
        return {"name": "vector", "dtype": "float32", "shape": ["n", *self.prepared_shape]}

    def store_key(self) -> str:
        """Return what the stored form of a record depends on."""
        return json.dumps({"version": 1})

    def show(self, row: np.ndarray, size: int = 64) -> bytes:
        """Return a stored vector as a PNG of bars: one column a feature (or several), deviations up and down."""
        mean, std = self._fitted()
        height = np.nan_to_num((row - np.array(mean)) / np.array(std)).clip(-3, 3) / 3
        columns = height[np.arange(size) * len(row) // size]
        level = np.linspace(1, -1, size)[:, None]
        ink = np.where(columns >= 0, (level >= 0) & (level <= columns), (level <= 0) & (level >= columns))
        buffer = io.BytesIO()
        Image.fromarray(np.where(ink, 64, 255).astype(np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()

    def _settings(self, view: View) -> VectorViews | None:
        """Return a view's settings with the objective's options laid over them; None where it does not vary."""
        if view.kind != "strong":
            return None
        known: dict[str, Any] = {
            name: value for name, value in view.options.items() if name in VectorViews.model_fields
        }
        try:
            return VectorViews(**(self.config.views.model_dump() | known))
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"view setting {first['loc'][0]}: {first['msg']}; given {first['input']!r}") from error

    def _fitted(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self.config.mean is None or self.config.std is None:
            raise ConfigError("this vector modality has not seen data: mean and std are open; call fit")
        return self.config.mean, self.config.std


def _sample(source: Source, looking: Modality) -> np.ndarray:
    positions = np.flatnonzero(np.asarray(source.splits) == "train")
    if len(positions) > SAMPLE:
        positions = positions[np.linspace(0, len(positions) - 1, SAMPLE).astype(np.int64)]
    rows, first = [], "no training records"
    for position in positions.tolist():
        try:
            rows.append(looking.decode(source.read(position)))
        except BadRecord as error:
            first = f"{source.ids[position]}: {error}"
    if not rows:
        raise DataError(f"no record of {source.name} is a readable vector; {first}")
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise DataError(
            f"records of {source.name} have {', '.join(map(str, lengths[:5]))} features; all must have one number"
        )
    return np.stack(rows).astype(np.float64)
