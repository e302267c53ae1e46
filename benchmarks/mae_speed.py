"""MAE's training step with the seen patches alone through the encoder, against the same step with all of them.

    python benchmarks/mae_speed.py [--rounds 9] [--batch 64]

Same network, decoder, batch, mask and loss; the slow form encodes all patches and gives the decoder those that were
seen, which is what a network does that cannot leave patches out. Rounds are interleaved; medians of process time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import cast

import torch
from torch import Tensor, nn

from bodh.backbones import vit
from bodh.contracts import Batch, Facts, Progress
from bodh.objectives import mae

SIDE = 32


class EncodesAll(nn.Module):
    """A backbone under MAE that runs all of an image's tokens through its blocks, whatever was left out."""

    def __init__(self, backbone: vit.ViT) -> None:
        super().__init__()
        self.inner = backbone
        self.patch, self.grid, self.dim, self.spec = backbone.patch, backbone.grid, backbone.dim, backbone.spec

    def embed(self, x: Tensor) -> Tensor:
        """Return all tokens, and keep them."""
        self.all = self.inner.embed(x)
        return self.all

    def encode(self, tokens: Tensor) -> Tensor:
        """Encode every token of the batch; hand back as many as were asked for."""
        return self.inner.encode(self.all)[:, : tokens.shape[1]]


def main() -> None:
    """Measure, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args()
    torch.manual_seed(0)
    backbone = vit.build(shape=(3, SIDE, SIDE))
    facts = Facts(records=50_000, steps=100, batch_size=given.batch)
    seen = mae.build(backbone, mae.Config(), facts)
    forms = {"seen patches": seen, "all patches": mae.build(cast("vit.ViT", EncodesAll(backbone)), mae.Config(), facts)}
    forms["all patches"].decoder = seen.decoder
    optimiser = torch.optim.AdamW(seen.parameters())
    images = torch.randn(given.batch, 3, SIDE, SIDE)
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(given.rounds + 1):
        for name, objective in forms.items():
            started = time.process_time()
            loss = objective(Batch((images,), torch.arange(given.batch), None, number), Progress(0, 1, 0, 1)).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    told = {
        "batch": given.batch, "rounds": given.rounds, "threads": torch.get_num_threads(),
        "milliseconds_a_step": {name: round(1000 * value, 1) for name, value in medians.items()},
        "times_faster": round(medians["all patches"] / medians["seen patches"], 2),
    }  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main()
