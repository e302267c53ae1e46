"""Measured numbers from real images: MNIST digits, each turned by a random angle, which is to be told in degrees.

    python benchmarks/turned_digits.py ../shared/data/mnist OUT [--records 4000] [--test 1000]

writes OUT/turned.npz (x_train, y_train, x_test, y_test; angles in degrees, positive against the clock) and
OUT/unlabelled.npz (other digits, turned likewise, without angles), for:

    bodh pretrain OUT/unlabelled.npz --minutes 1 --out OUT/pretrained modality.views.rotation=0
    bodh finetune OUT/turned.npz --from OUT/pretrained --out OUT/linear
    bodh evaluate OUT/linear OUT/turned.npz
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
from PIL import Image


def images_of(path: Path) -> np.ndarray:
    """Return the images of an idx file, uint8 [n 28 28]."""
    with gzip.open(path) as file:
        content = file.read()
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)


def turned(images: np.ndarray, *, seed: int, most: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    """Return `images` [n h w], each turned about its middle, and the angles [n] in degrees, from -most to most."""
    angles = np.random.default_rng(seed).uniform(-most, most, len(images)).astype(np.float32)
    pictures = [
        np.asarray(Image.fromarray(image).rotate(float(angle), Image.Resampling.BILINEAR))
        for image, angle in zip(images, angles, strict=True)
    ]
    return np.stack(pictures), angles


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--test", type=int, default=1000)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    digits = images_of(given.mnist / "train-images-idx3-ubyte.gz")
    x_train, y_train = turned(digits[: given.records], seed=0)
    x_test, y_test = turned(images_of(given.mnist / "t10k-images-idx3-ubyte.gz")[: given.test], seed=1)
    np.savez(given.out / "turned.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    np.savez(given.out / "unlabelled.npz", x=turned(digits[given.records : 5 * given.records], seed=2)[0])


if __name__ == "__main__":
    main()
