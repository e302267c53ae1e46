"""Any network of the library transformers that reads texts: BERT, GPT-2, RoBERTa, DistilBERT, the encoder of T5.

Built from plain settings, the values of its config.json (`huggingface:bert backbone.hidden_size=128`), or with weights
from a folder or the hub (`huggingface weights=FOLDER`, `weights=hf:NAME`). Code that comes with a model is never run.
Packed rows are taken apart into one row a document, since most of these networks know no other way.

Axis letters: `n` rows, `t` tokens, `d` width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from bodh import _optional
from bodh.backbones._stages import pooled_tokens, real_tokens, text_numbers, text_shape
from bodh.backbones._transformers import FEATURE, KINDS, configured, context_of, is_causal, layers_of, network_of, quiet
from bodh.contracts import Features, NetworkSpec
from bodh.errors import ConfigError, DataError

POOLS = ("mean", "first", "last")


class Past:
    """What a network keeps of the tokens read so far."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.kept = _optional.transformers(FEATURE).DynamicCache()

    @property
    def filled(self) -> int:
        """Tokens held, of every row."""
        return int(self.kept.get_seq_length())

    def select(self, rows: Tensor) -> None:
        """Keep the rows at positions `rows` `[n]`, in that order, any of them several times."""
        self.kept.batch_select_indices(rows)


class HuggingFace(nn.Module):
    """A network of transformers, seen through `contracts.TextBackbone`.

    Args:
        network: gives `last_hidden_state`.
        spec: how `build` makes it again.
        causal: whether a token sees itself and earlier ones only.
    """

    def __init__(self, network: Any, *, spec: NetworkSpec, causal: bool) -> None:
        super().__init__()
        config = network.config
        self.spec = spec
        self.network = network
        self.causal = causal
        self.vocabulary: int = spec.arguments["vocabulary"]
        self.padding: int = spec.arguments["padding"]
        self.pool: str = spec.arguments["pool"]
        self.dim = int(config.hidden_size)
        self.context = context_of(config)
        self._layers = layers_of(network, int(config.num_hidden_layers))
        self.block_names = ("embed", *(f"block{number}" for number in range(1, config.num_hidden_layers + 1)))
        self._takes = frozenset(inspect.signature(network.forward).parameters)
        told_apart = "token_type_ids" in self._takes and (getattr(config, "type_vocab_size", 0) or 0) > 1
        self.separator: int | None = spec.arguments.get("separator") if told_apart else None
        if causal:
            config.pad_token_id = None  # padding lies at the end, where nothing sees it: no warning that it is seen

    @property
    def embedding(self) -> nn.Embedding:
        """Of the ids, `[v d]`."""
        return cast("nn.Embedding", self.network.get_input_embeddings())

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features `[n d]` of ids `x` `[n t]`."""
        return self.features(x).pooled

    def features(self, x: Tensor, documents: Tensor | None = None) -> Features:
        """Return pooled features and tokens of ids `x` `[n t]`; see `contracts.TextBackbone` for `documents`.

        Raises:
            DataError: rows are longer than the network's context.
        """
        real = real_tokens(x, self.padding)
        tokens = self._run(x, real).last_hidden_state if documents is None else self._apart(x, documents)
        return Features(pooled=pooled_tokens(tokens, real, self.pool), tokens=tokens, map=None)

    def blocks(self, x: Tensor, *, grid: int = 1) -> dict[str, Tensor]:
        """Return the pooled output `[n d]` of every block, the last one's as `forward` gives it.

        Args:
            x: ids `[n t]`.
            grid: of maps, which there are none of here.
        """
        del grid
        real = real_tokens(x, self.padding)
        found = self._run(x, real, output_hidden_states=True)
        outputs = [*found.hidden_states[: len(self.block_names) - 1], found.last_hidden_state]
        return {name: pooled_tokens(out, real, self.pool) for name, out in zip(self.block_names, outputs, strict=True)}

    def block_modules(self) -> dict[str, list[nn.Module]]:
        """Return the modules of every block; what runs before the layers comes first, what runs after with the last."""
        layers = cast("nn.ModuleList", self.network.get_submodule(self._layers))
        inside = {id(parameter) for parameter in layers.parameters()}
        found: dict[str, list[nn.Module]] = {name: [] for name in self.block_names}
        for name, layer in zip(self.block_names[1:], layers, strict=True):
            found[name].append(layer)
        place = self.block_names[0]
        for path, module in self.network.named_modules():
            if path == self._layers:
                place = self.block_names[-1]
            own = {name: one for name, one in module.named_parameters(recurse=False) if id(one) not in inside}
            if own:
                leaf = not any(True for _ in module.children())
                found[place].append(module if leaf else nn.ParameterDict(own))
        return found

    def start(self, rows: int, length: int) -> Past | None:
        """Return an empty cache for up to `length` tokens in each of `rows` rows; None where not causal.

        Raises:
            ConfigError: that is more than the network's context.
        """
        del rows
        if not self.causal:
            return None
        if self.context is not None and length > self.context:
            raise ConfigError(
                f"a text of {length} tokens is longer than the context of this model; allowed are up to {self.context}"
            )
        return Past(length)

    def advance(self, x: Tensor, cache: Past) -> Tensor:
        """Return tokens `[n t d]` of the next ids `x` `[n t]` after those in `cache`, which then holds them too.

        Raises:
            ConfigError: the cache is full.
        """
        total = cache.filled + x.shape[1]
        if total > cache.length:
            raise ConfigError(f"{total} tokens do not fit into a cache of {cache.length}; start a longer one")
        kept = {"cache" if "cache" in self._takes else "past_key_values": cache.kept}
        out: Tensor = self.network(input_ids=x, use_cache=True, **kept).last_hidden_state
        return out

    def _run(self, x: Tensor, real: Tensor | None, **options: Any) -> Any:
        """Run the network; padding is masked, but in causal networks, where it lies after all that counts."""
        if not torch.compiler.is_compiling() and self.context is not None and x.shape[1] > self.context:
            raise DataError(
                f"rows of {x.shape[1]} tokens are longer than the context of this backbone, {self.context}; "
                f"type modality.length={self.context}"
            )
        mask = None
        if real is not None and not self.causal:
            mask = (real | ~real.any(dim=1, keepdim=True)).long()  # a row of padding sees itself: no NaN
        if "use_cache" in self._takes:
            options["use_cache"] = False  # else it would be kept while training, too
        if self.separator is not None:
            options["token_type_ids"] = text_numbers(x, self.separator, 2)
        return self.network(input_ids=x, attention_mask=mask, **options)

    def _apart(self, x: Tensor, documents: Tensor) -> Tensor:
        """Return tokens `[n t d]` of packed rows, every document read in a row of its own."""
        starts = torch.ones_like(documents, dtype=torch.bool)
        starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
        number = starts.flatten().cumsum(0) - 1  # of the document, over all rows
        first = starts.flatten().nonzero()[:, 0]
        place = torch.arange(len(number), device=x.device) - first[number]
        rows = x.new_full((len(first), int(place.max()) + 1), self.padding)
        rows[number, place] = x.flatten()
        found: Tensor = self._run(rows, _until(number, rows)).last_hidden_state
        return found[number, place].view(*x.shape, -1)


def _until(number: Tensor, rows: Tensor) -> Tensor:
    """Return which tokens of `rows` `[m t]` are of the documents, whose lengths are the counts in `number`."""
    lengths = torch.bincount(number, minlength=len(rows))
    return torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]


def members() -> tuple[str, ...]:
    """Return kinds of networks that are known to work; `build` takes others that the library has, too."""
    return KINDS


def build(
    *,
    shape: Sequence[int],
    model: str = "",
    vocabulary: int = 0,
    padding: int = 0,
    pool: str = "mean",
    causal: bool | None = None,
    separator: int | None = None,
    **config: Any,
) -> HuggingFace:
    """Build a network of transformers with random weights.

    Args:
        shape: (length,): most tokens of a row.
        model: its kind, the library's `model_type` ("bert", "gpt2").
        vocabulary: number of token ids.
        padding: the id that fills rows up.
        pool: a row's features: the "mean" of its tokens, or the "first" or "last" one.
        causal: whether it is; None: found out. One that was asked for is insisted on.
        separator: the id that ends each of two texts of a row, for networks that tell them apart; None: a row is one.
        config: values of its config.json (`hidden_size=128`).

    Raises:
        ConfigError: the network takes no such inputs or settings, or is none that reads texts.
        UnknownName: the library has no such kind.
        MissingExtra: the library is not installed.
    """
    if not model:
        raise ConfigError(
            "the backbone 'huggingface' needs the kind of network, or weights; type huggingface:bert, or "
            f"huggingface weights=FOLDER; kinds: {', '.join(members())}"
        )
    length = text_shape(shape, vocabulary=vocabulary, padding=padding, name=f"huggingface:{model}")
    if pool not in POOLS:
        raise ConfigError(f"backbone.pool: {pool!r} is not one of: {', '.join(POOLS)}")
    settings = configured(model, {**config, "vocab_size": vocabulary, "pad_token_id": padding})
    try:
        with quiet():
            network = network_of(settings, model)
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError, ZeroDivisionError, AssertionError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(
            f"transformers' {model!r} cannot be built with {config or 'no settings'}: {reason}"
        ) from error
    given = {"shape": [length], "model": model, "vocabulary": vocabulary, "padding": padding, "pool": pool, **config}
    given |= {} if separator is None else {"separator": separator}
    found = is_causal(network) if causal is None or causal else False
    if causal and not found:
        raise ConfigError(
            f"the backbone huggingface:{model} sees later tokens, but a network that predicts the next one is wanted; "
            "type --backbone transformer, huggingface:gpt2 or another that is causal"
        )
    context = context_of(settings)
    if context is not None and context < length:
        raise ConfigError(
            f"the backbone huggingface:{model} takes up to {context} tokens, but rows have up to {length}; "
            f"type modality.length={context}"
        )
    spec = NetworkSpec("backbones", "huggingface", {**given, "causal": found})
    return HuggingFace(network, spec=spec, causal=found)
