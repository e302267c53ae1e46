"""Which learning rate suits each objective of texts: a few, the same steps each, measured on texts held out.

    env OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/text_rates.py --minutes 2 [--objectives masked_lm,simcse]

Texts: the training parts of sst2 and ag-news (seq2seq: of multi30k, English to German, 12,000 pairs); a tenth is held
out, no test text is read. Measured: the loss on what is held out (masked_lm, causal_lm, seq2seq); of simcse and tsdae,
whose loss says little of the vectors, the share of held-out ag-news whose nearest class mean is right (cosine). simcse
starts from the best masked_lm network where that was trained before, as one is told to. Every rate gets as many steps
as the first one does in --minutes; batch and all else are what bodh chooses by itself. One seed.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import bodh

DATA = Path(__file__).parents[2] / "shared" / "data"
RATES = {
    "masked_lm": (1e-3, 2e-3, 4e-3), "causal_lm": (1e-3, 2e-3, 4e-3), "tsdae": (5e-4, 1e-3, 2e-3),
    "simcse": (1e-4, 3e-4, 1e-3), "seq2seq": (2e-3, 4e-3, 8e-3),
}  # fmt: skip
"""Peak learning rates that are tried."""
PARTS = {0: "val", 1: "test"}
"""Of every ten texts; without a test part, what is for validation would be taken for one."""


def texts(folder: Path) -> tuple[list[str], list[str]]:
    """Return texts in an order that mixes both data sets, and the class of those of ag-news, else ""."""
    lines = (folder / "sst2" / "train.tsv").read_text("utf-8").splitlines()
    found = [(line.split("\t")[0], "") for line in lines]
    with gzip.open(folder / "ag-news" / "train.csv.gz", "rt", encoding="utf-8", newline="") as file:
        found += [(f"{title}. {text}", label) for label, title, text in csv.reader(file)]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[place][0] for place in order], [found[place][1] for place in order]


def pairs(folder: Path) -> list[tuple[str, str]]:
    """Return the first 12,000 pairs of multi30k."""
    sides = []
    for side in ("en", "de"):
        with gzip.open(folder / "multi30k" / f"train.{side}.gz", "rt", encoding="utf-8") as file:
            sides.append([line.strip() for line in file][:12_000])
    return list(zip(*sides, strict=True))


def table(path: Path, objective: str, folder: Path) -> dict[str, Any]:
    """Write the data of an objective, in parts, and return how it is read."""
    if objective == "seq2seq":
        rows = [{"input": source, "target": target} for source, target in pairs(folder)]
    else:
        rows = [{"input": text} for text in texts(folder)[0]]
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            part = PARTS.get(number % 10, "train")
            file.write(json.dumps(row | {"split": part}, ensure_ascii=False) + "\n")
    return {"data.input": "input"} | ({"data.target": "target"} if objective == "seq2seq" else {})


def nearest_mean(model: Any, folder: Path) -> float:
    """Return the share of held-out ag-news that is nearest to the mean vector of its class, by cosine."""
    words, classes = texts(folder)
    known = np.array([number for number, label in enumerate(classes) if label])
    vectors = np.asarray(model.embed([words[number] for number in known]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels, held = np.array([int(classes[number]) for number in known]), known % 10 == 0
    means = np.stack([vectors[~held & (labels == label)].mean(axis=0) for label in np.unique(labels)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return float((np.unique(labels)[(vectors[held] @ means.T).argmax(axis=1)] == labels[held]).mean())


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    """Return the lines of a run's log of one kind."""
    lines = (run / "log.jsonl").read_text("utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def main() -> None:
    """Print the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0, help="of the first rate's training")
    parser.add_argument("--objectives", default=",".join(RATES))
    parser.add_argument("--out", type=Path, default=Path("runs/text-rates"))
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("| objective | rate | batch | steps | seconds | held out | |\n|---|---|---|---|---|---|---|", flush=True)
    best: dict[str, tuple[float, Any]] = {}
    for objective in options.objectives.split(","):
        file = options.out / f"{objective}.jsonl"
        how: dict[str, Any] = {**table(file, objective, options.data), "progress": "none", "precision": "float32"}
        if objective == "simcse" and "masked_lm" in best:
            how["start"] = best["masked_lm"][1]
        length: dict[str, Any] = {"minutes": options.minutes}
        for rate in RATES[objective]:
            run = options.out / f"{objective}-{rate:g}"
            shutil.rmtree(run, ignore_errors=True)
            model = bodh.pretrain(str(file), objective=objective, out=run, learning_rate=rate, **length, **how)
            about = json.loads((run / "model" / "model.json").read_text("utf-8"))["provenance"]
            length = {"epochs": about["epochs"]}  # the others get as many
            if objective in ("simcse", "tsdae"):
                score, what = nearest_mean(model, options.data), "nearest class mean"
                better = objective not in best or score > best[objective][0]
            else:
                score, what = records(run, "validation")[-1]["loss"], "loss"
                better = objective not in best or score < best[objective][0]
            best[objective] = (score, model) if better else best[objective]
            cells = [objective, f"{rate:g}", about["settings"]["batch"], about["steps"], f"{about['seconds']:.0f}"]
            print("| " + " | ".join(map(str, [*cells, f"{score:.4f}", what])) + " |", flush=True)


if __name__ == "__main__":
    main()
