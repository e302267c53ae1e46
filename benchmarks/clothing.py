"""Real photographs, ten kinds of clothing: from scratch, or from one's own pretraining on the same 3,068 images?

    python benchmarks/clothing.py --out runs/clothing [--minutes 10] [--full 4] [--few 1] [--draws 3] [--core 0]

SimCLR learns from the training photographs for `--minutes`; then classifiers are trained on all labels (`--full`
minutes where the network is trained) and on ten a class (`--few` minutes, mean and range of `--draws` draws): a linear
head on frozen features, everything from the pretrained weights, and everything from scratch. Accuracy is of the
folder's 372 test photographs, which choose nothing: a difference of 4 points is within chance there. The default
network, one thread on one core; finished rows are kept in --out.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from _transfer import kept_row

WAYS = {
    "from scratch": (False, "none"),
    "pretrained, frozen": (True, "backbone"),
    "pretrained, fine-tuned": (True, "none"),
}


def main() -> None:
    """Measure what is missing and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "clothing-small")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64, help="side of the images")
    parser.add_argument("--minutes", type=float, default=10, help="of pretraining")
    parser.add_argument("--full", type=float, default=4, help="minutes of a training on all labels")
    parser.add_argument("--few", type=float, default=1, help="minutes of a training on ten labels a class")
    parser.add_argument("--draws", type=int, default=3, help="draws of the ten labels")
    parser.add_argument("--core", type=int, default=0, help="the core to keep to")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, {options.core})
    import bodh

    size = {"modality.size": options.size}
    pretrained = options.out / "pretrained"
    if not (pretrained / "model").is_dir():
        bodh.pretrain(
            options.data, objective="simclr", backbone="small", minutes=options.minutes, out=pretrained, device="cpu",
            **size,
        )  # fmt: skip
    print(f"{'':24}{'all labels':>11}{'CPU s':>7}{'10 a class':>12}{'range':>14}{'CPU s':>7}")
    for way, (own, freeze) in WAYS.items():

        def row(labels: int | None, seed: int, own: bool = own, freeze: str = freeze, way: str = way) -> dict[str, Any]:
            out = options.out / f"{way.replace(', ', '-').replace(' ', '-')}-{labels or 'all'}-{seed}"
            settings: dict[str, Any] = {} if own else dict(size)
            if freeze == "none":
                settings |= {"minutes": options.few if labels else options.full, "monitor_records": 0}

            def train() -> Any:
                return bodh.finetune(
                    options.data, start=pretrained if own else "small", freeze=freeze, labels_per_class=labels,
                    out=out, seed=seed, device="cpu", **settings,
                )  # fmt: skip

            return kept_row(out.with_suffix(".json"), train, options.data)

        every = row(None, 0)
        few = [row(10, seed) for seed in range(options.draws)]
        shares = [found["accuracy"] for found in few]
        print(
            f"{way:24}{every['accuracy']:11.1%}{every['cpu_seconds']:7.0f}{sum(shares) / len(shares):12.1%}"
            f"{f'{min(shares):.1%}–{max(shares):.1%}':>14}{few[0]['cpu_seconds']:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
