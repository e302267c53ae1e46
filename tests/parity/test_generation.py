"""Generation on the same weights as that of transformers; draws against their distribution."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from bodh.contracts import Tokens
from bodh.heads.language import build as language
from bodh.model import generation, on_arrays, on_tensors
from bodh.model.generation import Generation, Reader, draws, tokens_of
from bodh.model.on_tensors import choose, penalised, probabilities
from bodh.model.on_torch import TorchWriter

V, PAD, END, CONTEXT = 20, 0, 3, 64


def _modality():
    special = np.zeros(V, bool)
    special[:5] = True
    tokens = Tokens(V, PAD, 1, 2, END, 4, np.zeros(V, bool), special)
    return SimpleNamespace(tokens=lambda: tokens)


@pytest.fixture(scope="module")
def both():
    """(our model, the library's) of one small GPT-2 with random weights, sharp enough that choices are clear."""
    transformers = pytest.importorskip("transformers")
    from bodh.backbones import huggingface

    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = huggingface.build(shape=(CONTEXT,), model="gpt2", vocabulary=V, padding=PAD, causal=True, **sizes)
        head = language(dim=32, vocabulary=V, transform=False)
        nn.init.normal_(head.weight, std=0.4)
    config = transformers.GPT2Config(vocab_size=V, eos_token_id=END, bos_token_id=2, pad_token_id=PAD, **sizes)
    theirs = transformers.GPT2LMHeadModel(config)
    theirs.config.tie_word_embeddings = False
    theirs.lm_head.weight = nn.Parameter(head.weight.detach().clone())
    theirs.transformer.load_state_dict(backbone.network.state_dict())
    network = nn.ModuleDict({"backbone": backbone, "head": head}).eval()
    ours = SimpleNamespace(network=network, modality=_modality(), device=torch.device("cpu"))
    return ours, theirs.eval()


def continued(model, prompts, options):
    return generation.continued(TorchWriter(model, cache=options.cache), prompts, options)


PROMPTS = ([2, 10, 11, 12], [2, 19, 7, 9], [2, 13, 14, 5])
SILENT = [0, 1, 2, 4]


@pytest.mark.parametrize("penalty", [1.0, 1.7])
@pytest.mark.parametrize("cache", [True, False])
def test_greedy(both, penalty, cache):
    ours, theirs = both
    options = Generation(length=30, temperature=0, repetition_penalty=penalty, cache=cache)
    found = continued(ours, PROMPTS, options)
    for prompt, (own,) in zip(PROMPTS, found, strict=True):
        wanted = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, 4), max_new_tokens=30, do_sample=False,
            repetition_penalty=penalty, suppress_tokens=SILENT,
        )[0, 4:].tolist()  # fmt: skip
        assert own.ids + [END] * own.ended == wanted
    assert len({tuple(own.ids) for (own,) in found}) > 1


@pytest.mark.parametrize("power", [0.0, 0.6, 1.0])
def test_beams(both, power):
    ours, theirs = both
    found = continued(ours, PROMPTS, Generation(length=40, beams=4, length_penalty=power, number=2))
    assert all(one.ended for texts in found for one in texts)
    for prompt, own in zip(PROMPTS, found, strict=True):
        wanted = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, 4), max_new_tokens=40, do_sample=False, num_beams=4,
            length_penalty=power, suppress_tokens=SILENT, num_return_sequences=2, early_stopping=False,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        said = [row[: row.index(END) + 1] for row in wanted.sequences[:, 4:].tolist()]
        assert [one.ids + [END] * one.ended for one in own] == said
        assert [one.score for one in own] == pytest.approx(wanted.sequences_scores.tolist(), abs=1e-4)


@pytest.mark.parametrize("given", [{"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.6}, {"top_k": 12, "top_p": 0.8}])
def test_what_is_drawn_with_is_what_transformers_draws_with(given):
    transformers = pytest.importorskip("transformers")
    logits = 3 * torch.randn(8, V, generator=torch.Generator().manual_seed(1))
    before = torch.randint(V, (8, 10), generator=torch.Generator().manual_seed(2))
    options = Generation(**{"temperature": 1.3, **given})
    found = probabilities(penalised(logits, before.numpy(), 1.4), options)
    own = transformers.RepetitionPenaltyLogitsProcessor(1.4)(before, logits.clone())
    own = transformers.TemperatureLogitsWarper(float(options.temperature))(before, own)
    if options.top_k:
        own = transformers.TopKLogitsWarper(options.top_k)(before, own)
    if options.top_p:
        own = transformers.TopPLogitsWarper(options.top_p)(before, own)
    torch.testing.assert_close(found.float(), own.softmax(dim=1), atol=1e-6, rtol=1e-5)


def test_draws_follow_the_distribution():
    stats = pytest.importorskip("scipy.stats")
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0, 3.0, 0.5]])
    options = Generation(temperature=0.9, top_k=5)
    share = probabilities(logits, options)[0]
    count = 20_000
    drawn = draws(0, count)
    chosen = choose(logits.expand(count, -1), options, drawn, np.zeros(6, bool))
    seen = torch.bincount(torch.from_numpy(chosen), minlength=6)
    assert seen[3] == 0
    keep = share > 0
    assert stats.chisquare(seen[keep], (share[keep] / share[keep].sum() * count)).pvalue > 0.001


def test_texts_do_not_depend_on_those_beside_them(both):
    ours, _ = both
    options = Generation(length=20, seed=5, temperature=1.0)
    whole = continued(ours, [*PROMPTS, [2, 8], PROMPTS[0]], options)
    assert whole[1] == continued(ours, [PROMPTS[1]], options)[0]
    assert whole[3] == continued(ours, [[2, 8]], options)[0]
    assert whole[4] != whole[0]  # the same prompt again
    assert (
        whole[0] + whole[4]
        == continued(ours, [PROMPTS[0]], Generation(length=20, seed=5, temperature=1.0, number=2))[0]
    )
    assert continued(ours, PROMPTS, Generation(length=20, seed=6, temperature=1.0))[0] != whole[0]
    shorter = continued(ours, [PROMPTS[1]], Generation(length=7, seed=5, temperature=1.0))[0][0]
    assert shorter.ids == whole[1][0].ids[:7]


def test_with_and_without_cache_beyond_the_context(both):
    ours, _ = both
    long = [2, *np.random.default_rng(0).integers(5, V, 100).tolist()]
    for beams in (1, 3):
        found = [
            continued(ours, [long, long[:60]], Generation(length=90, temperature=0, beams=beams, cache=cache))
            for cache in (True, False)
        ]
        assert [[one.ids for one in texts] for texts in found[0]] == [[one.ids for one in texts] for texts in found[1]]
    reader = Reader(TorchWriter(ours), np.array([long[:-1]]), Generation())
    seen = reader.advance(np.array(long[-1:]))
    alone = ours.network["head"](ours.network["backbone"].features(torch.tensor([long[-CONTEXT:]])).tokens[:, -1])
    torch.testing.assert_close(seen, alone, atol=1e-4, rtol=1e-4)


def test_a_text_comes_token_by_token(both):
    ours, _ = both
    options = Generation(length=15, temperature=0)
    steps = list(tokens_of(TorchWriter(ours), np.array([PROMPTS[0], PROMPTS[1]]), options, [1, 2]))
    (first,), (second,) = continued(ours, PROMPTS[:2], options)
    for row, own in enumerate((first, second)):
        said = [one for step in steps for place, one in step if place == row]
        assert said == own.ids + [END] * own.ended


@pytest.mark.parametrize("seed", [0, 7, 2**31 + 5, 2**40 + 3])
def test_draws_are_those_of_torch(seed):
    wanted = torch.rand(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    np.testing.assert_array_equal(draws(seed, 50), wanted)
    np.testing.assert_array_equal(draws(seed, 7), wanted[:7])


@pytest.mark.parametrize(
    "given", [{}, {"temperature": 0}, {"top_k": 5}, {"top_p": 0.6}, {"top_k": 12, "top_p": 0.8, "temperature": 1.7}]
)
def test_on_arrays_the_same_is_drawn_as_on_tensors(given):
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(400, V, generator=generator)
    before = torch.randint(V, (400, 10), generator=generator).numpy()
    options, drawn = Generation(**given), draws(3, 400)
    forbidden = np.arange(V) < 4
    ours, theirs = on_arrays.penalised(logits.numpy(), before, 1.4), penalised(logits, before, 1.4)
    np.testing.assert_array_equal(ours, theirs.numpy())
    if options.temperature:
        wanted = probabilities(theirs, options).numpy()
        np.testing.assert_allclose(on_arrays.probabilities(ours, options), wanted, atol=1e-12)
    found = on_arrays.choose(ours, options, drawn, forbidden)
    np.testing.assert_array_equal(found, on_tensors.choose(theirs, options, drawn, forbidden))
    assert not forbidden[found].any()
