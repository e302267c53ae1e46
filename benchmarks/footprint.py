"""What bodh costs before it does anything: `import bodh`, `bodh --help`, and the size of an installation.

python benchmarks/footprint.py [--runs 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path


def seconds(line: list[str], runs: int) -> str:
    """Return median (least – most) wall-clock seconds of a whole process, after one run to warm the file cache."""
    taken = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(line, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    taken = taken[1:]
    return f"{statistics.median(taken):.3f} s ({min(taken):.3f} – {max(taken):.3f})"


def megabytes(folder: Path) -> float:
    """Return the size of all files under `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    print(f"python -c pass:        {seconds([sys.executable, '-c', 'pass'], runs)}")
    print(f"python -c import bodh: {seconds([sys.executable, '-c', 'import bodh'], runs)}")
    print(f"bodh --help:           {seconds([sys.executable, '-m', 'bodh', '--help'], runs)}")
    print(f"bodh pretrain --help:  {seconds([sys.executable, '-m', 'bodh', 'pretrain', '--help'], runs)}")
    packages = Path(sysconfig.get_path("purelib"))
    whole, torch = megabytes(packages), megabytes(packages / "torch")
    print(f"this environment:      {whole:,.0f} MB, of which torch {torch:,.0f} MB")
    print(f"bodh itself:           {megabytes(Path(__file__).parents[1] / 'src' / 'bodh'):.2f} MB")


if __name__ == "__main__":
    main()
