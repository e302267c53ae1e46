"""Kill -9 a run at random moments, resume it each time, and compare its final weights with an unbroken run's.

python benchmarks/kill.py [--kills 20] [--objective simclr]
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def command(out: Path, objective: str, epochs: int, *, resume: bool) -> list[str]:
    """Return the command line of the run."""
    line = [sys.executable, "-m", "bodh", "pretrain", "sklearn:digits", "--objective", objective, "--backbone", "cnn"]
    line += ["--epochs", str(epochs), "--out", str(out), "checkpoint_minutes=0.002", "modality.size=16"]
    return [*line, "--resume"] if resume else line


def weights(run: Path) -> str:
    """Return the digest of the final weights."""
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def broken_run(out: Path, objective: str, epochs: int, *, kills: int, longest: float, seed: int) -> list[float]:
    """Start, kill after a random time, resume, until `kills` are done; then let it end. Returns the moments."""
    draw = random.Random(seed)
    moments = []
    for _ in range(kills):
        resume = (out / "plan.json").exists()
        line, quiet = command(out, objective, epochs, resume=resume), subprocess.DEVNULL
        with subprocess.Popen(line, stderr=quiet, stdout=quiet) as process:
            moment = draw.uniform(0, longest)
            time.sleep(moment)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                moments.append(moment)
            process.wait()
        if (out / "model" / "model.json").exists():
            break
    resume = (out / "plan.json").exists()
    subprocess.run(command(out, objective, epochs, resume=resume), check=True, capture_output=True)
    return moments


def main() -> None:
    """Print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--objective", default="simclr")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder) / "whole", Path(folder) / "part"
        start = time.perf_counter()
        subprocess.run(command(whole, options.objective, options.epochs, resume=False), check=True, capture_output=True)
        seconds = time.perf_counter() - start
        longest = min(seconds, 12.0)
        moments = broken_run(part, options.objective, options.epochs, kills=options.kills, longest=longest, seed=0)
        same = weights(whole) == weights(part)
        span = f"after {min(moments):.1f} to {max(moments):.1f} s"
        print(f"unbroken run: {seconds:.1f} s; killed {len(moments)} times, {span}")
        print(f"final weights: {'identical' if same else 'DIFFERENT'} ({weights(whole)[:16]} / {weights(part)[:16]})")
        sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
