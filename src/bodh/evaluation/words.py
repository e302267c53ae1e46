"""Texts as they stand: which words and pieces of words are in them, and the classifier that goes with that.

What pixels on their principal components are for images: the floor that needs no network. TF-IDF (Spärck Jones 1972,
"A statistical interpretation of term specificity"; Salton & Buckley 1988: logarithm of the counts, rows of length 1),
kept sparse: its principal components tell a little less.

Pieces of words beside whole ones help most where labels are few.

Axes: `n` records, `d` words, pairs of words and pieces, `k` classes.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import derive_seed
from bodh.evaluation import logistic, ridge

if TYPE_CHECKING:
    from bodh.contracts import RecordStore
    from bodh.model.loaded import LoadedModel

LONGEST_WORD = 15
"""Characters that words have on average where a script writes no spaces: then groups of characters are counted."""
FEW = 2000
"""Up to so many labelled records, the fit happens among the records themselves, by the one classifier of every arm."""
CHOOSE_ON = 4000
"""Of more labelled records, the penalty is chosen on so many."""
STRENGTHS = (1e-2, 1e-3, 1e-4, 1e-5)
"""L2 penalties tried on more records than that, of the mean loss, from firm to free."""


def in_words(model: LoadedModel) -> bool:
    """Return whether the records of `model` are texts (its modality has `texts`)."""
    return hasattr(model.modality, "texts")


@dataclass(frozen=True, slots=True)
class RawWords:
    """The texts themselves as features: TF-IDF of words, pairs of words and pieces of three characters, sparse [n d].

    Where a script writes no spaces: of one to three characters in a row.
    """

    vectorisers: tuple[Any, ...]
    told: str
    """what is counted, in words"""

    @classmethod
    def fit(cls, model: LoadedModel, store: RecordStore, positions: np.ndarray, *, batch: int) -> RawWords:
        """Fit on the texts at `positions`, all of them. No labels."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = texts_of(model, store, positions, batch=batch)
        spaced = [word for text in texts[:1000] for word in words(text)]
        unspaced = bool(spaced) and sum(map(len, spaced)) > LONGEST_WORD * len(spaced)
        if unspaced:
            ways: list[dict[str, Any]] = [{"analyzer": "char", "ngram_range": (1, 3)}]
        else:
            ways = [
                {"tokenizer": words, "token_pattern": None, "ngram_range": (1, 2)},
                {"analyzer": "char_wb", "ngram_range": (3, 3), "min_df": min(2, len(texts))},
            ]
        made = tuple(TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **way).fit(texts) for way in ways)
        what = "up to 3 characters in a row" if unspaced else "words, pairs of words, and 3 characters in a row"
        return cls(made, f"TF-IDF of {what}")

    def __call__(self, model: LoadedModel, store: RecordStore, positions: np.ndarray, *, batch: int) -> Any:
        """Return the sparse features [n d] of the texts at `positions`; every row has the length 1."""
        from scipy.sparse import hstack
        from sklearn.preprocessing import normalize

        texts = texts_of(model, store, positions, batch=batch)
        return normalize(hstack([part.transform(texts) for part in self.vectorisers]).tocsr())


def texts_of(model: LoadedModel, store: RecordStore, positions: np.ndarray, *, batch: int) -> list[str]:
    """Return the texts at `positions` [n], read batch by batch."""
    texts: list[str] = []
    for start in range(0, len(positions), batch):
        texts += cast("Any", model.modality).texts(store.rows(positions[start : start + batch]))
    return texts


def words(text: str) -> list[str]:
    """Return the words of `text`, lower-cased: what stands between spaces and punctuation, marks kept (हिन्दी)."""
    return "".join(letter if _of_a_word(letter) else " " for letter in text.lower()).split()


@cache
def _of_a_word(letter: str) -> bool:
    return letter.isalnum() or unicodedata.category(letter)[0] == "M" or letter in "\u200c\u200d"  # joiners


def is_sparse(features: Any) -> bool:
    """Return whether `features` are sparse ones, as those of texts."""
    return hasattr(features, "tocsr")


def reduced(features: Any, *, seed: int) -> np.ndarray:
    """Return sparse `features` [n d] on at most 100 principal directions [n r], for what needs them dense."""
    from sklearn.decomposition import TruncatedSVD

    width = max(1, min(100, min(features.shape) - 1))
    svd = TruncatedSVD(width, random_state=derive_seed("words", seed) % 2**32)
    with np.errstate(invalid="ignore", divide="ignore"):  # the share of no variance at all
        return cast("np.ndarray", svd.fit_transform(features).astype(np.float32))


def fitted(train: Any, test: Any, targets: np.ndarray, classes: int, *, seed: int, measured: bool) -> np.ndarray:
    """Return probabilities [n_test k], or measured numbers, of what was fitted on sparse `train`, for sparse `test`.

    On few records by the classifier of every other arm, exactly: it needs their products alone. On more by
    scikit-learn's logistic regression, with the penalty chosen as there, on held-out training records.

    Args:
        train: [n d].
        test: [n_test d].
        targets: [n] class index, [n k] 0/1, or numbers.
        classes: k.
        seed: of the folds.
        measured: targets are numbers.
    """
    if len(targets) <= FEW or measured or targets.ndim == 2:
        own, other = among(train, test)
        scale = logistic.Scale.fit(own)
        if measured:
            return ridge.fit(scale(own), targets)(scale(other))
        return logistic.fit(scale(own), targets, classes, seed=seed).probabilities(scale(other))
    return _many(train, test, targets, classes, seed)


def among(train: Any, test: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return `train` [n r] and `test` [m r] dense, turned so that all products with rows of `train` stay what they are.

    What is fitted with an L2 penalty lies in the span of the records, so nothing is lost up to 2,000 of them; of more,
    the span of 2,000, evenly spaced, is kept.
    """
    basis = train if train.shape[0] <= FEW else train[np.linspace(0, train.shape[0] - 1, FEW).astype(int)]
    squares, turn = np.linalg.eigh((basis @ basis.T).toarray().astype(np.float64))
    kept = squares > max(float(squares[-1]), 0.0) * 1e-9
    turn = turn[:, kept] / np.sqrt(squares[kept])  # [n r]
    own, other = ((part @ basis.T).toarray().astype(np.float64) @ turn for part in (train, test))
    return own.astype(np.float32), other.astype(np.float32)


def _many(train: Any, test: Any, targets: np.ndarray, classes: int, seed: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    def fit(chosen: np.ndarray, l2: float) -> Any:
        strength = 1 / (l2 * len(chosen))
        return LogisticRegression(C=strength, tol=1e-3, max_iter=500).fit(train[chosen], targets[chosen])

    order = np.random.default_rng(derive_seed("words", seed)).permutation(len(targets))
    part = order[:CHOOSE_ON]
    cut = round(len(part) * logistic.HELD_OUT)
    held, rest = part[:cut], part[cut:]
    held = held[np.isin(targets[held], targets[rest])]
    best, chosen = float("inf"), STRENGTHS[0]
    for l2 in STRENGTHS:  # from firm to free; past the best it only gets worse, and slower
        model = fit(rest, l2)
        column = np.searchsorted(model.classes_, targets[held])
        loss = float(-np.log(model.predict_proba(train[held])[np.arange(len(held)), column].clip(1e-7)).mean())
        if loss >= best:
            break
        best, chosen = loss, l2
    final = fit(order, chosen)
    result = np.zeros((test.shape[0], classes), np.float32)
    result[:, final.classes_] = final.predict_proba(test)
    return result
