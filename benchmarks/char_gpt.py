"""A character GPT on tiny Shakespeare in nanoGPT's setting for CPUs, by bodh and by a plain loop: loss and tokens/s.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/char_gpt.py --out runs/char-gpt [--rounds 3]

The setting (github.com/karpathy/nanoGPT, README, "I only have a macbook"): 4 layers of 4 heads, 128 wide, context 64,
batches of 12, 2,000 iterations, no dropout, AdamW (0.001, 100 iterations of warm-up, half a cosine to 0.0001, betas 0.9
and 0.99, weight decay 0.1, gradients clipped at 1), the first 90 % of the text for training; published validation loss
1.88. `plain` is that network and loop as nanoGPT writes them, without its compile, which that setting switches off; on
a CPU it computes in float32, so bodh goes once in float32 and once as it comes, which is bfloat16 where the CPU has
units for it.
All go in turns, in this process, a round a seed. The validation loss is measured in the same way for all: over all of
the last 10 %, in windows of 64 characters one after the other. Tokens a second: of the whole training, without the
validation, and the median over pieces of 10 iterations, which other work on the machine disturbs less.

With --setting gpu: 6 layers of 6 heads, 384 wide, context 256, batches of 64, 5,000 iterations, dropout 0.2 (published:
1.47, the best of its evaluations; here the last one's).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

DATA = Path(__file__).parents[2] / "shared" / "data" / "tinyshakespeare" / "input.txt"
PEAK, LEAST, WARMUP, BETAS, DECAY, CLIP = 1e-3, 1e-4, 100, (0.9, 0.99), 0.1, 1.0
PIECE = 10


@dataclass(frozen=True)
class Setting:
    """Sizes of the network and of the training."""

    layers: int
    heads: int
    width: int
    context: int
    batch: int
    steps: int
    dropout: float


SETTINGS = {"cpu": Setting(4, 4, 128, 64, 12, 2000, 0.0), "gpu": Setting(6, 6, 384, 256, 64, 5000, 0.2)}


class CausalSelfAttention(nn.Module):
    """As in nanoGPT's model.py."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.c_attn = nn.Linear(setting.width, 3 * setting.width, bias=False)
        self.c_proj = nn.Linear(setting.width, setting.width, bias=False)
        self.resid_dropout = nn.Dropout(setting.dropout)
        self.heads, self.width, self.dropout = setting.heads, setting.width, setting.dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens [n t d]."""
        n, t, d = x.size()
        q, k, v = self.c_attn(x).split(self.width, dim=2)
        k = k.view(n, t, self.heads, d // self.heads).transpose(1, 2)
        q = q.view(n, t, self.heads, d // self.heads).transpose(1, 2)
        v = v.view(n, t, self.heads, d // self.heads).transpose(1, 2)
        share = self.dropout if self.training else 0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=share, is_causal=True)
        y = y.transpose(1, 2).contiguous().view(n, t, d)
        return self.resid_dropout(self.c_proj(y))


class Block(nn.Module):
    """As in nanoGPT's model.py, its MLP written out."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(setting.width, bias=False)
        self.attn = CausalSelfAttention(setting)
        self.ln_2 = nn.LayerNorm(setting.width, bias=False)
        self.c_fc = nn.Linear(setting.width, 4 * setting.width, bias=False)
        self.gelu = nn.GELU()
        self.c_proj = nn.Linear(4 * setting.width, setting.width, bias=False)
        self.dropout = nn.Dropout(setting.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens [n t d]."""
        x = x + self.attn(self.ln_1(x))
        return x + self.dropout(self.c_proj(self.gelu(self.c_fc(self.ln_2(x)))))


class GPT(nn.Module):
    """As in nanoGPT's model.py."""

    def __init__(self, vocabulary: int, setting: Setting) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, setting.width)
        self.wpe = nn.Embedding(setting.context, setting.width)
        self.drop = nn.Dropout(setting.dropout)
        self.h = nn.ModuleList([Block(setting) for _ in range(setting.layers)])
        self.ln_f = nn.LayerNorm(setting.width, bias=False)
        self.lm_head = nn.Linear(setting.width, vocabulary, bias=False)
        self.wte.weight = self.lm_head.weight
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, mean=0.0, std=0.02)
        for name, weight in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(weight, mean=0.0, std=0.02 / math.sqrt(2 * setting.layers))

    def forward(self, idx: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device)
        x = self.drop(self.wte(idx) + self.wpe(pos))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


def plain(train: str, val: str, setting: Setting, *, seed: int, device: str) -> dict[str, float]:
    """Train as nanoGPT's train.py does; return loss and speed."""
    torch.manual_seed(seed)
    letters = {letter: place for place, letter in enumerate(sorted(set(train + val)))}
    data = np.array([letters[letter] for letter in train], dtype=np.uint16)
    model = GPT(len(letters), setting).to(device)
    weights = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.dim() >= 2], "weight_decay": DECAY},
        {"params": [p for p in weights if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=BETAS, fused=device.startswith("cuda"))

    def get_batch() -> tuple[Tensor, Tensor]:
        ix = torch.randint(len(data) - setting.context, (setting.batch,))
        x = torch.stack([torch.from_numpy(data[i : i + setting.context].astype(np.int64)) for i in ix])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + setting.context].astype(np.int64)) for i in ix])
        return x.to(device), y.to(device)

    def get_lr(it: int) -> float:
        if it < WARMUP:
            return PEAK * (it + 1) / (WARMUP + 1)
        ratio = (it - WARMUP) / (setting.steps - WARMUP)
        return LEAST + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (PEAK - LEAST)

    x, y = get_batch()
    began = time.perf_counter()
    ends = [began]
    for it in range(setting.steps):
        for group in optimizer.param_groups:
            group["lr"] = get_lr(it)
        with torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda")):
            loss = model(x, y)
        x, y = get_batch()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        if (it + 1) % PIECE == 0:
            ends.append(time.perf_counter())
    ids = np.array([letters[letter] for letter in val], dtype=np.int64)
    model.eval()
    pieces = [later - earlier for earlier, later in itertools.pairwise(ends)]
    return _row(measured(model, ids, setting, device), ends[-1] - began, pieces, setting)


def ours(
    train: str, val: str, setting: Setting, *, seed: int, device: str, precision: str, out: Path
) -> dict[str, float]:
    """Train with `bodh.pretrain`; return loss and speed."""
    import bodh
    from bodh.model.loaded import load_model

    length = setting.context + 1  # a row of 65 asks for 64 characters
    rows = -(-(len(train) + 2) // length)
    settings: dict[str, Any] = {
        "modality.tokenizer": "characters", "modality.length": length, "backbone.width": setting.width,
        "backbone.depth": setting.layers, "backbone.heads": setting.heads, "backbone.dropout": setting.dropout,
        "backbone.attention_dropout": setting.dropout, "backbone.bias": False, "batch": setting.batch,
        "learning_rate": PEAK * 256 / setting.batch, "rate_end": LEAST / PEAK,
        "warmup": min(1.0, WARMUP / setting.steps),
        "momentum": BETAS[0], "beta2": BETAS[1], "weight_decay": DECAY, "clip": CLIP, "log_every": PIECE,
        "monitor_records": 0, "progress": "none", "precision": precision,
    }  # fmt: skip
    bodh.pretrain(
        [train], objective="causal_lm", backbone="transformer", epochs=setting.steps / (rows // setting.batch),
        out=out, seed=seed, device=device, **settings,
    )  # fmt: skip
    records = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    pieces = [PIECE * setting.batch / r["records_per_second"] for r in records if r["kind"] == "step"]
    model = load_model(out / "model")
    network, modality = model.network.to(device).eval(), model.modality
    ids = modality.encode(val)[1:-1].astype(np.int64)  # type: ignore[attr-defined]

    def loss(x: Tensor, y: Tensor) -> Tensor:
        logits = network["head"](network["backbone"].features(x).tokens)  # type: ignore[operator]
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())

    seconds = float(model.manifest.provenance["seconds"])
    return _row(measured(loss, ids, setting, device), seconds, pieces, setting)


@torch.no_grad()
def measured(loss: Any, ids: np.ndarray, setting: Setting, device: str) -> float:
    """Return the mean loss of `loss(x, y)` over all windows of `ids`, one after the other, in float32."""
    count = (len(ids) - 1) // setting.context
    x = torch.from_numpy(ids[: count * setting.context]).view(count, setting.context).to(device)
    y = torch.from_numpy(ids[1 : count * setting.context + 1]).view(count, setting.context).to(device)
    parts = [float(loss(a, b)) * len(a) for a, b in zip(x.split(256), y.split(256), strict=True)]
    return sum(parts) / count


def _row(loss: float, seconds: float, pieces: list[float], setting: Setting) -> dict[str, float]:
    tokens = setting.batch * setting.context
    return {
        "loss": loss, "seconds": seconds, "tokens_a_second": setting.steps * tokens / seconds,
        "median": tokens * PIECE / statistics.median(pieces),
    }  # fmt: skip


def main() -> None:
    """Train in turns and print the table; finished ones are kept in --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--setting", choices=SETTINGS, default="cpu")
    parser.add_argument("--rounds", type=int, default=3, help="of both, each with a seed of its own")
    parser.add_argument("--steps", type=int, help="other than the setting's, to try it")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    setting = SETTINGS[options.setting]
    if options.steps:
        setting = Setting(**{**vars(setting), "steps": options.steps})
    text = options.data.read_text(encoding="utf-8")
    train, val = text[: int(0.9 * len(text))], text[int(0.9 * len(text)) :]
    options.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, float]]] = {"plain": [], "bodh float32": [], "bodh": []}
    for seed in range(options.rounds):
        for name, kept in rows.items():
            place = f"{name.replace(' ', '-')}-{options.setting}-{seed}"
            file = options.out / f"{place}.json"
            if not file.exists():
                if name == "plain":
                    row = plain(train, val, setting, seed=seed, device=options.device)
                else:
                    precision = "float32" if name.endswith("float32") else "auto"
                    run = options.out / f"run-{place}"
                    row = ours(train, val, setting, seed=seed, device=options.device, precision=precision, out=run)
                file.write_text(json.dumps(row), encoding="utf-8")
            kept.append(json.loads(file.read_text(encoding="utf-8")))
            told = {key: round(value, 4) for key, value in kept[-1].items()}
            print(f"seed {seed}, {name}: {told}", flush=True)
    print("\n| | validation loss | tokens/s, whole training | tokens/s, median piece |\n|---|---|---|---|")
    for name, found in rows.items():
        means = {key: statistics.mean(row[key] for row in found) for key in found[0]}
        print(f"| {name} | {means['loss']:.3f} | {means['tokens_a_second']:,.0f} | {means['median']:,.0f} |")
    print()
    for name in ("bodh float32", "bodh"):
        for key in ("tokens_a_second", "median"):
            ratios = [b[key] / p[key] for b, p in zip(rows[name], rows["plain"], strict=True)]
            print(f"{name} over plain, {key}, round by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
