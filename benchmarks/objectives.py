"""Every objective, the same CPU-minutes, the same network: what each learned, and which label-free score knew it.

    python benchmarks/objectives.py --out runs/objectives [--minutes 5] [--cores 0,1] [--data ../shared/data/cifar10]

Each objective pretrains in a process of its own on one core with one thread, one process a core at a time, so that
`--minutes` are CPU-minutes. All are read by the same code on frozen features of the last weights: kNN, linear probe of
every block (the one that is best on held-out training records is named), 50 and 500 labels a class (3 draws, last
block), all within 20,000 training records drawn class by class, and the label-free scores. The network is the default
for CPUs; masked autoencoding needs a transformer and gets the default one. `supcon` learns from the labels: it stands
below the others, as what labels can do in that time. At the end, Spearman's rank correlation of each label-free score
with the linear probe over the objectives without labels. Finished ones are kept in --out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WITHOUT_LABELS = (
    "simclr", "moco", "byol", "simsiam", "barlow", "vicreg", "dino", "rotation", "colorization", "mae",
)  # fmt: skip
WITH_LABELS = ("supcon",)
OWN_NETWORK = {"mae": "vit"}
SCORES = ("rankme", "lidar", "alpha_req", "std", "alignment", "uniformity")


def measure(name: str, data: Path, out: Path, minutes: float) -> None:
    """Pretrain and evaluate one objective in this process; leave `NAME.json` in `out`."""
    import bodh

    started = time.monotonic()
    before = time.process_time()
    backbone = OWN_NETWORK.get(name, "small")
    model = bodh.pretrain(data, objective=name, backbone=backbone, minutes=minutes, out=out / name, device="cpu")
    row: dict[str, Any] = {
        "objective": name, "backbone": backbone, "epochs": model.manifest.provenance["epochs"],
        "seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - before,
    }  # fmt: skip
    floors = "untrained,raw" if name in {"simclr", "mae"} else "none"
    protocols = "knn,linear,budget,label_free"
    proof = out / f"{name}-evaluation"
    bodh.evaluate(
        model, data, protocol=protocols, baselines=floors, blocks="all", budgets=["50", "500"], seeds=3, out=proof,
        device="cpu", records=20_000,
    )  # fmt: skip
    found = json.loads((proof / "evaluation.json").read_text(encoding="utf-8"))
    row |= {"figures": found["figures"], "blocks": found["tables"]["linear_blocks"]}
    (out / f"{name}.json").write_text(json.dumps(row, indent=1), encoding="utf-8")


def run_all(names: list[str], options: argparse.Namespace) -> None:
    """Measure what is missing, one process a core at a time."""
    waiting = [name for name in names if not (options.out / f"{name}.json").exists()]
    free = [int(core) for core in options.cores.split(",")]
    running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
    while waiting or running:
        while waiting and free:
            core, name = free.pop(0), waiting.pop(0)
            command = [sys.executable, __file__, "--one", name, "--core", str(core), "--out", str(options.out)]
            command += ["--data", str(options.data), "--minutes", str(options.minutes)]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
            log = (options.out / f"{name}.log").open("wb")
            running[core] = (name, subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        for core, (name, process) in list(running.items()):
            if process.poll() is not None:
                print(f"{name}: {'done' if process.returncode == 0 else 'FAILED, see its log'}", flush=True)
                del running[core]
                free.append(core)
        time.sleep(1)


def _best_block(blocks: list[dict[str, Any]], arm: str) -> str:
    """Return name and test accuracy of the block that was best on held-out training records; for untrained, too."""
    column = {"pretrained": "accuracy", "untrained": "untrained"}.get(arm, "")
    best = next((row for row in blocks if row["best"]), None)
    return f"{best['block']}, {best['map']}: {best[column]:.1%}" if best is not None and column in best else ""


def table(names: list[str], out: Path) -> None:
    """Print one row an objective, and the rank correlations."""
    from scipy.stats import spearmanr

    rows = []
    titles = ["objective", "network", "epochs", "CPU-s", "kNN", "linear", "best block", "50 labels", "500", *SCORES]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for name in names:
        file = out / f"{name}.json"
        if not file.exists():
            print(f"| {name} | failed |")
            continue
        row = json.loads(file.read_text(encoding="utf-8"))
        arms = [("pretrained", name)]
        if "untrained" in row["figures"]["linear"]:
            arms += [("untrained", f"(untrained {row['backbone']})")]
            arms += [("raw", "(raw pixels)")] if name == "simclr" else []
        for arm, title in arms:
            figures = {key: found.get(arm, {}) for key, found in row["figures"].items()}
            told = _best_block(row["blocks"], arm)
            budget = [f"{value:.1%}" for value in figures["budget"].values()]
            scores = [figures.get("label_free", {}).get(score) for score in SCORES]
            cells = [
                title, row["backbone"], f"{row['epochs']:.1f}" if arm == "pretrained" else "",
                f"{row['cpu_seconds']:.0f}" if arm == "pretrained" else "", f"{figures['knn']['accuracy']:.1%}",
                f"{figures['linear']['accuracy']:.1%}", told, *budget,
                *(f"{score:.3f}" if isinstance(score, float) else "" for score in scores),
            ]  # fmt: skip
            print("|", " | ".join(cells), "|")
            if arm == "pretrained" and name in WITHOUT_LABELS:
                rows.append((figures["linear"]["accuracy"], *scores))
    if len(rows) > 2:
        print("\nSpearman's rank correlation with the linear probe, over", len(rows), "objectives without labels:")
        for place, score in enumerate(SCORES, start=1):
            print(f"  {score}: {spearmanr([row[0] for row in rows], [row[place] for row in rows]).statistic:+.2f}")


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--cores", default="0,1", help="cores to use, one process each")
    parser.add_argument("--only", default=",".join((*WITHOUT_LABELS, *WITH_LABELS)))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.one:
        os.sched_setaffinity(0, {options.core})
        measure(options.one, options.data, options.out, options.minutes)
        return
    names = options.only.split(",")
    run_all(names, options)
    table(names, options.out)


if __name__ == "__main__":
    main()
