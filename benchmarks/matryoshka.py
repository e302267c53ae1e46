"""Cut sentence vectors on clinc150: what training with Matryoshka saves of recall@1 when only the first numbers stay.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/matryoshka.py --out runs/matryoshka [--minutes 4] [--seeds 3]

Every seed: one masked_lm of the 15,000 training texts without labels, so many minutes; from it, as many steps each,
`simcse` (as it is by default, with its head), `simcse, no head`, `simcse, matryoshka` (16, 32, 64 and 128 numbers);
and of pairs of one intent, drawn from the training labels, `pairs` and `pairs, matryoshka`. Measured: recall@1 of the
4,500 test questions against the 15,000 training ones by cosine, of the first 16, 32, 64 and all 128 numbers, and, for
what can be had without any such training, of as many principal components of the training vectors. A row a method and
seed is kept in rows.jsonl at once; rows that are there are not run again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import bodh

DATA = Path(__file__).parents[2] / "shared" / "data" / "clinc150"
CUTS = (16, 32, 64, 128)
SETTINGS: dict[str, Any] = {
    "backbone.width": 128, "backbone.depth": 4, "backbone.heads": 4, "modality.length": 32, "modality.vocabulary": 4000,
}  # fmt: skip
NESTED = {"objective.matryoshka": ",".join(map(str, CUTS))}
METHODS: dict[str, tuple[bool, dict[str, Any]]] = {
    "simcse": (False, {}),
    "simcse, no head": (False, {"objective.head": False}),
    "simcse, matryoshka": (False, NESTED),
    "pairs": (True, {}),
    "pairs, matryoshka": (True, NESTED),
}
"""Whether a method learns from pairs, and its settings."""


def questions(part: str) -> tuple[list[str], np.ndarray]:
    """Return the texts of a part and the numbers of their intents [n]."""
    rows = json.loads(gzip.decompress((DATA / "data_full.json.gz").read_bytes()))
    names = {name: place for place, name in enumerate(sorted({label for _, label in rows["train"]}))}
    return [text for text, _ in rows[part]], np.array([names[label] for _, label in rows[part]])


def pairs(texts: list[str], labels: np.ndarray, seed: int) -> list[tuple[str, str]]:
    """Return every training text with another one of its intent, drawn by the seed."""
    random = np.random.default_rng(seed)
    found = []
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        found += [(texts[a], texts[b]) for a, b in zip(own, np.roll(own, 1), strict=True)]
    return [found[place] for place in random.permutation(len(found))]


def recall(train: np.ndarray, test: np.ndarray, labels: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the share of test vectors [n d] whose nearest training vector, by cosine, is of their intent."""
    train, test = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (train, test))
    nearest = np.concatenate([(part @ train.T).argmax(axis=1) for part in np.array_split(test, 8)])
    return float((labels[0][nearest] == labels[1]).mean())


def measured(model: Any, train: tuple[list[str], np.ndarray], test: tuple[list[str], np.ndarray]) -> dict[str, float]:
    """Return recall@1 of cut vectors, and of principal components, by how many numbers stay."""
    a, b = (np.asarray(model.embed(part[0]), np.float64) for part in (train, test))
    labels = train[1], test[1]
    middle = a.mean(axis=0)
    axes = np.linalg.svd(a - middle, full_matrices=False)[2]  # [d d], the widest first
    found = {f"first {cut}": recall(a[:, :cut], b[:, :cut], labels) for cut in CUTS}
    return found | {
        f"pca {cut}": recall((a - middle) @ axes[:cut].T, (b - middle) @ axes[:cut].T, labels) for cut in CUTS
    }


def rows(arguments: argparse.Namespace, done: set[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    """Yield a row for every method and seed that is not done."""
    train, test = questions("train"), questions("test")
    quick = {"progress": "none", "batch": 128}
    for seed in range(arguments.seeds):
        left = [name for name in METHODS if (name, seed) not in done]
        if not left:
            continue
        start = arguments.out / f"masked_lm-{seed}"
        if not (start / "model" / "model.json").is_file():
            bodh.pretrain(train[0], objective="masked_lm", minutes=arguments.minutes, seed=seed, out=start,
                          **SETTINGS, **quick)  # fmt: skip
        for name in left:
            paired, settings = METHODS[name]
            data = pairs(*train, seed) if paired else train[0]
            began = time.monotonic()
            model = bodh.pretrain(data, objective="simcse", start=start, epochs=arguments.epochs, seed=seed,
                                  out=arguments.out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}",
                                  **settings, **quick)  # fmt: skip
            seconds = round(time.monotonic() - began, 1)
            yield {"method": name, "seed": seed, "seconds": seconds, **measured(model, train, test)}
        if (start_row := ("masked_lm alone", seed)) not in done:
            yield {"method": start_row[0], "seed": seed, **measured(bodh.load(start), train, test)}


def spoken(found: list[dict[str, Any]], key: str) -> str:
    """Return mean and deviation over seeds, in percent."""
    values = [100 * row[key] for row in found]
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=4.0, help="of masked_lm, each seed")
    parser.add_argument("--epochs", type=float, default=5.0, help="of simcse, each method")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "rows.jsonl"
    known = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    for row in rows(arguments, {(one["method"], one["seed"]) for one in known}):
        known.append(row)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
    keys = [f"{kind} {cut}" for kind in ("first", "pca") for cut in CUTS]
    print("| method | " + " | ".join(keys) + " |\n|---|" + "--:|" * len(keys))
    for name in dict.fromkeys(row["method"] for row in known):
        own = [row for row in known if row["method"] == name]
        print(f"| {name} | " + " | ".join(spoken(own, key) for key in keys) + " |")


if __name__ == "__main__":
    main()
