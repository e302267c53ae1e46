"""Time of the probes' logistic regression with 150 classes, beside scikit-learn's at the same penalty.

python benchmarks/probe_solver.py ../shared/data/clinc150/data_full.json.gz [--records 15000] [--width 128]

Features are hashed words and pairs of words of the intents, brought to `width` dimensions: no network is needed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from bodh.evaluation import logistic


def features(file: Path, records: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return features and classes to train on, and those to test on."""
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        data = json.load(opened)
    names = sorted({intent for _, intent in data["train"]})
    chosen = np.random.default_rng(0).permutation(len(data["train"]))[:records]
    train, test = [data["train"][place] for place in chosen], data["test"]
    words = HashingVectorizer(n_features=2**14, ngram_range=(1, 2))
    counts = [words.transform([text for text, _ in part]) for part in (train, test)]
    reduce = TruncatedSVD(width, random_state=0).fit(counts[0])
    x, x_test = (reduce.transform(part) for part in counts)
    y, y_test = (np.array([names.index(intent) for _, intent in part]) for part in (train, test))
    scale = logistic.Scale.fit(x)
    return scale(x), y, scale(x_test), y_test


def told(name: str, seconds: float, p: np.ndarray, y: np.ndarray) -> None:
    """Print one row."""
    loss = -np.log(np.clip(p[np.arange(len(y)), y], 1e-9, 1)).mean()
    print(f"| {name} | {seconds:.1f} | {(p.argmax(axis=1) == y).mean():.4f} | {loss:.4f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--records", type=int, default=15_000)
    parser.add_argument("--width", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, y, x_test, y_test = features(options.data, options.records, options.width)
    print(f"{len(x):,} records, {x.shape[1]} features, {y.max() + 1} classes, one thread\n")
    print("| | CPU seconds | accuracy | log loss |\n|---|---|---|---|")
    start = time.process_time()
    l2 = logistic.choose(x, y, int(y.max()) + 1, seed=0)
    chosen = time.process_time()
    fitted = logistic.fit(x, y, int(y.max()) + 1, seed=0)
    ended = time.process_time()
    told(f"bodh, penalty {l2:g} chosen and fitted", ended - chosen, fitted.probabilities(x_test), y_test)
    print(f"| of these, choosing | {chosen - start:.1f} | | |")
    start = time.process_time()
    theirs = LogisticRegression(C=1 / (l2 * len(x)), max_iter=2000).fit(x, y)
    told("scikit-learn, that penalty alone", time.process_time() - start, theirs.predict_proba(x_test), y_test)


if __name__ == "__main__":
    main()
