"""bodh as a scikit-learn transformer: learn features from unlabelled rows, images or texts inside any pipeline."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from bodh import _catalog
from bodh.contracts import Objective
from bodh.errors import DataError

LEAST_ROWS = 2


class SelfSupervisedEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learn a representation without labels; `transform` gives features `[n d]`.

    Two-dimensional `X` is a table of numbers (modality "vector": SCARF-like corruption, Bahri et al. 2021, arXiv
    2106.15147); three- or four-dimensional `uint8` `X` is a set of images `[n h w]` or `[n h w c]`; a list or array of
    strings is a set of texts (the `text` extra).

    Args:
        objective: what to learn from; `bodh list objectives` shows all that need no labels. Auto: simclr, of texts
            masked_lm.
        backbone: network, or "auto".
        epochs: passes over the rows.
        batch: rows in a step; smaller sets take smaller batches.
        learning_rate: peak, for a batch of 256; None: the objective's own.
        device: auto, cpu, cuda, cuda:N or mps.
        random_state: root of all randomness; the same number gives the same features.
        settings: any other setting by its dotted name: {"modality.length": 64, "backbone.width": 64, "precision": …}.

    Attributes:
        network_: the fitted backbone.
        modality_: how records are prepared; of texts with the tokenizer, trained on them.
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
        objective: str = "auto",
        backbone: str = "auto",
        epochs: float = 20,
        batch: int = 128,
        learning_rate: float | None = None,
        device: str = "cpu",
        random_state: int = 0,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.objective = objective
        self.backbone = backbone
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state
        self.settings = settings

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002
        """Learn from the rows of `X`; labels are not looked at.

        Raises:
            ValueError: fewer than two rows, or values that are not finite numbers.
            UserError: a parameter is wrong.
        """
        from bodh.api import _settings, _training
        from bodh.api._windows import windows_of
        from bodh.records.open import open_source
        from bodh.train.engine import engine, resolve_device

        rows = self._check(X, reset=True)
        source = open_source(rows)
        choice = _settings.choose(
            source, objective=self.objective, backbone=self.backbone, device=resolve_device(self.device)
        )
        module = _catalog.get("objectives", choice.objective)
        settings, own = _settings.split_backbone(self._asked(len(rows)))
        sections = _training.resolve_job(settings, choice.objective, source.modality, {})
        data = _training.prepare_data(source, sections["modality"], cast("Any", sections["data"]))
        windows = windows_of(module.NEEDS, data, data.train)
        if windows is not None and len(windows.train) < settings["batch"]:
            settings["batch"] = len(windows.train)
        backbone = _settings.fresh(
            choice.backbone, data.modality, own, self.random_state, getattr(module, "BACKBONE", None)
        )
        rate = _settings.default_rate(backbone, choice.objective, trained=False, given=settings)
        job = _training.Job(
            verb="fit", objective=choice.objective, reasons=(), data=data, positions=data.train, network=backbone,
            sections=_training.resolve_job(settings, choice.objective, source.modality, rate), windows=windows,
            device=self.device, out=None, resume=False, started=time.monotonic(), notes={},
        )  # fmt: skip
        with engine(self.device, job.config.precision) as place, tempfile.TemporaryDirectory(prefix="bodh-") as folder:
            trained, _ = _training.run_training(place, job, Path(folder))
        self.modality_ = data.modality
        self.network_ = cast("Objective", trained).keep()["backbone"].eval()
        self.n_features_out_ = cast("Any", backbone).dim
        return self

    def _asked(self, rows: int) -> dict[str, Any]:
        """Return all settings of the training, by dotted name."""
        own: dict[str, Any] = {
            "seed": self.random_state, "epochs": self.epochs, "batch": max(LEAST_ROWS, min(self.batch, rows)),
            "monitor_records": 0, "progress": "none", "checkpoint_minutes": 1e9,
        }  # fmt: skip
        if self.learning_rate is not None:
            own["learning_rate"] = self.learning_rate
        return own | (self.settings or {})

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return features `[n d]` of the rows of `X`.

        Rows of numbers are computed in double precision, so that a row's features do not depend on its neighbours
        in the batch to the last bit; images and texts in single precision. An empty text has features too.
        """
        import torch

        from bodh.train.engine import resolve_device

        check_is_fitted(self)
        given = self._check(X, reset=False)
        numbers = isinstance(given, np.ndarray) and given.ndim == 2
        rows: np.ndarray | list[np.ndarray] = self._ids(given) if isinstance(given, list) else given
        if isinstance(rows, np.ndarray) and not numbers:
            rows = self._decoded(rows)
        lengths = [len(row) for row in rows] if isinstance(rows, list) else [1] * len(rows)
        order = np.argsort(lengths, kind="stable")
        device = resolve_device(self.device)
        double = numbers and device.type == "cpu"
        dtype = torch.float64 if double else torch.float32
        prepare = self.modality_.prepare().to(device=device, dtype=dtype)
        network = self.network_.to(device=device, dtype=dtype)
        found = np.empty((len(rows), self.n_features_out_), np.float64 if double else np.float32)
        with torch.inference_mode():
            for start in range(0, len(rows), 256):
                places = order[start : start + 256]  # texts of one length beside each other
                part = rows[places] if isinstance(rows, np.ndarray) else [rows[place] for place in places]
                inputs = torch.from_numpy(np.ascontiguousarray(self.modality_.standardise(part))).to(device)
                found[places] = network(prepare(inputs.to(dtype) if double else inputs)).cpu().numpy()
        return found

    def _ids(self, texts: list[str]) -> list[np.ndarray]:
        """Return texts as stored rows; an empty one is nothing between its begin and end."""
        if not hasattr(self.modality_, "encode"):
            raise DataError("this encoder was fitted on arrays, given texts; fit another one on texts")
        decode, empty = self.modality_.decode, self.modality_.encode("")
        return [decode(text.encode("utf-8", "replace")) if text.strip() else empty for text in texts]

    def _decoded(self, images: np.ndarray) -> np.ndarray:
        from bodh.api import _settings, _training
        from bodh.records.open import open_source

        data = _training.prepare_data(open_source(images), None, _settings.DataConfig(), modality=self.modality_)
        return self.modality_.standardise(data.store.rows(np.arange(len(images))))

    def _check(self, X: Any, *, reset: bool) -> np.ndarray | list[str]:  # noqa: N803
        if _are_texts(X):
            texts = list(X)
            strange = next((text for text in texts if not isinstance(text, str)), "")
            if strange != "":
                raise ValueError(f"a text is of type {type(strange).__name__}; all must be strings")
            if reset and len(texts) < LEAST_ROWS:
                raise ValueError(f"{len(texts)} text is too few to learn from; at least {LEAST_ROWS} are needed")
            return texts
        if hasattr(self, "modality_") and not reset and hasattr(self.modality_, "encode"):
            raise ValueError("this encoder was fitted on texts, given something else; give a list of strings")
        if isinstance(X, np.ndarray) and X.ndim in {3, 4}:
            return np.asarray(X)
        rows = validate_data(self, X, reset=reset, dtype=np.float64, ensure_min_samples=LEAST_ROWS if reset else 1)
        return np.asarray(rows)


def _are_texts(X: Any) -> bool:  # noqa: N803
    """Return whether `X` is a list, a column or an array `[n]` of strings."""
    if isinstance(X, str) or getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__") or not hasattr(X, "__iter__"):
        return False
    return len(X) > 0 and isinstance(next(iter(X)), str)
