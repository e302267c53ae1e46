"""Tokens a second of generation, with and without keeping what was computed of earlier tokens, and of transformers.

    python benchmarks/generation.py [--lengths 64,256,1024] [--width 128] [--depth 4] [--rounds 3]

One network with random weights (GPT-2's layout; speed does not depend on the weights), greedy, one text, the end token
never written, so that every side writes exactly as many tokens. The sides take turns; medians. transformers' own
`generate` runs the same architecture with its cache. All three write the same text, which is checked.
"""

from __future__ import annotations

import argparse
import statistics
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from bodh import _optional
from bodh.backbones._transformers import quiet
from bodh.backbones.huggingface import build as library
from bodh.contracts import Tokens
from bodh.heads.language import build as language
from bodh.model.generation import Generation, continued
from bodh.model.on_torch import TorchWriter

PADDING, END = 0, 3


def networks(*, width: int, depth: int, heads: int, vocabulary: int, context: int) -> tuple[Any, Any]:
    """Return (our model on our Transformer, transformers' model), with the same weights."""
    from bodh.backbones import _layouts
    from bodh.backbones.transformer import build

    torch.manual_seed(0)
    ours = build(
        shape=(context,), vocabulary=vocabulary, padding=PADDING, causal=True, width=width, depth=depth, heads=heads,
        dropout=0.0, activation="gelu_tanh",
    )  # fmt: skip
    head = language(dim=width, vocabulary=vocabulary, transform=False)
    with torch.no_grad():
        head.weight.copy_(ours.embedding.weight)
        head.weight[END] = 0  # the end is never the likeliest: GPT-2's final normalisation gives others above 0
    special = np.zeros(vocabulary, bool)
    special[:5] = True
    tokens = Tokens(vocabulary, PADDING, 1, 2, END, 4, np.zeros(vocabulary, bool), special)
    network = nn.ModuleDict({"backbone": ours, "head": head}).eval()
    model = SimpleNamespace(
        network=network, modality=SimpleNamespace(tokens=lambda: tokens), device=torch.device("cpu")
    )
    transformers = _optional.transformers("the comparison")
    sizes = {"n_embd": width, "n_layer": depth, "n_head": heads, "n_positions": context}
    shell = library(shape=(context,), model="gpt2", vocabulary=vocabulary, padding=PADDING, causal=True, **sizes)
    weights = _layouts.give(ours.state_dict(), "gpt2", depth)
    shell.network.load_state_dict(weights)
    config = transformers.GPT2Config(
        vocab_size=vocabulary, tie_word_embeddings=False, bos_token_id=2, eos_token_id=END, **sizes
    )
    with quiet():
        theirs = transformers.GPT2LMHeadModel(config)
    theirs.transformer = shell.network
    theirs.lm_head.weight = head.weight
    theirs.eval()
    theirs.generation_config.pad_token_id, theirs.generation_config.eos_token_id = PADDING, None
    return model, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="64,256,1024")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lengths = [int(one) for one in options.lengths.split(",")]
    context = max(lengths) + 8
    ours, theirs = networks(
        width=options.width, depth=options.depth, heads=options.heads, vocabulary=options.vocabulary, context=context
    )
    prompt = [2, 10, 11, 12]
    mute = [0, 1, 2, END, 4]

    def bodh(length: int, *, cache: bool) -> list[int]:
        options = Generation(length=length, temperature=0)
        return continued(TorchWriter(ours, cache=cache), [prompt], options)[0][0].ids

    def library_(length: int) -> list[int]:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = theirs.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=length, do_sample=False, suppress_tokens=mute
            )
        return out[0, len(prompt) :].tolist()

    sides = {
        "with cache": lambda n: bodh(n, cache=True), "without": lambda n: bodh(n, cache=False), "transformers": library_
    }  # fmt: skip
    print(f"{options.depth} layers of {options.width}, {options.vocabulary} ids, {torch.get_num_threads()} thread(s)")
    print("| tokens | " + " | ".join(f"{name}, tokens/s" for name in sides) + " | cache gains | same text |")
    print("|--:|" + "--:|" * (len(sides) + 1) + "--|")
    for length in lengths:
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        texts = {}
        for _ in range(options.rounds):
            for name, write in sides.items():
                started = time.perf_counter()
                texts[name] = write(length)
                seconds[name].append(time.perf_counter() - started)
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        same = texts["with cache"] == texts["without"] == texts["transformers"] and len(texts["without"]) == length
        rates = " | ".join(f"{length / middle[name]:,.0f}" for name in sides)
        print(f"| {length:,} | {rates} | {middle['without'] / middle['with cache']:.1f}× | {'yes' if same else 'NO'} |")


if __name__ == "__main__":
    main()
