"""Makes docs/report.png, the picture in the README, from a real report: `python docs/picture.py runs/demo/report.html`.

Needs a Chromium or Chrome on the PATH, and Pillow, which bodh brings.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1000, 1180
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def main() -> int:
    """Take the picture; return the exit code."""
    report = Path(sys.argv[1]).resolve()
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.stderr.write(f"none of {', '.join(BROWSERS)} is installed\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"]
        subprocess.run([browser, *flags, f"--screenshot={shot}", report.as_uri()], check=True, capture_output=True)
        with Image.open(shot) as picture:
            small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
            small.save(Path(__file__).with_name("report.png"), optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
