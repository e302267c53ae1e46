"""Feature extraction with features computed once, against a loop that computes them again in every epoch.

    python benchmarks/cached_features.py DATA [--backbone small] [--labels 5000] [--epochs 20]

Both train the same linear head, with the same optimiser, for the same epochs, in the same order of the same records
without variation, on the same frozen network, so that the only difference is how often the network runs. Beside
them: what `finetune --freeze backbone` does (features once, then a solver instead of epochs), the first time and, its
features kept, the second.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bodh
from bodh.model.loaded import LoadedModel
from bodh.records.open import open_source
from bodh.records.sampling import epoch_order
from bodh.records.splits import label_budget, train_val_test
from bodh.records.store import open_store

BATCH = 256


def fit_head(features: Any, targets: torch.Tensor, *, dim: int, classes: int, epochs: int) -> torch.nn.Linear:
    """Train a linear head for `epochs`; `features(index)` gives those of the records at `index`, however it likes."""
    torch.manual_seed(0)
    head = torch.nn.Linear(dim, classes)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for epoch in range(epochs):
        order = epoch_order(len(targets), seed=0, epoch=epoch)
        for start in range(0, len(order), BATCH):
            index = order[start : start + BATCH]
            loss = torch.nn.functional.cross_entropy(head(features(index)), targets[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return head


def seconds(work: Any) -> tuple[float, Any]:
    """Return how long `work()` takes, and its result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def accuracy(head: torch.nn.Linear, features: np.ndarray, targets: np.ndarray) -> float:
    """Return the share of right answers."""
    with torch.no_grad():
        return float((head(torch.from_numpy(features)).argmax(dim=1).numpy() == targets).mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--labels", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--pretrain-minutes", type=float, default=0.3)
    given = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="bodh-cached-") as folder:
        start = bodh.pretrain(
            given.data, backbone=given.backbone, minutes=given.pretrain_minutes, out=Path(folder) / "start",
            device="cpu", progress="none", monitor_records=0,
        )  # fmt: skip
        model: LoadedModel = start.loaded("cpu")
        store = open_store(open_source(given.data), model.modality)
        parts, every = train_val_test(store, 0), np.asarray(store.targets)
        per_class = given.labels // len(store.class_names)
        train = parts["train"][label_budget(every[parts["train"]], per_class=per_class, seed=0)]
        test = parts["test"][:2000]
        targets = torch.from_numpy(every[train]).long()
        sizes = {"dim": model.network["backbone"].dim, "classes": len(store.class_names), "epochs": given.epochs}
        model.features(store, train[:BATCH])  # warm

        def again(index: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(model.features(store, train[index]))

        def once() -> torch.nn.Linear:
            held = torch.from_numpy(model.features(store, train))
            return fit_head(lambda index: held[index], targets, **sizes)

        slow, one = seconds(lambda: fit_head(again, targets, **sizes))
        quick, two = seconds(once)
        tuned = [
            seconds(
                lambda number=number: bodh.finetune(  # type: ignore[misc]
                    given.data, start=start, freeze="backbone", labels_per_class=per_class, device="cpu",
                    out=Path(folder) / f"head{number}",
                )
            )
            for number in range(2)
        ]  # fmt: skip
        features = model.features(store, test)
        right = (tuned[0][1].loaded("cpu").predict_rows(store, test).argmax(axis=1) == every[test]).mean()
        print(f"{len(train)} records, {given.backbone}, {given.epochs} epochs, {torch.get_num_threads()} threads")
        print(f"computed again every epoch  {slow:8.2f} s   accuracy {accuracy(one, features, every[test]):.3f}")
        print(f"computed once               {quick:8.2f} s   accuracy {accuracy(two, features, every[test]):.3f}")
        print(f"finetune --freeze backbone  {tuned[0][0]:8.2f} s   accuracy {right:.3f}")
        print(f"the same, features kept     {tuned[1][0]:8.2f} s")
        print(f"ratio: {slow / quick:.1f} with the same loop; {slow / tuned[0][0]:.1f} and {slow / tuned[1][0]:.1f}")


if __name__ == "__main__":
    main()
