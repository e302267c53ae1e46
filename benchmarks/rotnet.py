"""RotNet's check (Gidaris et al. 2018, table 2): a convolutional classifier on rotation features against supervision.

    python benchmarks/rotnet.py --out runs/rotnet [--minutes 10] [--epochs 8] [--core 0] [--data ../shared/data/cifar10]

The paper trains NIN with rotations for 100 epochs, freezes the first two blocks, trains a convolutional classifier on
them, and comes within 1.6 points of the same network supervised (91.16 against 92.80). Here the default network learns
from rotations for `--minutes`, its stem and first stage are frozen, and the later stages and a head are trained on all
labels for `--epochs`; unlike the paper's, that classifier starts from rotation's weights. Beside it: the same stages
frozen at random (a pretraining of a few batches at a rate of next to nothing, so that only the normalisations see
data), everything trained from rotation's weights, and everything from random weights (supervised), all for the same
epochs with the same settings. One thread on one core; finished rows are kept in --out.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from _transfer import kept_row

ROWS = {
    "rotation, stem and stage1 frozen": ("rotation", "2"),
    "rotation, everything trained": ("rotation", "none"),
    "random, stem and stage1 frozen": ("random", "2"),
    "random, everything trained (supervised)": ("random", "none"),
}


def main() -> None:
    """Measure what is missing and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10, help="of rotation")
    parser.add_argument("--epochs", type=float, default=8, help="of every classifier")
    parser.add_argument("--core", type=int, default=0, help="the core to keep to")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, {options.core})
    import bodh

    lengths: dict[str, dict[str, float]] = {
        "rotation": {"minutes": options.minutes},
        "random": {"epochs": 0.1, "learning_rate": 1e-12},
    }
    for name, length in lengths.items():
        if not (options.out / name / "model").is_dir():
            bodh.pretrain(
                options.data, objective="rotation", backbone="small", out=options.out / name, device="cpu", **length
            )
    print(f"{'':42}{'accuracy':>9}{'CPU s':>8}")
    for number, (title, (start, freeze)) in enumerate(ROWS.items()):
        out = options.out / f"row-{number}"

        def train(start: str = start, freeze: str = freeze, out: Path = out) -> Any:
            return bodh.finetune(
                options.data, start=options.out / start, freeze=freeze, epochs=options.epochs, out=out, device="cpu",
                monitor_records=0,
            )  # fmt: skip

        row = kept_row(out.with_suffix(".json"), train, options.data)
        print(f"{title:42}{row['accuracy']:9.2%}{row['cpu_seconds']:8.0f}", flush=True)


if __name__ == "__main__":
    main()
