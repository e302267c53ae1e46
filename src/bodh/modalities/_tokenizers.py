"""Tokenizers read from a tokenizer.json, ours or a published model's, and what they know. Data only: nothing is run."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bodh._optional import require
from bodh.errors import ConfigError, ModelError

KINDS = ("bpe", "wordpiece", "unigram", "characters")
"""Tokenizers that are trained on the training texts."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Ids 0 to 4 of a trained tokenizer."""
FILE = "tokenizer.json"
LARGEST_FILE = 2**27
"""Bytes of a tokenizer.json that are read at most."""

_ROLES: dict[str, tuple[str, ...]] = {
    "padding": ("[PAD]", "<pad>", "<|pad|>", "<PAD>"),
    "unknown": ("[UNK]", "<unk>", "<UNK>"),
    "begin": ("[CLS]", "<s>", "<|startoftext|>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "end": ("[SEP]", "</s>", "<|endoftext|>", "<eos>", "<|end_of_text|>"),
    "mask": ("[MASK]", "<mask>", "<MASK>"),
}
"""What published tokenizers call their special tokens, where nothing else tells."""


_OTHERS = (*range(0x21), *range(0x7F, 0xA1), 0xAD)
"""Bytes that are no letters of their own in GPT-2's alphabet of bytes, which writes them as U+0100 and on."""


def library() -> Any:
    """Import and return `tokenizers`.

    Raises:
        MissingExtra: it is not installed.
    """
    return require("tokenizers", extra="text", feature="text")


def read(content: bytes, *, name: str = FILE) -> Any:
    """Return the tokenizer in `content`, the bytes of a tokenizer.json; data only, nothing of it is run.

    Raises:
        ModelError: it is none.
    """
    if len(content) > LARGEST_FILE:
        raise ModelError(f"{name} has {len(content)} bytes; at most {LARGEST_FILE} are read")
    kind = library().Tokenizer
    try:
        tokenizer = kind.from_str(content.decode("utf-8"))
    except Exception as error:  # noqa: BLE001 -- the library raises bare Exception
        raise ModelError(
            f"{name} is not a tokenizer: {' '.join(str(error).split())[:200]}; allowed is a tokenizer.json as the "
            "library tokenizers writes it"
        ) from None
    tokenizer.no_padding()  # published ones bring their own rules, which ours would lie on top of
    tokenizer.no_truncation()
    return tokenizer


def kinds_of_tokens(tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return which ids start a word, and which are special, each [v] bool; v is the largest id and one."""
    pieces = {place: piece for piece, place in tokenizer.get_vocab(with_added_tokens=True).items()}
    starts = np.zeros(max(pieces) + 1, np.bool_)
    special = np.zeros_like(starts)
    decoder = json.loads(tokenizer.to_str())["decoder"] or {}
    kinds = {part["type"] for part in decoder.get("decoders", [decoder]) if "type" in part}
    if "ByteLevel" in kinds:
        starting = _starts_in_bytes
    elif "WordPiece" in kinds:
        prefix = decoder.get("prefix", "##")
        starting = lambda piece: not piece.startswith(prefix)  # noqa: E731
    elif "Metaspace" in kinds or any(piece.startswith("▁") for piece in pieces.values()):
        starting = lambda piece: piece.startswith("▁")  # noqa: E731
    else:
        starting = _parts_words
    for place, piece in pieces.items():
        starts[place] = starting(piece)
    for place, token in tokenizer.get_added_tokens_decoder().items():
        special[place] = token.special
    return starts, special


def _starts_in_bytes(piece: str) -> bool:
    """Tell whether a token of bytes starts a word: with white space (Ġ is a space), or with a mark (, ₹ । “)."""
    first = piece[0]
    if ord(first) < 0x80:
        return not first.isalnum()
    if first in "ĠĊĉčĄČċ":  # white space and control characters
        return True
    try:
        length = 2 + (_byte(first) >= 0xE0) + (_byte(first) >= 0xF0)
        letter = bytes(map(_byte, piece[:length])).decode("utf-8")
    except (ValueError, IndexError):  # within a letter, not all of one, or none of the alphabet
        return False
    return unicodedata.category(letter)[0] in "PSZ"


def _byte(letter: str) -> int:
    """Return the byte that a letter of GPT-2's alphabet stands for: itself, or, above, the others in order."""
    number = ord(letter)
    return number if number < 0x100 else _OTHERS[number - 0x100]


def _parts_words(piece: str) -> bool:
    """Tell whether a character stands between words: neither letter, digit nor combining sign."""
    return not piece[0].isalnum() and unicodedata.category(piece[0])[0] != "M" and piece[0] not in "\u200c\u200d"


def published(path: Path) -> tuple[bytes, dict[str, int | None]]:
    """Return (tokenizer.json, special ids by role) of a published model's folder, or of such a file.

    A model folder of bodh is one too.

    Raises:
        ConfigError: nothing is there, or it is no tokenizer.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(
            f"modality.tokenizer: {str(path)!r} is neither a kind of tokenizer nor a file or folder with {FILE}; "
            f"allowed are {', '.join(KINDS)}, a {FILE}, or the folder of a published model that has one"
        )
    content = file.read_bytes()
    try:
        tokenizer = read(content, name=str(file))
    except ModelError as error:
        raise ConfigError(f"modality.tokenizer: {error}") from None
    return content, special_ids(tokenizer, _named(file.parent))


def special_ids(tokenizer: Any, named: Mapping[str, str]) -> dict[str, int | None]:
    """Return the ids of padding, unknown, begin, end and mask.

    Args:
        tokenizer: to look in.
        named: what the model's own files call them, by role.

    Raises:
        ConfigError: no token ends a text.
    """
    found: dict[str, int | None] = {}
    for role, names in _ROLES.items():
        ids = (tokenizer.token_to_id(name) for name in (*([named[role]] if role in named else []), *names))
        found[role] = next((place for place in ids if place is not None), None)
    around = tokenizer.encode("").ids  # what it puts around every text: [CLS] [SEP], or </s> alone
    if around:
        found["end"] = around[-1]
        found["begin"] = around[0] if len(around) > 1 else None
    if found["end"] is None:
        raise ConfigError(
            "modality.tokenizer: no token ends a text; allowed are tokenizers with one of " + ", ".join(_ROLES["end"])
        )
    found["padding"] = found["end"] if found["padding"] is None else found["padding"]
    found["unknown"] = found["padding"] if found["unknown"] is None else found["unknown"]
    return found


def _named(folder: Path) -> dict[str, str]:
    """Return what `special_tokens_map.json` or `tokenizer_config.json` call the special tokens, by role."""
    roles = {
        "pad_token": "padding", "unk_token": "unknown", "bos_token": "begin", "cls_token": "begin",
        "eos_token": "end", "sep_token": "end", "mask_token": "mask",
    }  # fmt: skip
    found: dict[str, str] = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"modality.tokenizer: {str(file)!r} is not JSON: {error}") from None
        for key, role in roles.items():
            token = told.get(key) if isinstance(told, dict) else None
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                found[role] = token
    return found


_INNER = "'’-\u2010\u2011"
"""Between two letters or digits these are part of a word."""
_IN_NUMBERS = ".,"
_JOINERS = "\u200c\u200d"


def spans(text: str) -> list[tuple[int, int]]:
    """Return (start, stop) of every word of `text`, in characters, in scripts that put spaces between words.

    A word is a run of letters, combining signs (a vowel sign, a virama), digits, joiners and underscores; an apostrophe
    or a hyphen between two of these belongs to it (don't, state-of-the-art), and so do a point and a comma between two
    digits (3.5, 10,000). Every other sign that is no space is a word of its own: so is the danda at the end of a Hindi
    sentence.
    """
    found: list[tuple[int, int]] = []
    start: int | None = None
    for place, letter in enumerate(text):
        if _belongs(letter) or (start is not None and _joins(text, place)):
            start = place if start is None else start
            continue
        if start is not None:
            found.append((start, place))
            start = None
        if not letter.isspace():
            found.append((place, place + 1))
    if start is not None:
        found.append((start, len(text)))
    return found


def blocks(text: str) -> list[tuple[int, int]]:
    """Return (start, stop) of everything that stands between spaces, in characters."""
    return [match.span() for match in re.finditer(r"\S+", text)]


@cache
def _belongs(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LMN" or letter == "_" or letter in _JOINERS


def _joins(text: str, place: int) -> bool:
    """Whether the sign at `place` belongs to the word that it stands in."""
    if place + 1 >= len(text):
        return False
    before, letter, after = text[place - 1], text[place], text[place + 1]
    if letter in _IN_NUMBERS:
        return before.isdigit() and after.isdigit()
    return letter in _INNER and _belongs(before) and _belongs(after)
