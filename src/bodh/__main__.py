"""`python -m bodh` and the `bodh` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line of this process and exit with its code."""
    # Before torch loads its OpenMP: threads that wait for each other spin for some microseconds, then sleep. On two
    # quiet cores that made a step of the default network a quarter quicker than sleeping at once, and cost nothing
    # beside busy processes, where OpenMP's own long spinning loses (benchmarks/waiting.py).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    from bodh.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
