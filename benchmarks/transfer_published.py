"""What are published weights worth on other data? ResNet-20 for CIFAR-10, as it is, frozen, and fine-tuned.

    python benchmarks/transfer_published.py --out runs/transfer [--data ../shared/data] [--only cifar10,mnist,…]

Every row is one `bodh.finetune` from `weights-resnet-cifar10/resnet20-12fca82f.th` (published 91.7 % on the original
images; 81.0 % on these JPEG files), and, for comparison, the same network from scratch for as many passes. Accuracy
is of the test records that `bodh evaluate` sets aside. Finished rows are kept in --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from _transfer import kept_row

WEIGHTS = "weights-resnet-cifar10/resnet20-12fca82f.th"
HOWS: dict[str, dict[str, Any]] = {
    "as published": {"freeze": "all"},
    "frozen": {"freeze": "backbone"},
    "fine-tuned": {"freeze": "none"},
    "from scratch": {"freeze": "none", "weights": None},
}
DATA: dict[str, dict[str, Any]] = {
    "cifar10": {
        "epochs": 1,
        "batch": 128,
        "learning_rate": 2e-3,
        "head": "published",
        "modality.views.crop_scale": (0.8, 1.0),
    },
    "mnist": {"labels_per_class": 100, "epochs": 5},
    "fashion-mnist-mini": {"epochs": 10},
    "clothing-small": {"epochs": 5, "modality.size": 64},
}
"""Data and the training that it gets; one pass over what the weights know already wants mild crops."""
TRAINING = ("epochs", "batch", "learning_rate", "modality.views.crop_scale")
"""What means nothing where nothing or only a head is trained."""


def finetune(data: Path, how: str, weights: Path, out: Path) -> Any:
    """Return the classifier."""
    import bodh

    settings = {"weights": weights, "monitor_records": 0} | DATA[data.name] | HOWS[how]
    trains = settings["freeze"] == "none"
    if not trains:
        settings = {key: value for key, value in settings.items() if key not in TRAINING}
    if settings["weights"] is None or not trains:
        settings.pop("head", None)
    if settings["weights"] is None:
        settings.pop("weights")
    return bodh.finetune(data, start="resnet20", out=out, device="cpu", **settings)


def measure(data: Path, how: str, weights: Path, out: Path) -> dict[str, Any]:
    """Return one row, measured or kept from before."""
    folder = out / f"{data.name}-{how.replace(' ', '-')}"
    return kept_row(out / f"{folder.name}.json", lambda: finetune(data, how, weights, folder), data)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--only", default=",".join(DATA), help="data sets, separated by commas")
    parser.add_argument("--how", default=",".join(HOWS), help="ways, separated by commas")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"{'data':20}{'how':14}{'accuracy':>9}{'test':>7}{'seconds':>9}{'CPU s':>8}")
    for name in arguments.only.split(","):
        for how in arguments.how.split(","):
            if how == "as published" and name != "cifar10":
                continue  # its classes are those of CIFAR-10
            row = measure(arguments.data / name, how, arguments.data / WEIGHTS, arguments.out)
            print(
                f"{name:20}{how:14}{row['accuracy']:9.3f}{row['test']:7d}{row['seconds']:9.1f}{row['cpu_seconds']:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
