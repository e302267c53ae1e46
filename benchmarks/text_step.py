"""What a step of a small language model costs, and attention on a CPU: where the time of a step goes.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/text_step.py [--compile]

`step`: the network of char_gpt.py's setting for CPUs (4 layers, 128 wide, 12 rows of 64 characters), forward, loss,
backward, clipping and AdamW in float32; milliseconds of process time, and the share of it that matrix products take
(torch.profiler). With --compile also under torch.compile, and the seconds until its first step is done.

`attention`: forward and backward in bfloat16, PyTorch's fused kernel as it is, and as `layers.attention.attend` calls
it, in float32; milliseconds of process time. Sides go in turns, medians of --rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from bodh.backbones.transformer import build
from bodh.heads.language import build as language
from bodh.layers.attention import attend

V, ROWS, LENGTH = 70, 12, 64
SHAPES = {"vit, 64 patches": (64, 3, 64, 64), "vit, 196 patches": (16, 3, 196, 64), "mae, 16 seen": (64, 4, 17, 32)}
"""[n h t e]"""


def step(*, compiled: bool) -> Callable[[], None]:
    """Return one training step."""
    torch.manual_seed(0)
    backbone = build(shape=(LENGTH,), vocabulary=V, padding=0, causal=True, bias=False, dropout=0.0)
    head = language(dim=backbone.dim, vocabulary=V, transform=False)
    head.tie(backbone.embedding)
    weights = list(dict.fromkeys([*backbone.parameters(), *head.parameters()]))
    adam = torch.optim.AdamW(weights, 1e-3, fused=True)
    x, y = (torch.randint(1, V, (ROWS, LENGTH)) for _ in range(2))

    def loss() -> torch.Tensor:
        tokens = backbone.features(x).tokens
        return head.loss(tokens.flatten(0, 1), y.flatten())

    told = torch.compile(loss) if compiled else loss

    def run() -> None:
        told().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)

    return run


def milliseconds(run: Callable[[], object], times: int) -> float:
    """Return the process time of one of `times` calls."""
    started = time.process_time()
    for _ in range(times):
        run()
    return 1000 * (time.process_time() - started) / times


def products(run: Callable[[], None]) -> float:
    """Return the share of a step that matrix products take."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(20):
            run()
    each = {row.key: row.self_cpu_time_total for row in seen.key_averages()}
    return sum(each.get(name, 0) for name in ("aten::mm", "aten::addmm", "aten::bmm")) / sum(each.values())


def attention(shape: tuple[int, ...], rounds: int) -> dict[str, float]:
    """Return milliseconds of both ways."""
    q, k, v = (torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    ways = {
        "kernel": lambda: F.scaled_dot_product_attention(q, k, v).sum().backward(),
        "attend": lambda: attend(q, k, v).sum().backward(),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, run in ways.items():
            spent = milliseconds(run, 5)
            if turn:  # the first warms up
                found[name].append(spent)
    return {name: statistics.median(spent) for name, spent in found.items()}


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sides = {"step": step(compiled=False)}
    if given.compile:
        sides["step, compiled"] = step(compiled=True)
    found: dict[str, list[float]] = {name: [] for name in sides}
    for name, run in sides.items():
        started = time.perf_counter()
        milliseconds(run, 5)
        print(f"{name}: {time.perf_counter() - started:.1f} s until five were done")
    for _ in range(given.rounds):
        for name, run in sides.items():
            found[name].append(milliseconds(run, 20))
    for name, spent in found.items():
        print(f"{name}: {statistics.median(spent):.1f} ms")
    print(f"matrix products: {products(sides['step']):.0%} of a step")
    for name, shape in SHAPES.items():
        spent = attention(shape, given.rounds)
        print(f"attention, {name}: {spent['kernel']:.1f} ms, as bodh calls it {spent['attend']:.1f} ms")


if __name__ == "__main__":
    main()
