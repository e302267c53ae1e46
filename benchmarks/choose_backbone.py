"""Which network learns most, without labels, in a CPU-minute? The measurement behind the default on a CPU.

    python benchmarks/choose_backbone.py --out runs/choose [--minutes 2] [--data ../shared/data/cifar10] [--only "a;b"]

Every candidate gets the same wall-clock minutes of `bodh.pretrain` with bodh's defaults, one after the other in
processes of their own, on a machine that does nothing else (CPU-minutes are printed: where they differ, it did).
All are read by the same code on frozen features, last checkpoint: kNN, and 1 % of the labels (3 draws). The ranking
holds for the data, the size and the budget that it was measured with. Finished candidates are kept in --out.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CANDIDATES: dict[str, dict[str, Any]] = {
    "small": {"backbone": "small"},
    "small, half as wide": {"backbone": "small", "backbone.widths": [16, 32, 64]},
    "small, half again as wide": {"backbone": "small", "backbone.widths": [48, 96, 192]},
    "small, twice as wide": {"backbone": "small", "backbone.widths": [64, 128, 256]},
    "small, wide features": {"backbone": "small", "backbone.widths": [32, 64, 256]},
    "small, deeper": {"backbone": "small", "backbone.depths": [1, 2, 2]},
    "cnn": {"backbone": "cnn"},
    "resnet10t": {"backbone": "timm:resnet10t"},
    "resnet18": {"backbone": "timm:resnet18"},
    "convnext_atto": {"backbone": "timm:convnext_atto"},
    "mobilenetv4_conv_small": {"backbone": "timm:mobilenetv4_conv_small"},
    "vit_tiny": {"backbone": "timm:vit_tiny_patch16_224"},
}


def measure(name: str, data: Path, out: Path, minutes: float) -> None:
    """Pretrain and evaluate one candidate in this process; leave `result.json` in its folder."""
    import bodh

    run = out / name.replace(", ", "-").replace(" ", "-")
    start = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF)
    model = bodh.pretrain(data, out=run, minutes=minutes, device="cpu", **CANDIDATES[name])
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    spent = {"minutes": (time.monotonic() - start) / 60, "cpu_minutes": cpu / 60}
    evaluation = out / f"{run.name}-evaluation"
    bodh.evaluate(
        model, data, protocol="knn,budget", baselines="none", budgets=["1%"], seeds=3, out=evaluation, device="cpu"
    )
    found = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))
    result = {
        "name": name,
        **spent,
        "epochs": model.manifest.provenance["epochs"],
        "knn": found["tables"]["knn"][0]["accuracy"],
        "budget": found["tables"]["budget"],
    }
    (out / f"{run.name}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


def main() -> None:
    """Measure what is missing, each in its own process, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--only", help="names of candidates, separated by semicolons", default=";".join(CANDIDATES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.one:
        measure(options.one, options.data, options.out, options.minutes)
        return
    results = []
    for name in options.only.split(";"):
        file = options.out / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        if not file.exists():
            command = [sys.executable, __file__, "--one", name, "--minutes", str(options.minutes)]
            subprocess.run([*command, "--data", str(options.data), "--out", str(options.out)], check=True)
        results.append(json.loads(file.read_text(encoding="utf-8")))
    results.sort(key=lambda result: -float(result["knn"]))
    print(f"{'network':26} {'CPU-min':>8} {'epochs':>7} {'kNN':>6}  1 % of the labels")
    for result in results:
        row = f"{result['name']:26} {result['cpu_minutes']:8.1f} {result['epochs']:7.2f} {result['knn']:6.3f}"
        print(row, {k: v for k, v in result["budget"][0].items() if isinstance(v, int | float)})


if __name__ == "__main__":
    main()
