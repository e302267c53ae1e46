"""`python -m bodh` and the `bodh` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line of this process and exit with its code."""
    # Before torch loads its OpenMP: threads that wait for each other must sleep, not spin. Beside any other busy
    # process spinning made a step on two cores three times as long; on a quiet machine there is no difference.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from bodh.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
