"""The seams: what every room may assume about the others.

Nothing heavy is imported here; torch appears in annotations only. Axis letters, for the whole house:
`n` records of a batch, `v` views, `c h w` image, `t` time or tokens, `d` feature, `k` classes, `m` queue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from pydantic import BaseModel
    from torch import Tensor, nn

Json = dict[str, Any]
Task = Literal["single", "binary", "multi", "regress", "tags", "tokens", "sequence", "span"]
"""What a head tells: one class of k or of two, any number of k classes at once, k measured numbers, one of k tags for
every word; which token belongs at each position ("tokens": a language model); a text written of what was read; or
where in it an answer begins and ends ("span")."""

WRITTEN: tuple[Task, ...] = ("tokens", "sequence", "span")
"""Tasks whose head tells tokens, or places among them: such a model has no class names and predicts none."""


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that is a pure function of `parts`: the root of all randomness in bodh.

    Orders are drawn from ("order", seed, epoch), views from ("views", seed, step), objectives from
    ("objective", seed, step, rank): there is no random state to save, and resume is exact.
    """
    text = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


# ----------------------------------------------------------------------------------- records and views


class Source(Protocol):
    """Where records come from. Small to pickle: workers get a copy and read with it."""

    name: str
    """Short name for messages and folders ("photos", "cifar10")."""
    modality: str
    """Inferred: the file name of a modality ("image", "vector")."""
    ids: Sequence[str]
    """[n] stable, unique, readable: a relative path, or "train.parquet:12"."""
    splits: np.ndarray
    """[n] of str: "train", "val" or "test"; all "train" where the source has no splits."""
    targets: np.ndarray | None
    """[n] int64 class index, -1 where unlabelled; [n k] uint8 for several labels at once; [n] or [n k] float32 for
    measured numbers, NaN where unlabelled; None without labels."""
    class_names: tuple[str, ...]
    """[k] in the order of the indices, for measured numbers what each is called; empty without labels."""
    fingerprint: str
    """Hex digest that changes when any record may have changed (paths, sizes, times; or the bytes)."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes | np.ndarray:
        """Return record `index` as it lies there: encoded bytes, or an array. Raises BadRecord."""
        ...


class RecordStore(Protocol):
    """Decoded records, read by position. `records.store` keeps them on disk, `records.stream` decodes on demand."""

    name: str
    ids: Sequence[str]
    splits: np.ndarray
    targets: np.ndarray | None
    class_names: tuple[str, ...]
    fingerprint: str
    shape: tuple[int, ...] | None
    """Shape of every record, or None where records differ."""

    def __len__(self) -> int: ...

    def rows(self, index: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Return records at positions `index` [n]: `[n …]` where `shape` is set, else a list. Thread-safe."""
        ...

    def lengths(self) -> np.ndarray:
        """Return how long every record is along its first axis (texts: tokens), int64 `[n]`."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """One view of each record, as data; the modality decides what it means for its kind of record.

    Attributes:
        kind: "strong" (what contrastive learning wants), "weak" (what supervised training wants: the class
            survives for sure), "crop" (geometry only), or "plain" (no randomness: as in evaluation); "target" is no
            view, but what is to be written (`Needs.target`).
        options: overrides of the modality's view settings for this view ({"blur": 1.0, "solarise": 0.2}), and
            "side", the share of the training views' side that this one has, above 0 to 1 (0.43: 96 px of 224),
            for backbones with `any_side`; a modality ignores options that it has no setting for.
    """

    kind: Literal["strong", "weak", "crop", "plain", "target"] = "strong"
    options: Mapping[str, Any] = field(default_factory=dict)


ViewSpec = tuple[View, ...]
"""What variation an objective wants: one entry a view."""


class Shard(NamedTuple):
    """Which rows of the global batch this process computes. View parameters are drawn for the whole batch."""

    start: int
    stop: int
    total: int


@runtime_checkable
class Modality(Protocol):
    """How raw records become tensors, and how they may vary. `modalities/<name>.py` holds the class `Modality`.

    Importing such a file imports no torch: a server decodes with it beside onnxruntime. It may also have `files()`,
    what lies beside model.json by name (`file_names` lists it, and `__init__` takes it back as its second argument:
    a tokenizer); `network_arguments`, what a backbone is told beside the shape; `describe(row)`, a record in words; and
    `texts(rows)`, stored records as the texts that they are, where a floor should count words instead of numbers;
    `cut(lengths)`, how much of stored lengths [n] is read; `answers`, true where records bring what is to be told
    themselves (`sides(row)`: what is read, then each text that belongs to it); `reads`, the modality of what is read
    where it is another; `verb`, what a model does that learned to write; `divide(row, share)`, one long record as two;
    and in its file `OBJECTIVE` (name, why) and `BACKBONE`, the defaults.
    """

    name: ClassVar[str]
    config: BaseModel
    """Frozen and complete: `type(self)(config)` rebuilds the modality; saved in the model folder."""

    @classmethod
    def fit(cls, source: Source, config: BaseModel) -> Modality:
        """Fill what `config` leaves open (size, channels, mean, deviation) from training records of `source`."""

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        """Return one record in stored form (image: uint8 `[h w c]`, aspect kept). Raises BadRecord with the reason."""

    def store_key(self) -> str:
        """Return a text that is equal where `decode` gives equal results: decoded records are shared by it."""

    def standardise(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Return stored records as one array of the model's input shape (image: uint8 `[n s s c]`). No torch."""

    def prepare(self) -> nn.Module:
        """Return the module from the input array (image: uint8 `[n h w c]`) to a backbone's (float `[n c s s]`).

        It is the first part of every exported graph.
        """

    def views(
        self, rows: np.ndarray | list[np.ndarray], spec: ViewSpec, seed: int, shard: Shard, device: torch.device
    ) -> tuple[Tensor, ...]:
        """Return one prepared float tensor a view, on `device`, for `rows` (already only this shard's rows).

        Parameters are drawn for all `shard.total` rows from `seed` and cut to the shard: the number of processes
        and of threads changes nothing. A view "target" is the ids int64 `[n t]` of what is to be written.
        """

    def input_spec(self) -> Json:
        """Return {"name", "dtype", "shape"} of the input array, axes as numbers or letters."""

    def show(self, row: np.ndarray, size: int = 64) -> bytes:
        """Return a stored record as a PNG thumbnail for pages and reports."""


# -------------------------------------------------------------------------------------------- networks


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """How to build a network again: a component's name and plain arguments. No code, no pickle.

    Attributes:
        room: "backbones" or "heads".
        name: component in that room; for a family the member is in `arguments` (("timm", {"model": "resnet18"})).
        arguments: keyword arguments of that file's `build`, JSON values only.
    """

    room: str
    name: str
    arguments: Mapping[str, Any]


class Features(NamedTuple):
    """What a backbone sees in a batch."""

    pooled: Tensor
    """[n d]"""
    tokens: Tensor | None
    """[n t d], or None"""
    map: Tensor | None
    """[n c h w], or None"""


class Backbone(Protocol):
    """An nn.Module that turns prepared tensors into features."""

    spec: NetworkSpec
    dim: int
    """d, the width of the pooled features."""
    block_names: tuple[str, ...]
    """Stages from input to output, for probing and for freezing ("stem", "layer1", …)."""
    any_side: bool
    """True where images smaller than those it was built for may come in too (multi-crop). May be left out: False."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return pooled features `[n d]`."""
        ...

    def features(self, x: Tensor) -> Features: ...

    def blocks(self, x: Tensor, *, grid: int = 1) -> dict[str, Tensor]:
        """Return pooled features `[n d_b]` of every block, in the order of `block_names`; one forward pass.

        Maps are averaged wholly, or over a grid of at most this side, laid out as one row.
        """
        ...

    def block_modules(self) -> dict[str, list[nn.Module]]:
        """Return the modules that make up every block, in order; together they hold all parameters."""
        ...


class TokenBackbone(Backbone, Protocol):
    """A backbone that may be given a part of an image's patches only; see `can_mask`."""

    patch: int | None
    """Side of the square patches, pixels; images are padded below and right to whole patches. None: it cannot."""
    grid: tuple[int, int]
    """Patches below and beside each other, for the shape that it was built for."""

    def embed(self, x: Tensor) -> Tensor:
        """Return the patches of `x` `[n c h w]` as tokens `[n t d]`, row by row, their positions added."""
        ...

    def encode(self, tokens: Tensor) -> Tensor:
        """Return what the blocks and the final normalisation make of any of these tokens, `[n t' d]` for `[n t' d]`.

        A class token takes part and is left out of the result.
        """
        ...


class TextBackbone(Backbone, Protocol):
    """A backbone that reads token ids, int64 `[n t]`, padded at the end; see `reads_tokens`."""

    vocabulary: int
    """v, the number of token ids."""
    padding: int
    """The id that fills rows up; it is never attended to and never pooled."""
    context: int | None
    """Most tokens of a row; None: any number."""
    causal: bool
    """Whether a position sees itself and earlier ones only."""
    embedding: nn.Embedding
    """Of the ids, `[v d]`; language-model heads share its weight. Its width is `dim`."""

    def features(self, x: Tensor, documents: Tensor | None = None) -> Features:
        """Return pooled `[n d]` and tokens `[n t d]` of ids `x` `[n t]`.

        With `documents` `[n t]`, numbers of the documents that a packed row is made of, no position sees another
        document, and positions count from the start of each.
        """
        ...

    def start(self, rows: int, length: int) -> Any:
        """Return an empty cache for generating up to `length` tokens in each of `rows` rows; None where not causal.

        `cache.select(rows)` keeps the rows at positions `rows` [n], in that order, any of them twice: for a beam.
        """
        ...

    def advance(self, x: Tensor, cache: Any) -> Tensor:
        """Return tokens `[n t d]` of the next ids `x` `[n t]` after those in `cache`, which then holds them too."""
        ...


def reads_tokens(backbone: object) -> bool:
    """Return whether `backbone` is a `TextBackbone`."""
    return getattr(backbone, "vocabulary", None) is not None


def can_mask(backbone: object) -> bool:
    """Return whether `backbone` is a `TokenBackbone`: whether it can leave patches out."""
    return getattr(backbone, "patch", None) is not None


# ------------------------------------------------------------------------------------------ objectives


@dataclass(frozen=True, slots=True)
class Tokens:
    """What is known of a tokenizer: how many ids there are, and which of them mean something."""

    vocabulary: int
    """v"""
    padding: int
    unknown: int
    begin: int
    """starts every document (as BERT's [CLS])"""
    end: int
    """ends every document (as BERT's [SEP]); in packed rows whatever follows it is another document"""
    mask: int | None
    """stands for what masked language modelling hides; None: the tokenizer has none"""
    word_start: np.ndarray
    """[v] bool: whether a token starts a word; special tokens do"""
    special: np.ndarray
    """[v] bool: padding, begin, end, mask and the like, which are never hidden nor generated"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about the data and the run when an objective is built."""

    records: int
    """n in the training split"""
    steps: int
    """optimiser steps planned"""
    batch_size: int
    """global batch, over all processes"""
    task: Task | None = None
    class_names: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    """[k] labelled training records a class; empty for measured numbers"""
    target_mean: tuple[float, ...] = ()
    """[k] of measured numbers, over the labelled training records"""
    target_deviation: tuple[float, ...] = ()
    """[k] likewise; above 0"""
    shape: tuple[int, ...] = ()
    """of one prepared record, as the backbone takes it"""
    mean: tuple[float, ...] = ()
    """[c] that prepared images were shifted by, of values from 0 to 1; with `std`, pixels can be had back"""
    std: tuple[float, ...] = ()
    """[c] that they were divided by"""
    sample: Callable[[int], Tensor] | None = None
    """prepared training records, at most so many, the same ones every time"""
    tokens: Tokens | None = None
    """of text"""
    length: int = 0
    """most tokens of a text"""
    bytes_per_token: float = 0.0
    """of text: bytes of UTF-8 that a token stands for, on average; 0: not known"""
    sides: int = 1
    """what a record is made of: 2 of pairs, 3 of pairs with a text that is alike and yet no answer"""
    teacher: nn.Module | None = None
    """the trained backbone that `Needs.teacher` asks for: another network, not to be trained"""


@dataclass(frozen=True, slots=True)
class Needs:
    """What an objective needs; checked before anything is built."""

    modalities: tuple[str, ...] | None = None
    """Modalities it can learn from; None: every one that offers views."""
    features: Literal["pooled", "tokens", "map"] = "pooled"
    masking: bool = False
    """The backbone must be able to leave patches out: a `TokenBackbone`."""
    channels: int | None = None
    """Channels that images must have; None: any."""
    teacher: bool = False
    """A trained network to learn from (`Facts.teacher`), which the setting `objective.teacher` names."""
    labels: bool = False
    tasks: tuple[Task, ...] | None = None
    """Kinds of labels that it can learn from; None: all. Checked where `labels` is set."""
    packed: bool = False
    """Rows are windows of fixed length, cut from all training texts one after the other: no token is padding."""
    unlabelled: bool = False
    """Learns from records without labels too: `Config.ratio` of them beside each labelled one in a batch."""
    target: bool = False
    """Records bring what is to be told themselves: their modality `answers` to a view "target"."""
    smallest_batch: int = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input on this process, on the device."""

    views: tuple[Tensor, ...]
    """prepared, each [n …]"""
    index: Tensor
    """[n] int64 positions in the store"""
    targets: Tensor | None
    """[n] int64 (-1: unlabelled), [n k] float for several labels, [n] or [n k] float for numbers, or None"""
    seed: int
    """for what the objective itself draws: a pure function of (seed, step, rank)"""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the run stands."""

    step: int
    """optimiser steps done before this one"""
    steps: int
    epoch: int
    epochs: int

    @property
    def fraction(self) -> float:
        """Done share of the run, 0 to 1."""
        return self.step / max(1, self.steps)


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step gives back, and nothing else."""

    loss: Tensor
    """scalar with gradient"""
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    """detached scalars for the log, on the device"""


class Objective(Protocol):
    """What the backbone is asked to learn from: an nn.Module in `objectives/<name>.py`.

    That file holds: a header (paper, published figures, when not to use it), `Config` (frozen pydantic),
    `NEEDS: Needs`, `FAMILY: str`, `DEFAULTS: dict` (training settings that suit it: optimiser, learning rate,
    weight decay …, for `train.config.TrainConfig`), and `build(backbone, config, facts) -> Objective`.
    State that must survive a resume (teacher, queue, centre) lives in parameters and buffers.
    """

    def views(self) -> ViewSpec: ...

    def step(self, batch: Batch, progress: Progress) -> StepOutput: ...

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`; data-parallel wrappers hook in here."""
        ...

    def after_step(self, progress: Progress) -> None:
        """Called once after every optimiser step: teacher, queue, centre."""
        ...

    def keep(self) -> nn.ModuleDict:
        """Return what the model keeps: {"backbone": …} and, for supervised objectives, {"head": …}."""
        ...
