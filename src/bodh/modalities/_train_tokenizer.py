"""Tokenizers trained on texts, with the `tokenizers` library.

The same texts give the same tokenizer, to the byte, for a resumed run and every process of a run train their own.
Byte-level BPE does so by itself; the library's trainers of WordPiece and Unigram depend on the order of a hash table.
No normalisation beyond Unicode's NFC: accents, vowel signs and viramas stay where they are.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bodh.errors import ConfigError
from bodh.modalities._tokenizers import SPECIAL, library

MOST_WORDS = 100_000
"""Different words, the commonest ones, that unigram pieces are looked for in."""
LONGEST_PIECE = 16
"""Letters of a unigram piece at most."""

PIECES = r"'(?:[sdmt]|ll|ve|re)| ?[\p{L}\p{M}\u200c\u200d]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}\u200c\u200d]+|\s+(?!\S)|\s+"
"""GPT-2's words, with combining signs (a vowel sign, a virama) and joiners inside of words: without them no Devanagari
word would ever become one token."""


def train(kind: str, texts: Iterable[str], *, vocabulary: int) -> bytes:
    """Return a tokenizer.json trained on `texts`; ids 0 to 4 are `SPECIAL`.

    Args:
        kind: one of `KINDS`. "bpe": byte-level (Radford et al. 2019, section 2.2), restores every text exactly;
            "wordpiece": words and their continuations (Schuster and Nakajima 2012; as BERT's, without stripping
            accents); "unigram": the likeliest pieces (Kudo 2018); "characters": code points, restores texts of known
            characters exactly.
        texts: of the training records.
        vocabulary: most ids, special ones included.

    Raises:
        ConfigError: the vocabulary is too small for that kind.
    """
    least = len(SPECIAL) + (256 if kind == "bpe" else 1)
    if vocabulary < least:
        raise ConfigError(
            f"modality.vocabulary: {vocabulary} ids are too few for {kind}, which needs {least} at least; "
            f"type modality.vocabulary={max(512, least)}"
        )
    trained = _TRAINERS[kind]((unicodedata.normalize("NFC", text) for text in texts), vocabulary)
    trained.normalizer = library().normalizers.NFC()
    return str(trained.to_str(pretty=False)).encode()


def _bpe(texts: Iterable[str], vocabulary: int) -> Any:
    lib = library()
    trained = lib.Tokenizer(lib.models.BPE())
    words = lib.pre_tokenizers.Split(lib.Regex(PIECES), "isolated")
    as_bytes = lib.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trained.pre_tokenizer = lib.pre_tokenizers.Sequence([words, as_bytes])
    trained.decoder = lib.decoders.ByteLevel()
    trained.train_from_iterator(
        texts,
        lib.trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=_special(), show_progress=False,
            initial_alphabet=sorted(lib.pre_tokenizers.ByteLevel.alphabet()),
        ),
    )  # fmt: skip
    return trained


def _wordpiece(texts: Iterable[str], vocabulary: int) -> Any:
    """Train pairs of characters on words whose continuing characters are other code points, in order of those."""
    lib = library()
    split = lib.pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in split.pre_tokenize_str(text))
    alphabet = _alphabet(words, (vocabulary - len(SPECIAL)) // 4)
    inner = {letter: 0xF0000 + place for place, letter in enumerate(alphabet)}  # private use: no text has them
    back = {code: letter for letter, code in inner.items()}
    table = str.maketrans(inner)
    known = {word: count for word, count in sorted(words.items()) if all(letter in inner for letter in word)}
    pairs = lib.Tokenizer(lib.models.BPE())
    pairs.pre_tokenizer = lib.pre_tokenizers.WhitespaceSplit()
    pairs.train_from_iterator(
        (" ".join([word[0] + word[1:].translate(table)] * count) for word, count in known.items()),
        lib.trainers.BpeTrainer(vocab_size=vocabulary - len(SPECIAL), show_progress=False),
    )
    pieces = sorted(pairs.get_vocab().items(), key=lambda item: item[1])
    shown = [("##" if ord(piece[0]) in back else "") + piece.translate(back) for piece, _ in pieces]
    ids = {piece: place for place, piece in enumerate((*SPECIAL, *shown))}
    trained = lib.Tokenizer(lib.models.WordPiece(ids, unk_token=SPECIAL[1]))
    trained.pre_tokenizer = split
    trained.decoder = lib.decoders.WordPiece()
    trained.add_special_tokens(_special())
    return trained


def _characters(texts: Iterable[str], vocabulary: int) -> Any:
    lib = library()
    letters: Counter[str] = Counter()
    for text in texts:
        letters.update(text)
    ids = {letter: place for place, letter in enumerate((*SPECIAL, *_alphabet(letters, vocabulary - len(SPECIAL))))}
    trained = lib.Tokenizer(lib.models.BPE(ids, [], unk_token=SPECIAL[1]))
    trained.decoder = lib.decoders.Fuse()
    trained.add_special_tokens(_special(words=False))
    return trained


def _unigram(texts: Iterable[str], vocabulary: int) -> Any:
    """Start with the commonest substrings; by turns split all words as is likeliest, and drop what is least missed.

    Counts are those of the likeliest splits, not expectations: a sum in another order would be another tokenizer.
    """
    lib = library()
    split = lib.pre_tokenizers.Metaspace()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in split.pre_tokenize_str(text))
    common = dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS])
    room = vocabulary - len(SPECIAL)
    # letters of special tokens are among the known ones, so that a text that has one is spelt, not taken for it
    letters = sorted({*_alphabet(words, room // 4), *"".join(SPECIAL)})
    counts = _substrings(common, set(letters), most=4 * room)
    counts |= {letter: counts.get(letter, 0) for letter in letters}
    while True:
        for _ in range(2):
            counts = _recount(common, counts, letters)
        if len(counts) <= room:
            break
        lost = _losses(counts)
        spare = sorted((piece for piece in counts if len(piece) > 1), key=lambda piece: (-lost[piece], piece))
        keep = max(room, int(0.75 * len(counts))) - (len(counts) - len(spare))
        counts = {piece: counts[piece] for piece in [*spare[: max(0, keep)], *letters]}
        if keep <= 0:
            break
    pieces = sorted(_scores(counts).items(), key=lambda item: (-item[1], item[0]))
    # a special token in a text is never the likeliest way to read it
    trained = lib.Tokenizer(lib.models.Unigram([*((name, -1e4) for name in SPECIAL), *pieces], unk_id=1))
    trained.pre_tokenizer = split
    trained.decoder = lib.decoders.Metaspace()
    trained.add_special_tokens(_special())
    return trained


def _substrings(words: Mapping[str, int], letters: set[str], *, most: int) -> dict[str, int]:
    """Return the substrings of 2 to 16 letters that cover most of the text, with how often they occur."""
    found: Counter[str] = Counter()
    for word, count in words.items():
        for first in range(len(word)):
            for stop in range(first + 2, min(len(word), first + LONGEST_PIECE) + 1):
                found[word[first:stop]] += count
    covering = [piece for piece, count in found.items() if count > 1 and letters.issuperset(piece)]
    covering.sort(key=lambda piece: (-found[piece] * len(piece), piece))
    return {piece: found[piece] for piece in covering[:most]}


def _scores(counts: Mapping[str, int]) -> dict[str, float]:
    """Return the logarithm of every piece's share; one that does not occur counts for half."""
    total = math.log(sum(counts.values()) or 1)
    return {piece: round(math.log(count or 0.5) - total, 6) for piece, count in counts.items()}


def _recount(words: Mapping[str, int], counts: Mapping[str, int], letters: Iterable[str]) -> dict[str, int]:
    """Return how often each piece occurs when all words are split as is likeliest; single letters stay in any case."""
    lib = library()
    pieces = sorted(_scores(counts).items())
    tokenizer = lib.Tokenizer(lib.models.Unigram([("[UNK]", -1e4), *pieces], unk_id=0))
    found = np.zeros(len(pieces) + 1, np.int64)
    for encoded, count in zip(tokenizer.encode_batch(list(words)), words.values(), strict=True):
        for place in encoded.ids:
            found[place] += count
    told = {piece: int(found[place]) for place, (piece, _) in enumerate(pieces, 1) if found[place]}
    return told | {letter: told.get(letter, 0) for letter in letters}


def _losses(counts: Mapping[str, int]) -> dict[str, float]:
    """Return how much less likely the words become without each piece: split in two, or into letters."""
    scores = _scores(counts)
    lost = {}
    for piece, score in scores.items():
        halves = (
            scores[piece[:cut]] + scores[piece[cut:]]
            for cut in range(1, len(piece))
            if piece[:cut] in scores and piece[cut:] in scores
        )
        instead = max(halves, default=sum(scores[letter] for letter in piece))
        lost[piece] = counts[piece] * (score - instead)
    return lost


_TRAINERS = {"bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram, "characters": _characters}


def _special(*, words: bool = True) -> list[Any]:
    """Return the special tokens; where tokens are words, the mask stands for one with the space before it."""
    added = library().AddedToken
    return [added(name, special=True, normalized=False, lstrip=words and name == SPECIAL[-1]) for name in SPECIAL]


def _alphabet(counts: Mapping[str, int], most: int) -> list[str]:
    """Return the commonest letters of counted words, at most so many, in the order of their code points."""
    letters: Counter[str] = Counter()
    for word, count in counts.items():
        for letter in word:
            letters[letter] += count
    ranked = sorted(letters, key=lambda letter: (-letters[letter], letter))
    return sorted(ranked[:most])
