"""What the transfer benchmarks share: the accuracy of a classifier, and rows that are measured once and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def accuracy(model: Any, data: Path) -> tuple[float, int]:
    """Return the share of test records told rightly, and their number; the test part is that of `bodh evaluate`."""
    from bodh.api._inputs import open_records
    from bodh.records.splits import train_val_test

    loaded = model.loaded("cpu")
    store = open_records(loaded.modality, data, {})
    test = train_val_test(store, 0)["test"]
    told = loaded.predict_rows(store, test).argmax(axis=1)
    return float((told == np.asarray(store.targets)[test]).mean()), len(test)


def kept_row(file: Path, train: Callable[[], Any], data: Path) -> dict[str, Any]:
    """Return accuracy and cost of what `train` returns, measured now or kept in `file` from before."""
    if file.is_file():
        return dict(json.loads(file.read_text(encoding="utf-8")))
    start, cpu = time.monotonic(), time.process_time()
    model = train()
    spent = {"seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu}
    share, records = accuracy(model, data)
    row = {"accuracy": share, "test": records, **spent}
    file.write_text(json.dumps(row), encoding="utf-8")
    return row
