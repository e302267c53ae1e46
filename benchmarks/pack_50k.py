"""Time and peak memory of packing images into the store, and of reading batches from it.

    python benchmarks/pack_50k.py DATA [--records 50000] [--workers N] [--side S]

DATA is a folder or file of encoded images (the 50,000 training images of cifar10, for one). Prints one JSON object:
seconds and images a second of the pass, the largest resident memory of this process and of all its workers
together (sampled every 20 ms), and the rate at which batches of 256 are read back.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np


def resident(pid: int) -> int:
    """Bytes of memory that a process holds and shares with nobody; 0 where it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()
    except OSError:
        return 0
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


def children() -> list[int]:
    try:
        return [
            int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
        ]
    except OSError:
        return []


class Watch:
    """Samples the memory of this process and its children until stopped."""

    def __init__(self) -> None:
        self.own = self.all = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            own = resident(os.getpid())
            self.own = max(self.own, own)
            self.all = max(self.all, own + sum(resident(pid) for pid in children()))

    def stop(self) -> None:
        """Take no more samples."""
        self._stop.set()
        self._thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--side", type=int, default=32)
    given = parser.parse_args()

    from bodh.modalities.image import ImageConfig, Modality
    from bodh.records.open import open_source
    from bodh.records.store import open_store

    start = time.perf_counter()
    source = open_source(given.data)
    opened = time.perf_counter() - start
    count = min(given.records, len(source))
    source.ids, source.splits = source.ids[:count], source.splits[:count]
    source.targets = None if source.targets is None else source.targets[:count]
    source.fingerprint += f"-{count}"
    if hasattr(source, "_paths"):
        source._paths = source._paths[:count]  # noqa: SLF001
    half = (0.5, 0.5, 0.5)
    modality = Modality(ImageConfig(size=given.side, channels=3, mean=half, std=half, stored_size=given.side))
    folder = Path(tempfile.mkdtemp(prefix="bodh-pack-"))
    watch, before = Watch(), resident(os.getpid())
    try:
        start = time.perf_counter()
        store = open_store(source, modality, cache=folder, workers=given.workers)
        seconds = time.perf_counter() - start
        watch.stop()
        assert store.folder is not None
        decoded = (store.folder / "data.bin").stat().st_size
        batches = np.random.default_rng(0).permutation(len(store))[: len(store) // 256 * 256].reshape(-1, 256)
        start = time.perf_counter()
        for batch in batches:
            store.rows(batch)
        reading = time.perf_counter() - start
        start = time.perf_counter()
        open_store(source, modality, cache=folder)
        again = time.perf_counter() - start
    finally:
        shutil.rmtree(folder)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime + resource.getrusage(resource.RUSAGE_SELF).ru_utime
    print(json.dumps({
        "records": len(store), "decoded_mb": decoded / 1e6, "open_seconds": opened, "pack_seconds": seconds,
        "cpu_seconds": used, "records_per_second": len(store) / seconds, "open_again_seconds": again,
        "own_mb_before": before / 1e6, "own_peak_mb": watch.own / 1e6, "all_processes_peak_mb": watch.all / 1e6,
        "read_records_per_second": batches.size / reading if len(batches) else None,
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
