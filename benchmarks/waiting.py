"""How should threads wait for each other? The measurement behind GOMP_SPINCOUNT in `bodh.__main__`.

    python benchmarks/waiting.py [--data ../shared/data/cifar10] [--rounds 3] [--steps 40] [--busy 0,1]

SimCLR steps of the default network on two views of 24 px, batch 128, as `bodh pretrain` takes them on a CPU, in
processes of their own that differ in OpenMP's waiting alone: sleep at once (PASSIVE), spin for a count and then sleep
(PASSIVE with GOMP_SPINCOUNT), or OpenMP's own way (spin long). Interleaved rounds, median images a second; on a machine
that does nothing else, then beside processes that keep cores busy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WAYS: dict[str, dict[str, str]] = {
    "one thread": {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"},
    "sleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 2,000, then sleep (bodh)": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"},
    "spin 10,000, then sleep": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"},
    "OpenMP's own": {},
}
OWN = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT")


def measure(data: Path, steps: int) -> None:
    """Print images a second of this process."""
    from bodh.api import _settings, _training
    from bodh.train.engine import keep_freed_memory
    from step import advance, bodh_training

    keep_freed_memory()
    batch = 128
    source = _training.open_data(data, _settings.DataConfig())
    sections = _training.resolve_job({"modality.size": 32, "modality.views.size": 24}, "simclr", "image", {})
    ready = _training.prepare_data(source, sections["modality"], _settings.DataConfig())
    network = _settings.fresh("small", ready.modality, {}, 0)
    side = advance(bodh_training(ready, network, batch=batch, precision="auto"))
    for _ in range(5):
        next(side)
    start = time.perf_counter()
    for _ in range(steps):
        next(side)
    print(json.dumps(steps * batch / (time.perf_counter() - start)))


def table(options: argparse.Namespace, title: str) -> None:
    """Print one row a way, over interleaved rounds."""
    plain = {key: value for key, value in os.environ.items() if key not in OWN}
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    line = [sys.executable, __file__, "--one", "--data", str(options.data), "--steps", str(options.steps)]
    for _ in range(options.rounds):
        for name, settings in WAYS.items():
            done = subprocess.run(line, env=plain | settings, check=True, capture_output=True, text=True)
            rates[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"\n{title}")
    for name, values in rates.items():
        print(f"{name:32} {statistics.median(values):7,.0f} ({min(values):,.0f} to {max(values):,.0f})", flush=True)


def main() -> None:
    """Measure alone, then beside busy processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--busy", default="0,1", help="how many other processes are kept busy meanwhile, in turn")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.data, options.steps)
        return
    for count in map(int, options.busy.split(",")):
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        try:
            table(options, f"images a second, {os.cpu_count()} cores, beside {count} busy processes")
        finally:
            for process in busy:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
