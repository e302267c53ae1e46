"""bodh as a scikit-learn transformer: learn features from unlabelled rows or images inside any pipeline."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from bodh.contracts import Objective

LEAST_ROWS = 2


class SelfSupervisedEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learn a representation without labels; `transform` gives features `[n d]`.

    Two-dimensional `X` is a table of numbers (modality "vector": SCARF-like corruption, Bahri et al. 2021, arXiv
    2106.15147); three- or four-dimensional `uint8` `X` is a set of images `[n h w]` or `[n h w c]`.

    Args:
        objective: what to learn from; `bodh list objectives` shows all that need no labels.
        backbone: network, or "auto".
        epochs: passes over the rows.
        batch: rows in a step; smaller sets take smaller batches.
        learning_rate: peak, for a batch of 256; None: the objective's own.
        device: auto, cpu, cuda, cuda:N or mps.
        random_state: root of all randomness; the same number gives the same features.

    Attributes:
        network_: the fitted backbone.
        n_features_in_: columns of a two-dimensional `X`.
        n_features_out_: d.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from bodh.sklearn import SelfSupervisedEncoder
        >>> X, _ = load_iris(return_X_y=True)
        >>> SelfSupervisedEncoder(epochs=1).fit_transform(X).shape[0]
        150
    """

    def __init__(
        self,
        *,
        objective: str = "simclr",
        backbone: str = "auto",
        epochs: float = 20,
        batch: int = 128,
        learning_rate: float | None = None,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.objective = objective
        self.backbone = backbone
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002
        """Learn from the rows of `X`; labels are not looked at.

        Raises:
            ValueError: fewer than two rows, or values that are not finite numbers.
            UserError: a parameter is wrong.
        """
        from bodh.api import _settings, _training
        from bodh.records.open import open_source
        from bodh.train.engine import engine, resolve_device

        rows = self._check(X, reset=True)
        source = open_source(rows)
        choice = _settings.choose(
            source, objective=self.objective, backbone=self.backbone, device=resolve_device(self.device)
        )
        settings: dict[str, Any] = {
            "seed": self.random_state, "epochs": self.epochs, "batch": max(LEAST_ROWS, min(self.batch, len(rows))),
            "monitor_records": 0, "progress": "none", "checkpoint_minutes": 1e9,
        }  # fmt: skip
        if self.learning_rate is not None:
            settings["learning_rate"] = self.learning_rate
        sections = _training.resolve_job(settings, choice.objective, source.modality, {})
        data = _training.prepare_data(source, sections["modality"], cast("Any", sections["data"]))
        backbone = _settings.fresh(choice.backbone, data.modality, {}, self.random_state)
        job = _training.Job(
            verb="fit", objective=choice.objective, reasons=(), sections=sections, data=data, positions=data.train,
            network=backbone, device=self.device, out=None, resume=False, started=time.monotonic(), notes={},
        )  # fmt: skip
        with engine(self.device, job.config.precision) as place, tempfile.TemporaryDirectory(prefix="bodh-") as folder:
            trained, _ = _training.run_training(place, job, Path(folder))
        self.modality_ = data.modality
        self.network_ = cast("Objective", trained).keep()["backbone"].eval()
        self.n_features_out_ = backbone.dim
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return features `[n d]` of the rows of `X`.

        Rows of numbers are computed in double precision, so that a row's features do not depend on its neighbours
        in the batch to the last bit; images in single precision.
        """
        import torch

        from bodh.train.engine import resolve_device

        check_is_fitted(self)
        rows = self._check(X, reset=False)
        if rows.ndim > 2:
            rows = self._decoded(rows)
        device = resolve_device(self.device)
        double = rows.ndim == 2 and device.type == "cpu"
        dtype = torch.float64 if double else torch.float32
        prepare = self.modality_.prepare().to(device=device, dtype=dtype)
        network = self.network_.to(device=device, dtype=dtype)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(rows), 256):
                part = self.modality_.standardise(rows[start : start + 256])
                inputs = torch.from_numpy(np.ascontiguousarray(part)).to(device)
                parts.append(network(prepare(inputs.to(dtype) if double else inputs)).cpu().numpy())
        return np.concatenate(parts)

    def _decoded(self, images: np.ndarray) -> np.ndarray:
        from bodh.api import _settings, _training
        from bodh.records.open import open_source

        data = _training.prepare_data(open_source(images), None, _settings.DataConfig(), modality=self.modality_)
        return self.modality_.standardise(data.store.rows(np.arange(len(images))))

    def _check(self, X: Any, *, reset: bool) -> np.ndarray:  # noqa: N803
        if isinstance(X, np.ndarray) and X.ndim in {3, 4}:
            return np.asarray(X)
        rows = validate_data(self, X, reset=reset, dtype=np.float64, ensure_min_samples=LEAST_ROWS if reset else 1)
        return np.asarray(rows)
