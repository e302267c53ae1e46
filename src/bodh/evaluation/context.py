"""What every protocol works with: the model, the data, its parts, and features that are computed once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.errors import DataError
from bodh.evaluation import logistic, ridge, words
from bodh.evaluation.config import EvaluationConfig
from bodh.evaluation.features import RawInput, untrained_twin
from bodh.evaluation.result import PRETRAINED
from bodh.evaluation.words import RawWords, in_words, is_sparse
from bodh.metrics import regression
from bodh.metrics.classification import record_scores
from bodh.records.divided import divided
from bodh.records.splits import label_budget, labelled

if TYPE_CHECKING:
    from bodh.contracts import RecordStore
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")

SPLIT_SEED = 0
"""Records are set aside as in training, whatever the seed: a test record was never trained on."""

Scratch = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(train positions, test positions, seed) -> probabilities [n_test k] of a network trained on those labels alone."""

Part = Literal["train", "test"]


class Context:
    """One evaluation. Test records are used to measure and for nothing else.

    Args:
        model: what is evaluated.
        store: decoded records.
        config: settings.
        scratch: trains the supervised baseline; None leaves that arm out.
        outside: holds records that are of no class of `store`, for protocol novelty: its test part, or all of it.

    Raises:
        DataError: labels, but not of two classes at least, or none in one part.
    """

    def __init__(
        self,
        model: LoadedModel,
        store: RecordStore,
        *,
        config: EvaluationConfig,
        scratch: Scratch | None = None,
        outside: RecordStore | None = None,
    ) -> None:
        self.class_names = tuple(store.class_names)
        self.derived_test = "test" not in set(np.asarray(store.splits).tolist())
        self.records = len(store)  # as the data brings them
        store, parts = divided(store, model.modality, SPLIT_SEED)
        self.model, self.store, self.config, self.scratch, self.outside = model, store, config, scratch, outside
        self.positions = {"train": self._usable(parts["train"]), "test": self._usable(parts["test"])}
        self.notes: list[str] = []
        if self.labelled:
            self._check_classes()
        full = len(self.positions["train"])
        if self.labelled and full > config.records:
            share = label_budget(self.targets("train"), fraction=config.records / full, seed=SPLIT_SEED)
            self.positions["train"] = self.positions["train"][share]
            self.notes.append(f"probes use {len(share):,} of {full:,} training records, drawn class by class")
        self._features: dict[tuple[str, int, str, Part], np.ndarray] = {}
        self._twins: dict[int, LoadedModel] = {}
        self._probed: dict[tuple[str, int], np.ndarray] = {}
        self._scales: dict[tuple[str, int], logistic.Scale] = {}

    @property
    def labelled(self) -> bool:
        """Whether the data has labels."""
        return self.store.targets is not None and len(self.class_names) > 0

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def device(self) -> str:
        """Where probes are fitted."""
        return "cuda" if self.model.device.type == "cuda" else "cpu"

    @property
    def measured(self) -> bool:
        """Whether labels are measured numbers."""
        return self.labelled and np.asarray(self.store.targets).dtype.kind == "f"

    def targets(self, part: Part) -> np.ndarray:
        """Return class indices [n], [n k] for several labels, or numbers, of the labelled records of `part`."""
        if self.store.targets is None:
            raise DataError(f"{self.store.name!r} has no labels")
        targets: np.ndarray = np.asarray(self.store.targets)[self.positions[part]]
        return targets

    @cached_property
    def metric(self) -> str:
        """Name of the score that comparisons count; the mean over records of `scores`."""
        if self.measured:
            return "r2"
        if self.targets("train").ndim == 2:
            return "ranking_precision"
        if self.config.metric != "auto":
            return self.config.metric
        counts = np.bincount(self.targets("train"))
        return "balanced_accuracy" if counts.max() > 3 * counts[counts > 0].min() else "accuracy"

    def scores(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the score of every test record [n_test] for `probabilities`, or numbers, [n_test k]."""
        if self.measured:
            return regression.record_scores(probabilities, self.targets("test"))
        return record_scores(probabilities, self.targets("test"), self.metric)

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """The pretrained model and the feature baselines that were asked for (scratch is no features)."""
        return (PRETRAINED, *(arm for arm in self.config.arms if arm in ("untrained", "raw")))

    def draws(self, arm: str) -> int:
        """How many networks an arm has: one, or `seeds` untrained ones."""
        return self.config.seeds if arm == "untrained" else 1

    @cached_property
    def saw_labels(self) -> str:
        """How labels took part in training the backbone, in words; "" where they did not."""
        return labels_in(self.model.manifest.provenance)

    def network(self, arm: str, draw: int = 0) -> LoadedModel:
        """Return the model itself, or untrained twin number `draw`."""
        if arm == PRETRAINED:
            return self.model
        if draw not in self._twins:
            seed = derive_seed("twin", self.config.seed, draw)
            self._twins[draw] = untrained_twin(
                self.model, self.store, self.positions["train"], seed=seed, batch=self.config.batch
            )
        return self._twins[draw]

    def features(self, arm: str, part: Part, *, draw: int = 0) -> np.ndarray:
        """Return features [n d] of the records of `part`, computed on first use and kept.

        Those of the raw input are sparse where the records are texts (`words.is_sparse`).
        """
        draw %= self.draws(arm)
        key = (arm, draw, "", part)
        if key not in self._features:
            self._features[key] = self._computed(arm, draw, self.store, self.positions[part])
        return self._features[key]

    @cached_property
    def outside_positions(self) -> np.ndarray:
        """Positions [n] in `outside` of its test part, or of all where it has none; none where nothing was given."""
        if self.outside is None:
            return np.empty(0, np.int64)
        tested = np.flatnonzero(np.asarray(self.outside.splits) == "test")
        return tested if len(tested) else np.arange(len(self.outside))

    def outside_features(self, arm: str, *, draw: int = 0) -> np.ndarray:
        """Return features [n d] of the records of `outside`."""
        if self.outside is None:
            raise DataError("no records of no known class were given; type novel=DATA")
        return self._computed(arm, draw % self.draws(arm), self.outside, self.outside_positions)

    def _computed(self, arm: str, draw: int, store: RecordStore, positions: np.ndarray) -> np.ndarray:
        if arm == "raw":
            return self._raw(self.model, store, positions, batch=self.config.batch)
        return self.network(arm, draw).features(store, positions, batch=self.config.batch)

    @cached_property
    def _raw(self) -> RawInput | RawWords:
        if in_words(self.model):
            return RawWords.fit(self.model, self.store, self.positions["train"], batch=self.config.batch)
        return RawInput.fit(self.model, self.store, self.positions["train"], seed=self.config.seed)

    @cached_property
    def raw_words(self) -> str:
        """What the raw input of texts is, in words; "" where it is numbers, or was not asked for."""
        return self._raw.told if "raw" in self.arms and isinstance(self._raw, RawWords) else ""

    def probe(self, arm: str, chosen: np.ndarray | None = None, *, draw: int = 0) -> np.ndarray:
        """Return probabilities [n_test k] of the classifier fitted on features of labelled records `chosen`.

        Measured numbers [n_test k] come from a ridge regression.

        Args:
            arm: whose features.
            chosen: [m] indices into the training part; None: all of it (computed once).
            draw: number of the label draw; picks the untrained network and seeds the folds.
        """
        key = (arm, draw % self.draws(arm))
        if chosen is None and key in self._probed:
            return self._probed[key]
        train = self.features(arm, "train", draw=draw)
        if key not in self._scales and not is_sparse(
            train
        ):  # fitted on all training records: unlabelled ones help here too
            self._scales[key] = logistic.Scale.fit(train)
        scale = self._scales.get(key)
        index = np.arange(train.shape[0]) if chosen is None else chosen
        probabilities = self.fitted(
            train[index], self.features(arm, "test", draw=draw), self.targets("train")[index],
            seed=derive_seed("probe", self.config.seed, draw), scale=scale,
        )  # fmt: skip
        if chosen is None:
            self._probed[key] = probabilities
        return probabilities

    def fitted(
        self,
        train: np.ndarray,
        test: np.ndarray,
        targets: np.ndarray | None = None,
        *,
        seed: int,
        scale: logistic.Scale | None = None,
    ) -> np.ndarray:
        """Return probabilities, or numbers, [n_test k] for features `test` of what was fitted on features `train`.

        Args:
            train: [n d], dense or sparse.
            test: [n_test d].
            targets: of `train`; None: it is all of the training part.
            seed: of the folds.
            scale: None: fitted on `train`.
        """
        targets = self.targets("train") if targets is None else targets
        if is_sparse(train):
            return words.fitted(train, test, targets, self.classes, seed=seed, measured=self.measured)
        scale = scale or logistic.Scale.fit(train)
        if self.measured:
            return ridge.fit(scale(train), targets)(scale(test))
        found = logistic.fit(scale(train), targets, self.classes, seed=seed, device=self.device)
        return found.probabilities(scale(test))

    def _usable(self, positions: np.ndarray) -> np.ndarray:
        """Return the positions that have a label; all of them where there are no labels at all."""
        targets = self.store.targets
        if targets is None or not len(self.class_names):
            return positions
        usable: np.ndarray = positions[labelled(np.asarray(targets)[positions])]
        return usable

    def _check_classes(self) -> None:
        for part in ("train", "test"):
            if not len(self.positions[part]):
                raise DataError(
                    f"{self.store.name!r} has no labelled {part} records; nothing can be measured. Give it labels "
                    "there, or give data without parts: a fifth of it is then set aside to test on"
                )
        targets = self.targets("train")
        if self.measured:
            if not (np.nanstd(targets.reshape(len(targets), -1), axis=0) > 0).all():
                raise DataError(f"{self.store.name!r} has numbers that never vary; there is nothing to measure")
            return
        present = np.unique(targets) if targets.ndim == 1 else np.flatnonzero(targets.any(axis=0))
        if len(present) < 2:
            only = self.class_names[int(present[0])] if len(present) else "none"
            raise DataError(
                f"{self.store.name!r} has one class only ({only}); to measure anything at least two are needed"
            )


def labels_in(provenance: Json) -> str:
    """Return how labels took part in training a backbone, read from its provenance; "" where they did not.

    A head that was fitted on frozen features says where these come from ("pretrained"); every other fine-tuning
    trained stages with labels. Published weights are not known to have done without.
    """
    from bodh import _catalog

    notes = provenance.get("notes") or {}
    if provenance.get("verb") == "finetune":
        if "pretrained" not in provenance:
            return "the network was fine-tuned with labels"
        return labels_in(provenance["pretrained"])
    if "published" in provenance or "published" in notes:
        return "it starts from published weights, which may have learned from labels"
    if notes.get("labels"):
        return str(notes["labels"])
    objective = provenance.get("objective")
    name = objective.get("name", "") if isinstance(objective, dict) else ""
    if name in _catalog.names("objectives") and _catalog.get("objectives", name).NEEDS.labels:
        return f"its objective ({name}) learns from labels"
    return ""
