"""Bytes of text files become texts: UTF-8, with or without a mark, or UTF-16 and UTF-32 where a mark says so."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

from bodh.errors import BadRecord, DataError

_MARKS = (  # UTF-32's mark starts with UTF-16's
    (codecs.BOM_UTF8, "utf-8", "UTF-8 with mark"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_NULS = 0.2
"""Share of NUL bytes from which a file is no UTF-8 text with a few strays but something else."""


class Decoded(NamedTuple):
    """A text, and what it was."""

    text: str
    encoding: str
    """"UTF-8", "UTF-8 with mark", "UTF-16", "UTF-32" """
    nuls: int
    """NUL characters that were left out"""


def decoded(data: bytes, name: str) -> Decoded:
    """Return the text in `data`.

    Args:
        data: content of a file.
        name: of the file, for messages.

    Raises:
        DataError: another encoding, or several in one file; the message has the line.
    """
    start, codec, told = next(
        ((len(mark), codec, told) for mark, codec, told in _MARKS if data.startswith(mark)), (0, "utf-8", "UTF-8")
    )
    body = data[start:]
    head = body[:4096]
    if codec == "utf-8" and head.count(0) > _NULS * len(head):
        raise DataError(
            f"{name!r} is no UTF-8 text: {head.count(0)} of its first {len(head)} bytes are NUL; it is no text at all, "
            "or UTF-16 without its mark: save it as UTF-8"
        )
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        before = body[: error.start].decode(codec, "replace")
        line = before.count("\n") + before.count("\r") - before.count("\r\n") + 1
        what = f"byte 0x{body[error.start]:02x} is not {told.split()[0]}"
        raise DataError(
            f"{name!r} line {line}: {what}; save the whole file as UTF-8, for example: "
            f"iconv -f WINDOWS-1252 -t UTF-8 {name}"
        ) from error
    nuls = text.count("\0")
    return Decoded(text.replace("\0", "") if nuls else text, told, nuls)


def read_text(path: Path, name: str) -> Decoded:
    """Return the text in a file, unpacked where it ends with `.gz`.

    Raises:
        DataError: it cannot be read, is damaged, or of another encoding; the message has the line.
    """
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:  # a damaged .gz is an OSError too
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"cannot read {name!r}: {reason}") from error
    return decoded(data, name)


def as_utf8(data: bytes) -> bytes:
    """Return a text file's bytes as UTF-8 without mark and NUL characters.

    Raises:
        BadRecord: another encoding, with the line, or nothing but blanks.
    """
    try:
        text = decoded(data, "the file").text
    except DataError as error:
        raise BadRecord(str(error).replace("'the file'", "the file", 1)) from error
    if not text.strip():
        raise BadRecord("the text is empty")
    return text.encode()


def lines_of(text: str) -> list[str]:
    r"""Return the lines of `text`, which end with `\n`, `\r\n` or `\r`; other separators are part of a line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines
