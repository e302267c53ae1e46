"""Two SimCLR views of an image, in images a second and core: bodh beside lightly and beside torchvision, per image.

    python benchmarks/augmentation.py [--rounds 5] [--images 256]

One process, one thread, rounds interleaved, processor time; from decoded images in memory to normalised float
tensors `[c s s]`, with the same probabilities and strengths. The photographs are those of the shared set
"clothing-small" (shorter side 128), cut square and resized to the stored side; for 224 px views they are stored at 256,
which enlarges them: that costs the same time as real detail. The order of jitter differs (bodh: fixed).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bodh._optional import torchvision
from bodh.contracts import Shard, View
from bodh.modalities.image import ImageConfig, Modality

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "clothing-small" / "train"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SETTINGS = ((32, 32, 0.5, 0.0), (32, 32, 0.5, 0.5), (96, 96, 1.0, 0.5), (224, 256, 1.0, 0.5))
"""Side of a view, stored side, jitter strength, probability of blur."""
Run = Callable[[], object]


def photographs(folder: Path, side: int, count: int) -> np.ndarray:
    files = sorted(folder.glob("*/*.jpg"))
    if not files:
        raise SystemExit(f"no photographs at {folder}; type: python benchmarks/augmentation.py --photographs FOLDER")
    rows = []
    for file in files[:: max(1, len(files) // count)][:count]:
        image = Image.open(file).convert("RGB")
        least = min(image.size)
        rows.append(np.asarray(image.resize((side, side), box=(0, 0, least, least))))
    return np.stack(rows)


def with_lightly(rows: np.ndarray, size: int, strength: float, blur: float) -> Run:
    from lightly.transforms import SimCLRTransform

    transform = SimCLRTransform(input_size=size, cj_strength=strength, gaussian_blur=blur)
    images = [Image.fromarray(row) for row in rows]
    return lambda: [transform(image) for image in images]


def with_torchvision(rows: np.ndarray, size: int, strength: float, blur: float) -> Run:
    from torchvision.transforms import v2

    colour = v2.ColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([colour], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(13, (0.1, 2.0))], p=blur),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    images = [torch.from_numpy(row).permute(2, 0, 1) for row in rows]
    return lambda: [(transform(image), transform(image)) for image in images]


def with_bodh(rows: np.ndarray, size: int, strength: float, blur: float) -> Run:
    jitter = {"brightness": 0.8 * strength, "contrast": 0.8 * strength, "saturation": 0.8 * strength}
    options = {"crop_scale": (0.08, 1.0), "flip": 0.5, "jitter": 0.8, "hue": 0.2 * strength, "grey": 0.2, "blur": blur}
    view = View("strong", jitter | options)
    modality = Modality(ImageConfig(size=size, channels=3, mean=MEAN, std=STD))
    shard, device = Shard(0, len(rows), len(rows)), torch.device("cpu")
    return lambda: modality.views(rows, (view, view), 0, shard, device)


def seconds(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--photographs", type=Path, default=SHARED, help="a folder of class folders of JPEG files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torchvision()
    makers = {"lightly": with_lightly, "torchvision v2": with_torchvision, "bodh": with_bodh}
    print(f"| view, stored, jitter, blur | {' | '.join(makers)} | over lightly | over torchvision |")
    print("|---|" + "--:|" * 5)
    for size, stored, strength, blur in SETTINGS:
        count = max(8, arguments.images * 32 // max(32, size))
        rows = photographs(arguments.photographs, stored, count)
        runs = {name: make(rows, size, strength, blur) for name, make in makers.items()}
        for run in runs.values():
            run()
        taken = [{name: seconds(run) for name, run in runs.items()} for _ in range(arguments.rounds)]
        rates = [f"{len(rows) / statistics.median(each[name] for each in taken):,.0f}" for name in makers]
        ratios = []
        for other in ("lightly", "torchvision v2"):
            each = [one[other] / one["bodh"] for one in taken]
            ratios.append(f"**{statistics.median(each):.1f}×** ({min(each):.1f}–{max(each):.1f})")
        print(f"| {size}, {stored}, {strength:g}, {blur:g} | {' | '.join(rates + ratios)} |", flush=True)


if __name__ == "__main__":
    main()
