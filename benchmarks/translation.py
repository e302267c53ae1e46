"""Translation within minutes on one core: a Transformer and a GRU with attention, by bodh and by plain loops.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/translation.py --minutes 20 --out runs/translation

Data: Multi30k, English to German, 29,000 training pairs; BLEU and chrF (sacrebleu, signature told) on all 1,000
sentences of test 2016. `bodh` is `bodh.pretrain(…, objective="seq2seq")`. `plain` has the same network, written with
`torch.nn.Transformer`'s own layers or with `torch.nn.GRU` and a decoder as in Bahdanau et al. 2015, in a plain loop:
the same tokenizer, the same batches of the same tokens, AdamW, label smoothing 0.1, rates and clipping; logits and
loss of whole padded batches, as such loops have it. It trains for as many seconds as bodh's loop said it did, its
learning rate planned over those seconds. Both write greedily for the comparison; bodh also with four beams. A round a
seed; both go in turns, in this process.

With --hindi: Hindi to English and back on the Wikipedia sample (8,261 pairs of 2,075 sentences), chrF of bodh alone:
too little text for a translator, and so it is told.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bodh
from bodh.metrics.translation import figures
from bodh.model.translate import translate_rows
from bodh.records.sampling import bucketed_order, epoch_order

DATA = Path(__file__).parents[2] / "shared" / "data"
WIDTH = {"transformer": 128, "gru": 256}
DEPTH, HEADS, BATCH, VOCABULARY, WARMUP, CLIP, DECAY, SMOOTHING, DROPOUT = 3, 4, 64, 4000, 0.1, 1.0, 0.01, 0.1, 0.1
RATE = {"transformer": 1.5e-3, "gru": 1.5e-3}
"""Peak, for this batch."""
LONGEST = 60
"""Tokens that are written at most."""


def settings(kind: str, source: str, target: str) -> dict[str, Any]:
    """Return bodh's settings of a network."""
    own = {"backbone.width": WIDTH[kind], "batch": BATCH, "learning_rate": RATE[kind] * 256 / BATCH}
    own |= {"data.input": source, "data.target": target, "modality.vocabulary": VOCABULARY, "modality.length": 64}
    own |= {"warmup": WARMUP, "clip": CLIP, "weight_decay": DECAY, "progress": "none", "backbone.dropout": DROPOUT}
    return own | ({"backbone.depth": DEPTH, "backbone.heads": HEADS} if kind == "transformer" else {})


# ------------------------------------------------------------------------------------------- plain networks


class PlainTransformer(nn.Module):
    """Encoder and decoder of torch.nn.Transformer, one embedding for all."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.places = nn.ModuleList(nn.Embedding(64, width) for _ in range(2))
        self.drop = nn.Dropout(DROPOUT)
        options: dict[str, Any] = {"batch_first": True, "norm_first": True, "dropout": DROPOUT, "activation": "gelu"}
        layer = nn.TransformerEncoderLayer(width, HEADS, 4 * width, **options)
        self.encoder = nn.TransformerEncoder(layer, DEPTH, nn.LayerNorm(width), enable_nested_tensor=False)
        written = nn.TransformerDecoderLayer(width, HEADS, 4 * width, **options)
        self.decoder = nn.TransformerDecoder(written, DEPTH, nn.LayerNorm(width))
        self.norm = nn.LayerNorm(width)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                deep = name.endswith(("out_proj.weight", "linear2.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * DEPTH) if deep else 0.02)

    def embed(self, ids: Tensor, side: int) -> Tensor:
        """Return embedded tokens [n t d] of the source (0) or the target (1)."""
        place = torch.arange(ids.shape[1], device=ids.device)
        return self.drop(self.embedding(ids) + self.places[side](place))

    def read(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory [n s d] and where it is padding [n s]."""
        padding = source == 0
        return self.norm(self.encoder(self.embed(source, 0), src_key_padding_mask=padding)), padding

    def write(self, target: Tensor, read: tuple[Tensor, Tensor]) -> Tensor:
        """Return logits [n t v] of the token after each."""
        later = nn.Transformer.generate_square_subsequent_mask(target.shape[1], device=target.device)
        mask = torch.zeros_like(read[1], dtype=torch.float32).masked_fill(read[1], -torch.inf)
        out = self.decoder(
            self.embed(target, 1), read[0], tgt_mask=later, tgt_is_causal=True, memory_key_padding_mask=mask
        )
        return F.linear(out, self.embedding.weight)


class PlainGRU(nn.Module):
    """A GRU that reads from both ends, and one with attention that writes."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.drop = nn.Dropout(DROPOUT)
        self.encoder = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.cell = nn.GRUCell(2 * width, width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.score, self.out = nn.Linear(width, 1, bias=False), nn.Linear(3 * width, width)

    def read(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory [n s d] and where it is padding [n s]."""
        padding = source == 0
        lengths = (~padding).sum(dim=1)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.drop(self.embedding(source)), lengths, batch_first=True, enforce_sorted=False
        )
        out = nn.utils.rnn.pad_packed_sequence(self.encoder(packed)[0], batch_first=True, total_length=source.shape[1])
        return self.norm(self.drop(out[0])), padding

    def write(self, target: Tensor, read: tuple[Tensor, Tensor]) -> Tensor:
        """Return logits [n t v] of the token after each."""
        memory, padding = read
        real = (~padding).float()
        keys = self.key(memory)
        state = torch.tanh(self.first((memory * real[:, :, None]).sum(dim=1) / real.sum(dim=1, keepdim=True)))
        steps = []
        for y in self.drop(self.embedding(target)).unbind(dim=1):
            fit = self.score(torch.tanh(keys + self.query(state)[:, None])).squeeze(-1).masked_fill(padding, -torch.inf)
            context = (fit.softmax(dim=1)[:, :, None] * memory).sum(dim=1)
            state = self.cell(torch.cat([y, context], dim=1), state)
            steps.append(torch.cat([state, y, context], dim=1))
        out = self.drop(torch.tanh(self.out(torch.stack(steps, dim=1))))
        return F.linear(out, self.embedding.weight)


@dataclass(frozen=True)
class Pairs:
    """What both sides read: ids of the training pairs and of the test sources."""

    sources: list[np.ndarray]
    targets: list[np.ndarray]


def padded(rows: list[np.ndarray]) -> Tensor:
    """Return rows as int64 [n t], filled up with 0."""
    width = 8 * -(-max(map(len, rows)) // 8)
    return torch.from_numpy(np.stack([np.pad(row, (0, width - len(row))) for row in rows]).astype(np.int64))


def plain(kind: str, pairs: Pairs, vocabulary: int, *, seconds: float, seed: int) -> tuple[nn.Module, dict[str, float]]:
    """Train in a plain loop for `seconds`; return the network and how far it came."""
    torch.manual_seed(seed)
    model = (PlainTransformer if kind == "transformer" else PlainGRU)(vocabulary, WIDTH[kind])
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE[kind], fused=True)
    lengths = np.array([len(a) + len(b) for a, b in zip(pairs.sources, pairs.targets, strict=True)])
    started, steps, tokens = time.perf_counter(), 0, 0
    per_epoch = len(lengths) // BATCH
    while (spent := time.perf_counter() - started) < seconds:
        epoch, place = divmod(steps, per_epoch)
        if place == 0:
            order = epoch_order(len(lengths), seed=seed, epoch=epoch)
            order = bucketed_order(order, lengths, batch=BATCH, seed=seed, epoch=epoch)
        chosen = order[place * BATCH : (place + 1) * BATCH]
        source, target = (padded([rows[i] for i in chosen]) for rows in (pairs.sources, pairs.targets))
        done = spent / seconds
        rate = done / WARMUP if done < WARMUP else 0.5 * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP)))
        for group in optimiser.param_groups:
            group["lr"] = RATE[kind] * rate
        logits = model.write(target[:, :-1], model.read(source))
        loss = F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=0, label_smoothing=SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        steps += 1
        tokens += int((target[:, 1:] != 0).sum())
    return model.eval(), {"steps": steps, "target_tokens_per_second": round(tokens / seconds)}


@torch.inference_mode()
def greedy(model: Any, sources: list[np.ndarray], modality: Any) -> list[str]:
    """Return what a plain network writes, the likeliest token each time."""
    tokens = modality.tokens()
    never = torch.from_numpy(tokens.special.copy())
    never[tokens.unknown], never[tokens.end] = True, False
    texts = []
    for start in range(0, len(sources), 64):
        read = model.read(padded(sources[start : start + 64]))
        ids = torch.full((len(read[0]), 1), tokens.begin)
        while ids.shape[1] < LONGEST and not bool((ids == tokens.end).any(dim=1).all()):
            told = model.write(ids, read)[:, -1].masked_fill(never, -torch.inf)
            ids = torch.cat([ids, told.argmax(dim=1, keepdim=True)], dim=1)
        for row in ids.tolist():
            texts.append(modality.text(row[: row.index(tokens.end)] if tokens.end in row else row))  # noqa: PERF401
    return texts


# -------------------------------------------------------------------------------------------------- the runs


def prepared(data: Path, out: Path, source: str, target: str) -> Path:
    """Return a folder with the parallel files of Multi30k, of the tests that of 2016 alone."""
    folder = out / f"multi30k-{source}-{target}"
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "val", "test_2016_flickr"):
        for language in (source, target):
            text = gzip.decompress((data / "multi30k" / f"{part}.{language}.gz").read_bytes())
            (folder / f"{part}.{language}").write_bytes(text)
    return folder


def opened(model: Any, folder: Path, source: str, target: str) -> tuple[Pairs, list[np.ndarray], list[list[str]]]:
    """Return the training pairs, test sources and their references, as the model's tokenizer has them."""
    from bodh.api._inputs import open_records

    modality = model.loaded().modality
    store = open_records(modality, str(folder), {"data.input": source, "data.target": target})
    longest = modality.config.length
    cut = lambda row: row if len(row) <= longest else np.append(row[: longest - 1], row[-1])  # noqa: E731
    rows = {part: np.flatnonzero(np.asarray(store.splits) == part) for part in ("train", "test")}
    sides = {part: [modality.sides(row) for row in store.rows(places)] for part, places in rows.items()}
    pairs = Pairs([cut(a) for a, _ in sides["train"]], [cut(b) for _, b in sides["train"]])
    tested = [cut(a) for a, _ in sides["test"]]
    return pairs, tested, [[modality.text(b)] for _, b in sides["test"]]


def multi30k(kind: str, minutes: float, seed: int, data: Path, out: Path) -> dict[str, Any]:
    """Train both for a round; return their figures."""
    source, target = "en", "de"
    folder = prepared(data, out, source, target)
    run = out / f"{kind}-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    backbone = "transformer" if kind == "transformer" else "recurrent"
    # texts are decoded once and kept; the budget of minutes holds from here on, opening them included
    model = bodh.pretrain(
        str(folder), objective="seq2seq", backbone=backbone, minutes=minutes, seed=seed, out=run, device="cpu",
        **settings(kind, source, target),
    )  # fmt: skip
    loaded = model.loaded("cpu")
    pairs, tested, references = opened(model, folder, source, target)
    provenance = model.manifest.provenance
    ours = {"steps": provenance["steps"], "seconds": round(provenance["seconds"], 1)}
    written = {f"{beams} beams": [one.text for one in translate_rows(loaded, tested, beams=beams)] for beams in (1, 4)}
    modality: Any = loaded.modality
    network, theirs = plain(kind, pairs, modality.tokens().vocabulary, seconds=provenance["seconds"], seed=seed)
    written["plain"] = greedy(network, tested, modality)
    found, signatures = figures(
        {"bodh, greedy": written["1 beams"], "plain, greedy": written["plain"], "bodh, 4 beams": written["4 beams"]},
        references, draws=1000,
    )  # fmt: skip
    saved = sum(p.numel() for p in loaded.network.parameters()) - loaded.network["head"].embedding.weight.numel()
    weights = {"bodh": saved, "plain": sum(p.numel() for p in network.parameters())}  # one embedding, saved twice
    examples = [
        {"read": modality.text(tested[place]), "reference": references[place][0],
         "bodh": written["4 beams"][place], "plain": written["plain"][place]}
        for place in range(0, len(tested), max(1, len(tested) // 6))
    ]  # fmt: skip
    return {
        "network": kind, "seed": seed, "bodh": ours, "plain": theirs, "figures": found, "sacrebleu": signatures,
        "weights": weights, "examples": examples,
    }  # fmt: skip


def hindi(minutes: float, seed: int, data: Path, out: Path) -> list[dict[str, Any]]:
    """Train Hindi to English and back; return chrF and BLEU of bodh's evaluation."""
    found = []
    for source, target in (("hi", "en"), ("en", "hi")):
        run = out / f"hindi-{source}-{target}-{seed}"
        shutil.rmtree(run, ignore_errors=True)
        columns = {"data.input": f"wiki:{source}", "data.target": target}
        model = bodh.pretrain(
            str(data / "hindi-english"), objective="seq2seq", backbone="transformer", minutes=minutes, seed=seed,
            out=run, device="cpu", **{**settings("transformer", source, target), **columns},
        )  # fmt: skip
        verdict = bodh.evaluate(model, str(data / "hindi-english"), **columns)
        found.append({"direction": f"{source} to {target}", "table": verdict.tables["translate"]})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="of each training")
    parser.add_argument("--networks", default="transformer,gru")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--hindi", action="store_true", help="also Hindi to English and back, the same minutes each")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("runs/translation"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    rows: list[Any] = []
    for seed in range(given.rounds):
        for kind in given.networks.split(","):
            rows.append(multi30k(kind, given.minutes, seed, given.data, given.out))
            told = {who: f"BLEU {f['bleu']:.1f} chrF {f['chrf']:.1f}" for who, f in rows[-1]["figures"].items()}
            print(kind, seed, told, rows[-1]["bodh"], rows[-1]["plain"], flush=True)
            (given.out / "translation.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")
    if given.hindi:
        rows += hindi(given.minutes, 0, given.data, given.out)
        print(json.dumps(rows[-2:], ensure_ascii=False, indent=1))
    (given.out / "translation.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")


if __name__ == "__main__":
    main()
