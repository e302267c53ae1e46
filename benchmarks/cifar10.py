"""CIFAR-10 on two CPU cores: the same minutes of pretraining for bodh and for lightly's SimCLR, then the same proof.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/cifar10.py --out runs/cifar10 --minutes 20 --workers 0
    python benchmarks/cifar10.py --out runs/cifar10 --minutes 10 [--data ../shared/data/cifar10]

Twenty minutes of one thread on one core are twenty CPU-minutes, ten minutes on two cores at most as many. Sides:
bodh with its defaults; lightly's SimCLR (its CIFAR-10 benchmark's recipe: SimCLRTransform without blur, NT-Xent at
0.5, SGD with momentum, cosine, here planned to end in time) with bodh's network and with ResNet-18. Every side is
evaluated by the same code on frozen features: kNN, linear, 1 % and 10 % of the labels (5 draws), beside untrained,
raw pixels and supervised from scratch. Finished sides are kept in --out and not trained again; give a new folder to
start anew.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from pathlib import Path
from typing import Any

import torch

import bodh
from bodh._optional import torchvision
from bodh.api import _settings, _training


def cpu_seconds() -> float:
    """Return CPU seconds of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def train_bodh(data: Path, run: Path, minutes: float) -> dict[str, Any]:
    """Pretrain with bodh's defaults."""
    before, start = cpu_seconds(), time.monotonic()
    model = bodh.pretrain(data, out=run, minutes=minutes, device="cpu")
    provenance = model.manifest.provenance
    return {
        "cpu_minutes": (cpu_seconds() - before) / 60, "minutes": (time.monotonic() - start) / 60,
        "epochs": provenance["epochs"],
    }  # fmt: skip


def train_lightly(data: Path, run: Path, minutes: float, name: str, workers: int) -> dict[str, Any]:
    """Pretrain network `name` with lightly's parts in a plain loop; save it as a bodh model for the same proof."""
    torchvision()
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    before, start = cpu_seconds(), time.monotonic()
    source = _training.open_data(data, _settings.DataConfig())
    sections = _training.resolve_job({}, "simclr", "image", {})
    ready = _training.prepare_data(source, sections["modality"], _settings.DataConfig())
    pixels = ready.store.rows(ready.train)
    transform = SimCLRTransform(input_size=32, gaussian_blur=0.0)

    class Images(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, index: int) -> Any:
            return transform(Image.fromarray(pixels[index]))

    torch.manual_seed(0)
    backbone = _settings.fresh(name, ready.modality, {}, 0)
    head = SimCLRProjectionHead(backbone.dim, backbone.dim, 128)
    criterion = NTXentLoss(temperature=0.5)
    batch = 256
    optimiser = torch.optim.SGD(
        [*backbone.parameters(), *head.parameters()], lr=6e-2 * batch / 128, momentum=0.9, weight_decay=5e-4
    )
    loader = DataLoader(Images(), batch_size=batch, shuffle=True, drop_last=True, num_workers=workers)
    step = 0
    budget = 60 * minutes
    done = False
    while not done:
        for x0, x1 in loader:
            fraction = min(1.0, (time.monotonic() - start) / budget)  # the cosine ends when the time does
            optimiser.param_groups[0]["lr"] = 6e-2 * batch / 128 * 0.5 * (1 + math.cos(math.pi * fraction))
            loss = criterion(head(backbone(x0)), head(backbone(x1)))
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            step += 1
            done = time.monotonic() - start >= budget
            if done:
                break
    spent = {"minutes": (time.monotonic() - start) / 60, "epochs": step * batch / len(pixels)}
    del loader  # its workers end, and their time is counted
    spent["cpu_minutes"] = (cpu_seconds() - before) / 60
    network = torch.nn.ModuleDict({"backbone": backbone})
    provenance = {"verb": "lightly", "objective": {"name": "simclr by lightly", "config": {}}, "seed": 0, "steps": step}
    _training.save_result(run, ready, network, provenance=provenance, metrics={"loss": loss.item()})
    return spent


def main() -> None:
    """Train what is missing, evaluate every side, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=1, help="loader processes of lightly's side")
    parser.add_argument("--sides", default="bodh,lightly-ours,lightly-resnet18")
    parser.add_argument("--train-only", action="store_true", help="leave the evaluation to a later call")
    parser.add_argument("--scratch-views", type=int, default=100_000, help="views of every network from scratch")
    options = parser.parse_args()
    ours = _settings.default_backbone("image", "cpu")
    for side in options.sides.split(","):
        run = options.out / side
        if not (run / "spent.json").exists():
            if side == "bodh":
                spent = train_bodh(options.data, run, options.minutes)
            else:
                name = ours if side.endswith("ours") else side.removeprefix("lightly-")
                spent = train_lightly(options.data, run, options.minutes, name, options.workers)
            (run / "spent.json").write_text(json.dumps(spent))
        if options.train_only:
            continue
        if not (run / "evaluation" / "evaluation.json").exists():
            bodh.evaluate(
                run, options.data, protocol="knn,linear,budget", out=run / "evaluation", device="cpu",
                baselines="auto" if side == "bodh" else "none", budgets=["1%", "10%"], seeds=5,
                scratch_views=options.scratch_views,
            )  # fmt: skip
        spent = json.loads((run / "spent.json").read_text())
        result = json.loads((run / "evaluation" / "evaluation.json").read_text())
        print(f"\n## {side}: {spent}\n{result['sentence']}")
        for name, rows in result["tables"].items():
            print(name)
            for row in rows:
                print("  ", row)


if __name__ == "__main__":
    main()
