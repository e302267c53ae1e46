"""Does masked language modelling on a CPU's budget help? 1 %, 10 % and 100 % of the labels of three data sets.

    env OMP_NUM_THREADS=1 python benchmarks/masked_lm_budget.py --core 0 --minutes 12 --out runs/mlm [--minilm DIR]

One Transformer (4 layers, 128 wide) is pretrained with `masked_lm` on the training texts of clinc150, sst2 and ag-news
together, without labels, for --minutes on one core with one thread. Then, for every data set, share of the labels
(drawn class by class, one draw a seed) and seed, accuracy on the test part of:

- pretrained: that network fine-tuned;
- scratch: the same network and tokenizer with random weights, trained on the same labels for the same steps;
- tfidf: words and pairs of words, logistic regression, its strength chosen by cross-validation;
- minilm: a published sentence model of 22 million weights, trained on a billion pairs, frozen; logistic regression on
  its normalised vectors (--minilm: its folder);
- minilm-tuned: the same, fine-tuned for fewer steps, for it takes long (--tune-minilm N: with N seeds).

No test text is read in pretraining. The learning rate of every arm that is trained is chosen beforehand among those
in RATES: 10 % of sst2's labels, accuracy on 1,000 of its training texts that were not drawn, no test text; then it is
the same for all data sets and shares. Finished rows are kept in --out; the verdict is told as it is.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA = Path(__file__).parents[2] / "shared" / "data"
BATCH, FEWEST, MOST = 32, 2, 60
"""Of fine-tuning: records a step; never fewer or more passes than so many."""
STEPS = {"pretrained": 400, "scratch": 400, "minilm-tuned": 120}
"""Of fine-tuning; with all labels pretrained and scratch take more, see FEWEST."""
RATES = {"pretrained": (2.5e-4, 5e-4, 1e-3, 2e-3), "scratch": (2.5e-4, 5e-4, 1e-3, 2e-3), "minilm-tuned": (5e-5, 2e-4)}
"""Peak learning rates to choose from, for that batch."""
ROWS, RATE = 8, 1e-3
"""Of pretraining: packed rows of 128 tokens a step, and the peak rate for them. Chosen by the masked-token loss on 800
training texts after two passes: 6.93; with 32 rows 7.02, 7.07 and 7.21 at rates of 1, 2 and 4e-3."""


class Texts(NamedTuple):
    """One data set, read."""

    train: list[tuple[str, str]]
    test: list[tuple[str, str]]
    unlabelled: list[str]
    """training texts of no class"""


def clinc150(folder: Path) -> Texts:
    """Return intents; what is out of scope has no label."""
    found = json.loads(gzip.decompress((folder / "data_full.json.gz").read_bytes()))
    train, test = ([(text, label) for text, label in found[part]] for part in ("train", "test"))
    return Texts(train, test, [text for text, _ in found["oos_train"]])


def sst2(folder: Path) -> Texts:
    """Return sentences of film reviews."""

    def read(part: str) -> list[tuple[str, str]]:
        lines = (folder / f"{part}.tsv").read_text(encoding="utf-8").splitlines()
        return [(text, label) for text, label in (line.rsplit("\t", 1) for line in lines if line.strip())]

    return Texts(read("train"), read("test"), [])


def ag_news(folder: Path) -> Texts:
    """Return news, title and description."""

    def read(part: str) -> list[tuple[str, str]]:
        with gzip.open(folder / f"{part}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            return [(f"{title}. {text}", label) for label, title, text in csv.reader(file)]

    return Texts(read("train"), read("test"), [])


READERS = {"clinc150": clinc150, "sst2": sst2, "ag-news": ag_news}


def write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write a table of texts."""
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def pretrained(sets: dict[str, Texts], options: argparse.Namespace) -> Path:
    """Pretrain on all training texts, unless that was done; return the run."""
    import bodh

    run: Path = options.out / "pretrained"
    if (run / "model" / "model.json").is_file():
        return run
    texts = [text for found in sets.values() for text in [*(text for text, _ in found.train), *found.unlabelled]]
    shutil.rmtree(run, ignore_errors=True)
    table = write(options.out / "texts.jsonl", [{"text": text} for text in texts])
    before = time.process_time()
    bodh.pretrain(
        table, objective="masked_lm", backbone="transformer", minutes=options.minutes, out=run, device="cpu",
        batch=ROWS, learning_rate=RATE * 256 / ROWS, monitor_records=0, progress="plain", **{"data.input": "text"},
    )  # fmt: skip
    print(f"pretraining: {time.process_time() - before:.0f} CPU-seconds, {len(texts):,} texts", flush=True)
    return run


def drawn(train: list[tuple[str, str]], share: float, seed: int) -> list[tuple[str, str]]:
    """Return this share of the labelled texts, class by class."""
    from bodh.records.splits import label_budget

    names = sorted({label for _, label in train})
    targets = np.array([names.index(label) for _, label in train])
    return [train[place] for place in label_budget(targets, fraction=share, seed=seed)]


def tuned(arm: str, labelled: list[tuple[str, str]], test: list[tuple[str, str]], seed: int, **given: Any) -> float:
    """Return the accuracy of a fine-tuned network.

    Args:
        arm: of STEPS.
        labelled: texts and labels.
        test: likewise.
        seed: of the run.
        given: its folder, its learning rate, where it starts from, and what a new network must be told.
    """
    import bodh

    out: Path = given.pop("out")
    rate: float = given.pop("rate")
    shutil.rmtree(out, ignore_errors=True)  # of a time when it was stopped
    table = write(out.with_suffix(".jsonl"), [{"text": t, "label": k, "split": "train"} for t, k in labelled]
                  + [{"text": t, "label": k, "split": "test"} for t, k in test])  # fmt: skip
    batch = min(BATCH, max(4, len(labelled) // 4))
    epochs = min(MOST, STEPS[arm] * batch / len(labelled))
    if arm != "minilm-tuned":
        epochs = max(FEWEST, epochs)
    model = bodh.finetune(
        table, freeze="none", seed=seed, out=out, device="cpu", batch=batch, epochs=epochs, progress="none",
        monitor_records=0, learning_rate=rate * 256 / BATCH,
        **{"data.input": "text", "data.label": "label", "data.task": "classify"}, **given,
    )  # fmt: skip
    found = list(model.predict([text for text, _ in test], device="cpu"))
    return float(np.mean([row.get("class") == label for row, (_, label) in zip(found, test, strict=True)]))


def start_of(arm: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return where an arm starts from, as `finetune` is told."""
    run: Path = options.out / "pretrained"
    if arm == "pretrained":
        return {"start": run}
    if arm == "minilm-tuned":
        return {"start": "transformer", "weights": str(options.minilm)}
    return {"start": "transformer", "modality.tokenizer": str(run / "model" / "tokenizer.json")}


def chosen_rate(arm: str, found: Texts, options: argparse.Namespace) -> float:
    """Return the learning rate of an arm that does best on training texts of sst2 that were not drawn."""
    file: Path = options.out / f"rate-{arm}.json"
    if not file.exists():
        labelled = drawn(found.train, 0.1, 100)
        rest = sorted(set(found.train) - set(labelled))
        held = [rest[place] for place in np.random.default_rng(0).choice(len(rest), 1000, replace=False)]
        accuracy = {}
        for rate in RATES[arm]:
            out = options.out / f"rate-{arm}-{rate:g}"
            accuracy[rate] = tuned(arm, labelled, held, 0, out=out, rate=rate, **start_of(arm, options))
            print(f"rate {rate:g} of {arm}: {accuracy[rate]:.1%} on 1,000 held-out training texts", flush=True)
        best = max(accuracy, key=lambda rate: accuracy[rate])
        file.write_text(json.dumps({"rate": best, "accuracy": accuracy}), encoding="utf-8")
    return float(json.loads(file.read_text(encoding="utf-8"))["rate"])


def fitted(x: Any, labels: list[str], x_test: Any, wanted: list[str]) -> float:
    """Return the accuracy of a logistic regression whose strength is chosen by cross-validation where that can be."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    model = LogisticRegression(C=10, max_iter=1000)
    fewest = min(np.unique(labels, return_counts=True)[1])
    if fewest >= 3:
        model = GridSearchCV(model, {"C": [1, 10, 100]}, cv=3)
    return float(model.fit(x, labels).score(x_test, wanted))


def tfidf(labelled: list[tuple[str, str]], test: list[tuple[str, str]]) -> float:
    """Return the accuracy of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    x = words.fit_transform([text for text, _ in labelled])
    x_test = words.transform([text for text, _ in test])
    return fitted(x, [label for _, label in labelled], x_test, [label for _, label in test])


class MiniLM:
    """Vectors of a published sentence model, computed once a text.

    Args:
        folder: of the published model.
        out: where what was computed is kept.
    """

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder, self.out = folder, out

    def vectors(self, name: str, texts: list[str], like: list[tuple[str, str]]) -> np.ndarray:
        """Return normalised vectors [n d] of `texts`; `like` are a few labelled ones to open the model with."""
        import bodh

        file = self.out / f"minilm-{name}.npy"
        if not file.exists():
            table = write(self.out / "minilm.jsonl", [{"text": text, "label": label} for text, label in like])
            run = self.out / f"minilm-{name}"
            shutil.rmtree(run, ignore_errors=True)  # of a time when it was stopped
            model = bodh.finetune(
                table, start="transformer", weights=str(self.folder), freeze="backbone", out=run,
                device="cpu", progress="none", **{"data.input": "text", "data.label": "label"},
            )  # fmt: skip
            np.save(file, model.embed(texts, device="cpu", normalise=True))
        return np.load(file)

    def accuracy(self, name: str, found: Texts, labelled: list[tuple[str, str]]) -> float:
        """Return the accuracy of a logistic regression on frozen vectors."""
        texts = [text for text, _ in [*found.train, *found.test]]
        every = self.vectors(name, texts, found.train[:: max(1, len(found.train) // 1000)])
        place = {text: number for number, text in enumerate(texts)}
        x = every[[place[text] for text, _ in labelled]]
        x_test = every[len(found.train) :]
        return fitted(x, [label for _, label in labelled], x_test, [label for _, label in found.test])


def measure(arm: str, name: str, sets: dict[str, Texts], share: float, seed: int, options: argparse.Namespace) -> float:
    """Return the accuracy of one arm."""
    found = sets[name]
    labelled = drawn(found.train, share, seed)
    if arm == "tfidf":
        return tfidf(labelled, found.test)
    if arm == "minilm":
        return MiniLM(options.minilm, options.out).accuracy(name, found, labelled)
    rate = chosen_rate(arm, sets["sst2"], options)
    out = options.out / f"{arm}-{name}-{share}-{seed}"
    return tuned(arm, labelled, found.test, seed, out=out, rate=rate, **start_of(arm, options))


def table(rows: dict[tuple[str, str, float], list[float]], arms: list[str], options: argparse.Namespace) -> None:
    """Print mean and deviation of every arm, and the verdict."""
    print(f"\n| data | labels | {' | '.join(arms)} |\n|{'---|' * (len(arms) + 2)}")
    gains: dict[str, list[float]] = {arm: [] for arm in arms if arm != "pretrained"}
    for name in options.only.split(","):
        for share in options.shares:
            cells = []
            for arm in arms:
                found = rows[arm, name, share]
                spread = f" ± {statistics.stdev(found):.1%}" if len(found) > 1 else ""
                cells.append(f"{statistics.mean(found):.1%}{spread}")
                if arm in gains and "pretrained" in arms:
                    gains[arm].append(statistics.mean(rows["pretrained", name, share]) - statistics.mean(found))
            print(f"| {name} | {share:.0%} | {' | '.join(cells)} |")
    for arm, found in gains.items():
        if found:
            better = sum(gain > 0 for gain in found)
            print(f"pretrained against {arm}: better in {better} of {len(found)} cells, {statistics.mean(found):+.1%}")


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--core", type=int, help="to stay on")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pretrain-only", action="store_true")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    parser.add_argument("--only", default=",".join(READERS))
    parser.add_argument("--minilm", type=Path, help="folder of the published sentence model")
    parser.add_argument("--tune-minilm", type=int, default=0, metavar="N", help="seeds with which it is fine-tuned")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    import torch

    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    sets = {name: read(options.data / name) for name, read in READERS.items()}
    pretrained(sets, options)
    if options.pretrain_only:
        return
    arms = ["pretrained", "scratch", "tfidf"] + ["minilm"] * (options.minilm is not None)
    arms += ["minilm-tuned"] * (options.minilm is not None and options.tune_minilm > 0)
    rows: dict[tuple[str, str, float], list[float]] = {}
    for name in options.only.split(","):
        for share in options.shares:
            for seed in range(options.seeds):
                for arm in arms:
                    if arm == "minilm-tuned" and seed >= options.tune_minilm:
                        continue
                    file = options.out / f"{arm}-{name}-{share}-{seed}.json"
                    if not file.exists():
                        began = time.monotonic()
                        accuracy = measure(arm, name, sets, share, seed, options)
                        row = {"accuracy": accuracy, "seconds": time.monotonic() - began}
                        file.write_text(json.dumps(row), encoding="utf-8")
                        print(f"{name} {share:.0%} seed {seed} {arm}: {accuracy:.1%}", flush=True)
                    kept = json.loads(file.read_text(encoding="utf-8"))["accuracy"]
                    rows.setdefault((arm, name, share), []).append(kept)
    table(rows, arms, options)


if __name__ == "__main__":
    main()
