"""How likely ids are by counting alone: how often each occurs, and how often after the one before it.

What a language model has to beat. The bigrams are interpolated Kneser-Ney: Kneser and Ney 1995, "Improved backing-off
for m-gram language modeling"; in the form of Chen and Goodman 1999, section 2.7, with one discount.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Unigrams:
    """Probabilities of ids from their counts, one added to each.

    Args:
        texts: ids `[t]` each; the first id of a text is given, not told.
        vocabulary: number of ids.
    """

    def __init__(self, texts: Sequence[np.ndarray], vocabulary: int) -> None:
        counts = sum((np.bincount(text[1:], minlength=vocabulary) for text in texts), np.zeros(vocabulary, np.int64))
        self.log_probability = np.log((counts + 1) / (counts.sum() + vocabulary))

    def losses(self, text: np.ndarray) -> np.ndarray:
        """Return minus the log-probability, in nats, of every id of `text` `[t]` but the first, `[t - 1]`."""
        found: np.ndarray = -self.log_probability[text[1:]]
        return found


class Bigrams:
    """Probabilities of ids after the one before, discounted, and filled up by how many others an id follows.

    Args:
        texts: ids `[t]` each.
        vocabulary: number of ids.
    """

    def __init__(self, texts: Sequence[np.ndarray], vocabulary: int) -> None:
        self.vocabulary = vocabulary
        pairs = [_codes(text, vocabulary) for text in texts if len(text) > 1]
        self.codes, self.counts = np.unique(np.concatenate([*pairs, np.empty(0, np.int64)]), return_counts=True)
        before, after = self.codes // vocabulary, self.codes % vocabulary
        once, twice = int((self.counts == 1).sum()), int((self.counts == 2).sum())
        self.discount = once / (once + 2 * twice) if once and twice else 0.5
        self.total = np.bincount(before, weights=self.counts, minlength=vocabulary)  # [v] how often an id goes before
        followers = np.bincount(before, minlength=vocabulary)  # [v] how many kinds of id follow it
        self.left = np.divide(self.discount * followers, self.total, out=np.ones(vocabulary), where=self.total > 0)
        kinds = np.bincount(after, minlength=vocabulary)  # [v] how many kinds of id go before it
        self.continuation = (kinds + 1) / (kinds.sum() + vocabulary)  # one added: ids that were never seen

    def losses(self, text: np.ndarray) -> np.ndarray:
        """Return minus the log-probability, in nats, of every id of `text` `[t]` but the first, `[t - 1]`."""
        wanted = _codes(text, self.vocabulary)
        before, after = wanted // self.vocabulary, wanted % self.vocabulary
        seen = np.zeros(len(wanted))
        if len(self.codes):
            place = np.searchsorted(self.codes, wanted).clip(max=len(self.codes) - 1)
            seen = np.where(self.codes[place] == wanted, self.counts[place] - self.discount, 0.0)
        direct = np.divide(seen, self.total[before], out=np.zeros(len(wanted)), where=self.total[before] > 0)
        found: np.ndarray = -np.log(direct + self.left[before] * self.continuation[after])
        return found


def _codes(text: np.ndarray, vocabulary: int) -> np.ndarray:
    """Return one number for each pair of neighbours in ids `[t]`, int64 `[t - 1]`."""
    ids = np.asarray(text, np.int64)
    codes: np.ndarray = ids[:-1] * vocabulary + ids[1:]
    return codes
