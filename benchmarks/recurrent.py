"""Plain recurrent networks, LSTM and GRU: how far back they remember, and what becomes of the gradient on the way.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/recurrent.py --out runs/recurrent [--seeds 3] [--steps 1500]

`memory`: the first of t tokens is one of 8 and is asked for after the last; the others are noise. Accuracy on 2,000 new
rows after so many steps of 64, for every t (chance: 0.125). `mnist`: the 28 rows of an image one after the other, 28
numbers each, through a linear layer instead of the embedding; accuracy on all 10,000 test images. `gradient`: the norm
of the loss's gradient with respect to what enters at every step of the memory task, mean over rows, as a share of that
at the last step, before training and after.

All are `backbones/recurrent.py` in its own ways (two layers, the last state is read out): `uniform`: weights start as
PyTorch has them, gradients unclipped; `clipped`: the same, gradients clipped at norm 1; `orthogonal`: recurrent weights
start orthogonal, clipped; `residual`: orthogonal, clipped, with connections past the layers; `open` (asked for by
--ways, for a GRU): orthogonal, clipped, its update gate's bias at 1, as an LSTM's forget gate has it. A row a kind,
way, length and seed is kept in rows.jsonl at once; rows that are there are not run again. Writes report.html and
gradient.png.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.backbones.recurrent import build
from bodh.report.blocks import Lines, Report, Series, Table
from bodh.report.render import write

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"
KINDS = ("rnn", "lstm", "gru")
WAYS: dict[str, dict[str, Any]] = {
    "uniform": {"orthogonal": False, "clip": None},
    "clipped": {"orthogonal": False, "clip": 1.0},
    "orthogonal": {"orthogonal": True, "clip": 1.0},
    "residual": {"orthogonal": True, "clip": 1.0, "residual": True},
    "open": {"orthogonal": True, "clip": 1.0, "open": True},
}
USUAL = ("uniform", "clipped", "orthogonal", "residual")
SYMBOLS, NOISE, BATCH, WIDTH, LAYERS, RATE = 8, 8, 64, 64, 2, 2e-3
GRADIENT_LENGTH = 100


class Reader(nn.Module):
    """The backbone's layers over embedded ids, or over vectors, and a linear layer over the last state."""

    def __init__(self, kind: str, way: dict[str, Any], classes: int, inputs: int | None) -> None:
        super().__init__()
        own = {key: value for key, value in way.items() if key not in ("clip", "open")}
        self.backbone = build(
            shape=(GRADIENT_LENGTH,), vocabulary=1 + SYMBOLS + NOISE, padding=0, kind=kind, width=WIDTH, layers=LAYERS,
            pool="last", dropout=0.0, **own,
        )  # fmt: skip
        if way.get("open"):
            with torch.no_grad():
                for layer in self.backbone.layers:
                    layer.forth.cells.bias_ih_l0[WIDTH : 2 * WIDTH] = 1.0
        self.enter = self.backbone.embedding if inputs is None else nn.Linear(inputs, WIDTH)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [n k] of ids [n t], or of vectors [n t c]."""
        return self.after(self.enter(x))

    def after(self, entered: Tensor) -> Tensor:
        """Return logits [n k] of what enters the first layer [n t d]."""
        for layer in self.backbone.layers:
            entered = layer(entered, None)
        return self.head(entered[:, -1])


def memory(count: int, length: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return ids [n t] and which symbol was first [n]."""
    ids = torch.randint(1 + SYMBOLS, 1 + SYMBOLS + NOISE, (count, length), generator=random)
    first = torch.randint(0, SYMBOLS, (count,), generator=random)
    ids[:, 0] = 1 + first
    return ids, first


def train(
    network: Reader, draw: Callable[[], tuple[Tensor, Tensor]], steps: int, clip: float | None
) -> tuple[float, float]:
    """Train for so many steps; return the seconds, and the largest norm of a gradient that was met."""
    adam = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=steps, pct_start=0.1)
    started, largest = time.perf_counter(), 0.0
    for _ in range(steps):
        x, y = draw()
        adam.zero_grad()
        F.cross_entropy(network(x), y).backward()
        largest = max(largest, float(nn.utils.clip_grad_norm_(network.parameters(), clip or float("inf"))))
        adam.step()
        rate.step()
    return time.perf_counter() - started, largest


def gradient(network: Reader, length: int) -> list[float]:
    """Return the gradient's norm at every step [t], mean over 256 rows, as a share of that at the last."""
    ids, first = memory(256, length, torch.Generator().manual_seed(99))
    entered = network.enter(ids).detach().requires_grad_()
    F.cross_entropy(network.after(entered), first, reduction="sum").backward()
    norms = entered.grad.norm(dim=2).mean(dim=0)  # type: ignore[union-attr]
    return (norms / norms[-1].clamp_min(1e-30)).tolist()


def correct(network: Reader, x: Tensor, y: Tensor) -> float:
    """Return the accuracy."""
    with torch.inference_mode():
        told = torch.cat([network(part).argmax(dim=1) for part in x.split(500)])
    return float((told == y).float().mean())


def one_memory(kind: str, way: str, length: int, seed: int, steps: int) -> dict[str, Any]:
    """Return the row of one network on the memory task."""
    torch.manual_seed(seed)
    network = Reader(kind, WAYS[way], SYMBOLS, None)
    before = gradient(network, length) if length == GRADIENT_LENGTH else None
    random = torch.Generator().manual_seed(1000 + seed)
    seconds, largest = train(network, lambda: memory(BATCH, length, random), steps, WAYS[way]["clip"])
    accuracy = correct(network, *memory(2000, length, torch.Generator().manual_seed(7)))
    row = {"accuracy": accuracy, "seconds": seconds, "largest_gradient": largest}
    return row | ({"before": before, "after": gradient(network, length)} if before else {})


def one_mnist(kind: str, way: str, seed: int, steps: int) -> dict[str, Any]:
    """Return the row of one network on the rows of images."""
    torch.manual_seed(seed)
    network = Reader(kind, WAYS[way], 10, 28)
    (x, y), test = (images(part) for part in ("train", "t10k"))
    random = torch.Generator().manual_seed(1000 + seed)

    def draw() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(0, len(x), (BATCH,), generator=random)
        return x[chosen], y[chosen]

    seconds, largest = train(network, draw, steps, WAYS[way]["clip"])
    return {"accuracy": correct(network, *test), "seconds": seconds, "largest_gradient": largest}


def images(part: str) -> tuple[Tensor, Tensor]:
    """Return images [n 28 28], 0 to 1, and what they show [n]."""
    found = []
    for kind, start in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8)):
        path = next(MNIST.glob(f"{part}-{kind}*"))
        found.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=start))
    pixels = torch.from_numpy(found[0].copy()).reshape(-1, 28, 28).float() / 255
    return pixels, torch.from_numpy(found[1].copy()).long()


def spoken(rows: list[dict[str, Any]], **wanted: Any) -> str:
    """Return mean and deviation over seeds of the rows that are so, in percent."""
    found = [100 * row["accuracy"] for row in rows if all(row[key] == value for key, value in wanted.items())]
    spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):.1f}{spread}" if found else "–"


def tell(out: Path, rows: list[dict[str, Any]], lengths: list[int], steps: int) -> None:
    """Print the table, write report.html and gradient.png."""
    columns = ["kind", "way", *(f"memory, t = {length}" for length in lengths), "mnist by rows"]
    table: list[list[Any]] = []
    for kind in KINDS:
        for way in WAYS:
            if not any((row["kind"], row["way"]) == (kind, way) for row in rows):
                continue
            cells = [spoken(rows, task="memory", kind=kind, way=way, length=length) for length in lengths]
            table.append([kind, way, *cells, spoken(rows, task="mnist", kind=kind, way=way)])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    print("\n".join("| " + " | ".join(map(str, row)) + " |" for row in table))
    note = f"accuracy in percent after {steps:,} steps of {BATCH}, mean ± deviation over seeds; chance: 12.5 and 10"
    blocks: list[Any] = [Table("Accuracy against length", columns, table, note=note)]
    curves: dict[str, dict[str, np.ndarray]] = {}
    for when in ("before", "after"):
        met = [row for row in rows if when in row]
        for key in sorted(
            {(row["kind"], row["way"]) for row in met}, key=lambda k: (KINDS.index(k[0]), list(WAYS).index(k[1]))
        ):
            logs = [np.log10(np.maximum(row[when], 1e-30)) for row in met if (row["kind"], row["way"]) == key]
            curves.setdefault(when, {})[" ".join(key)] = np.mean(logs, axis=0)
    for when, found in curves.items():
        series = [
            Series(name, list(range(1, len(y) + 1)), y.tolist()) for name, y in found.items() if "clipped" not in name
        ]
        blocks.append(
            Lines(
                f"Gradient by time step, {when} training", "step", "log10 of the norm, last step = 0", series,
                note="where it falls towards the left, what came early teaches nothing: the gradient has vanished",
            )
        )  # fmt: skip
    write(Report("recurrent networks", f"{LAYERS} layers, {WIDTH} wide", None, blocks), out / "report.html")
    picture(out / "gradient.png", curves)
    print(f"\n{out / 'report.html'}, {out / 'gradient.png'}")


def picture(path: Path, curves: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw the gradients' norms by time step, a panel before and after training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, max(1, len(curves)), squeeze=False, sharey=True)[0]
    styles, colours = ("-", "--", "-.", ":", (0, (1, 4))), ("C3", "C0", "C2")
    for axes, (when, found) in zip(panels, curves.items(), strict=False):
        for name, y in found.items():
            kind, way = name.split()
            style, colour = styles[list(WAYS).index(way)], colours[KINDS.index(kind)]
            axes.plot(range(1, len(y) + 1), y, linestyle=style, color=colour, label=name, linewidth=1.3)
        axes.set(title=f"{when} training", xlabel="time step", ylabel="log10 of gradient norm (last step = 0)")
        axes.grid(alpha=0.3)
    panels[-1].legend(fontsize=7, ncols=3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run what is not in rows.jsonl yet, then tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--lengths", default=f"10,25,50,{GRADIENT_LENGTH},200")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--ways", default=",".join(USUAL))
    given = parser.parse_args()
    lengths = [int(length) for length in given.lengths.split(",")]
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    for seed in range(given.seeds):
        for kind in given.kinds.split(","):
            for way in given.ways.split(","):
                for task, length in (*(("memory", length) for length in lengths), ("mnist", 28)):
                    own = {"task": task, "kind": kind, "way": way, "length": length, "seed": seed, "steps": given.steps}
                    if any(all(row[key] == value for key, value in own.items()) for row in rows):
                        continue
                    one = (
                        one_memory(kind, way, length, seed, given.steps) if task == "memory"
                        else one_mnist(kind, way, seed, given.steps)
                    )  # fmt: skip
                    rows.append(own | one)
                    with kept.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
                    told = (
                        f"{one['accuracy']:.3f}, {one['seconds']:.0f} s, largest gradient {one['largest_gradient']:.3g}"
                    )
                    print(f"{task} {kind} {way} t={length} seed {seed}: {told}", flush=True)
    tell(given.out, [row for row in rows if row["steps"] == given.steps], lengths, given.steps)


if __name__ == "__main__":
    main()
