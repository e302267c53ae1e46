"""MNIST with the classic three-convolution network at 48×48: accuracy after 5 epochs, and the time of an epoch.

    python benchmarks/mnist_cnn.py [--data ../shared/data/mnist] [--epochs 5]

Supervised, batch 64, Adam, rotation ±10° and jitter. The other side is the usual way: the same network in a plain
loop, a Dataset of PIL images, torchvision transforms a sample, a DataLoader (its best number of workers here).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bodh
from bodh._optional import torchvision
from bodh.api import _settings, _training

SETTINGS = {
    "modality.size": 48, "modality.channels": 1, "modality.views.rotation": 10.0, "modality.views.flip": 0.0,
    "modality.views.brightness": 0.2, "modality.views.contrast": 0.2, "modality.views.crop_scale": [1.0, 1.0],
    "batch": 64, "optimiser": "adamw", "weight_decay": 0.0, "learning_rate": 0.004, "monitor_records": 0,
}  # fmt: skip
"""The learning rate is for a batch of 256 and is scaled: 0.001 for 64, Adam's usual one."""


def plain_epochs(data: Path, epochs: float, workers: int) -> tuple[float, int]:
    """Train the usual way for `epochs` (a fraction is allowed); return seconds and steps."""
    torchvision()
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    source = _training.open_data(data, _settings.DataConfig())
    sections = _training.resolve_job(SETTINGS, "classify", "image", {})
    ready = _training.prepare_data(source, sections["modality"], _settings.DataConfig())
    pixels, labels = ready.store.rows(ready.train), np.asarray(ready.store.targets)[ready.train]
    transform = transforms.Compose([
        transforms.Resize((48, 48)), transforms.RandomRotation(10), transforms.ColorJitter(0.2, 0.2),
        transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,)),
    ])  # fmt: skip

    class Digits(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, index: int) -> Any:
            return transform(Image.fromarray(pixels[index].squeeze(-1))), int(labels[index])

    network = torch.nn.Sequential(_settings.fresh("cnn", ready.modality, {}, 0), torch.nn.LazyLinear(10)).train()
    network(torch.zeros(2, 1, 48, 48))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = DataLoader(Digits(), batch_size=64, shuffle=True, drop_last=True, num_workers=workers)
    steps = int(epochs * (len(pixels) // 64))
    done, start = 0, time.perf_counter()
    while done < steps:
        for images, targets in loader:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(images), targets).backward()
            optimiser.step()
            done += 1
            if done >= steps:
                break
    return time.perf_counter() - start, steps


def bodh_epochs(data: Path, epochs: float, out: Path, **more: Any) -> tuple[float, bodh.Model]:
    """Train with bodh; return seconds of training and the model."""
    model = bodh.finetune(data, start="cnn", epochs=epochs, out=out, device="cpu", **SETTINGS, **more)
    return model.manifest.provenance["seconds"], model


def main() -> None:
    """Print accuracy and times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "mnist")
    parser.add_argument("--epochs", type=float, default=5)
    parser.add_argument("--part", type=float, default=0.1, help="share of an epoch that is timed, in turn")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds, model = bodh_epochs(options.data, options.epochs, Path(folder) / "full")
        verdict = bodh.evaluate(model, options.data, protocol="task", baselines="none", out=Path(folder) / "proof")
        print(f"bodh, {options.epochs:g} epochs in {seconds:.0f} s ({seconds / options.epochs:.1f} s an epoch)")
        print(verdict.tables)
        times: dict[str, list[float]] = {"bodh": [], "bodh float32": [], "plain, 0 workers": [], "plain, 2 workers": []}
        for turn in range(options.rounds):
            times["bodh"].append(bodh_epochs(options.data, options.part, Path(folder) / f"a{turn}")[0])
            out = Path(folder) / f"b{turn}"
            times["bodh float32"].append(bodh_epochs(options.data, options.part, out, precision="float32")[0])
            for workers in (0, 2):
                times[f"plain, {workers} workers"].append(plain_epochs(options.data, options.part, workers)[0])
        for side, values in times.items():
            print(f"{side}: {statistics.median(values) / options.part:.1f} s an epoch (median of {len(values)})")


if __name__ == "__main__":
    main()
