"""`python -m bodh` and the `bodh` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process and exit with its code."""
    from bodh.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
