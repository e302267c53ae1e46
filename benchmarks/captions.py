"""Captions within minutes on one core: a CNN with a GRU that attends, and a ViT with a Transformer.

    taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/captions.py --minutes 5 --rounds 3 --out runs/captions

Data: the true sentences of NLVR, 1,103 training pictures with one sentence each, 546 for testing (rendered pictures of
three boxes with coloured shapes, sentences written by people). A sentence is one of very many true ones, so BLEU
against the one reference stays low whoever writes; what matters is the distance to the floors: the commonest training
caption, an untrained network, and the model's own captions dealt to other pictures ("blind"), which have all of its
language and nothing of what it saw. BLEU and chrF by sacrebleu (signature told), 4 beams, intervals over pictures.

Settings: pictures of 64 px a side, all of a picture stretched to it; byte-level BPE of 400 ids; batch 32; AdamW, peak
rates as in `RATE`; the same for all rounds. A round is a seed. With --label-free M the same two networks once more,
their encoders first pretrained for M minutes by SimCLR on all 1,979 training pictures, true sentence or not; their
training of captions takes as long as the others', so that their whole budget is M minutes more.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bodh

DATA = Path(__file__).parents[2] / "shared" / "data"
TRUE = {"data.input": "image", "data.target": "sentence", "data.where": "label=1"}
SIZE, BATCH, VOCABULARY = 64, 32, 400
NETWORKS: dict[str, dict[str, Any]] = {
    "cnn-gru": {"backbone": "small", "objective.decoder": "gru", "objective.attention": True},
    "vit-transformer": {
        "backbone": "vit", "backbone.width": 128, "backbone.depth": 3, "backbone.heads": 4,
        "objective.decoder": "transformer", "objective.depth": 2,
    },
}  # fmt: skip
RATE = {"cnn-gru": 4e-3, "vit-transformer": 2e-3}
"""Peak, for this batch."""


def settings(network: str) -> dict[str, Any]:
    """Return the settings of a training of captions."""
    own = {"batch": BATCH, "learning_rate": RATE[network] * 256 / BATCH, "progress": "none"}
    return own | {"modality.vocabulary": VOCABULARY, **TRUE}


def pretrained(network: str, minutes: float, seed: int, data: Path, out: Path) -> bodh.Model:
    """Return the encoder after learning without labels from all training pictures, true sentence or not."""
    known = {key: value for key, value in NETWORKS[network].items() if not key.startswith("objective")}
    return bodh.pretrain(
        str(data / "nlvr"), objective="simclr", minutes=minutes, seed=seed, out=out, device="cpu",
        **known, **{"data.input": "image", "data.label": "none", "modality.size": SIZE, "modality.frame": "stretch",
                    "batch": 64, "progress": "none"},
    )  # fmt: skip


def captioned(network: str, minutes: float, label_free: float, seed: int, data: Path, out: Path) -> dict[str, Any]:
    """Train one network; return its figures and those of the floors."""
    name = f"{network}-{seed}" + ("-simclr" if label_free else "")
    for folder in (out / name, out / f"{name}-encoder"):
        shutil.rmtree(folder, ignore_errors=True)
    objective = {key: value for key, value in NETWORKS[network].items() if key.startswith("objective")}
    if label_free:
        start = pretrained(network, label_free, seed, data, out / f"{name}-encoder")
        own: dict[str, Any] = {"start": start, **objective}
    else:
        own = {**NETWORKS[network], "modality.image.size": SIZE}
    model = bodh.pretrain(
        str(data / "nlvr"), objective="seq2seq", minutes=minutes, seed=seed, out=out / name, device="cpu",
        **own, **settings(network),
    )  # fmt: skip
    verdict = bodh.evaluate(model, str(data / "nlvr"), seed=seed, **TRUE)
    provenance = model.manifest.provenance
    told = json.loads((out / name / "evaluation.json").read_text("utf-8"))
    return {
        "network": network, "seed": seed, "simclr_minutes": label_free, "steps": provenance["steps"],
        "seconds": round(provenance["seconds"], 1),
        "weights": sum(p.numel() for p in model.loaded("cpu").network.parameters()),
        "figures": told["figures"]["caption"], "note": told["notes"]["caption"], "sentence": verdict.sentence,
    }  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line a network: mean and range over seeds, of the model and of its floors."""
    lines = []
    for key in dict.fromkeys((row["network"], row["simclr_minutes"]) for row in rows):
        own = [row for row in rows if (row["network"], row["simclr_minutes"]) == key]
        parts = []
        for arm in own[0]["figures"]:
            figures = {name: np.array([row["figures"][arm][name] for row in own]) for name in ("bleu", "chrf")}
            bleu, chrf = figures["bleu"], figures["chrf"]
            parts.append(f"{arm} BLEU {bleu.mean():.1f} ({bleu.min():.1f} to {bleu.max():.1f}) chrF {chrf.mean():.1f}")
        name = key[0] + (f" after {key[1]:g} minutes of SimCLR" if key[1] else "")
        lines.append(f"{name}, {len(own)} seeds: {'; '.join(parts)}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of each training of captions")
    parser.add_argument(
        "--label-free", type=float, default=0.0, help="minutes of SimCLR before it, in runs of their own"
    )
    parser.add_argument("--networks", default="cnn-gru,vit-transformer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("runs/captions"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in range(given.rounds):
        for network in given.networks.split(","):
            for label_free in dict.fromkeys((0.0, given.label_free)):
                rows.append(captioned(network, given.minutes, label_free, seed, given.data, given.out))
                print(json.dumps({k: v for k, v in rows[-1].items() if k not in ("note", "figures")}), flush=True)
                print("  " + summary(rows[-1:])[0], flush=True)
                (given.out / "captions.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
