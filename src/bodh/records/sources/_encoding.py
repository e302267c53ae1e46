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
_HEAD = 4096
"""Bytes by which a file is judged."""
_NULS = 0.2
"""Share of NUL bytes from which a file is no UTF-8 text with a few strays but something else."""
_STRAY = 0.03
_ONE_SIDE = 0.95
"""Of NUL bytes above the first share, the second at even places or at odd ones: UTF-16, also of Devanagari, whose
letters have no NUL but whose blanks do."""


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
    if codec == "utf-8" and (wrong := _no_bytes(body[:_HEAD], name)):
        raise DataError(f"{name!r} is no UTF-8 text: {wrong}")
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        before = body[: error.start].decode(codec, "replace")
        line = before.count("\n") + before.count("\r") - before.count("\r\n") + 1
        what = f"byte 0x{body[error.start]:02x} is not {told.split()[0]}"
        raise DataError(f"{name!r} line {line}: {what}; {_mend(body, codec, name)}") from error
    nuls = text.count("\0")
    return Decoded(text.replace("\0", "") if nuls else text, told, nuls)


def _no_bytes(head: bytes, name: str) -> str:
    """Return why the beginning of a file is not of one byte a letter, or "": NULs tell UTF-16, or no text."""
    nuls = [place for place, byte in enumerate(head) if byte == 0]
    odd = sum(place % 2 for place in nuls)
    side = max(odd, len(nuls) - odd) / max(1, len(nuls))
    # a letter of the Latin alphabet, a blank, a line's end: in UTF-16 half of its bytes are NUL, always the same half
    if len(nuls) > 1 and len(nuls) > _STRAY * len(head) and side > _ONE_SIDE:
        codec = "UTF-16LE" if odd * 2 > len(nuls) else "UTF-16BE"
        return f"it looks like UTF-16 without its mark; save it as UTF-8, for example: iconv -f {codec} -t UTF-8 {name}"
    if len(nuls) > _NULS * len(head):
        return f"{len(nuls)} of its first {len(head)} bytes are NUL; it is no text at all, or damaged"
    return ""


def _mend(body: bytes, codec: str, name: str) -> str:
    """Return what to do about a file that is not of the encoding that it seemed to be."""
    if codec != "utf-8":
        return "the file is damaged, or its mark is wrong; save it as UTF-8"
    lines = body.splitlines()
    other = {number for number, line in enumerate(lines) if not _is_utf8(line)}
    if any(not line.isascii() and number not in other for number, line in enumerate(lines)):
        return (
            f"other lines are, so the file is of several encodings (not UTF-8: {len(other)} of {len(lines)} lines); "
            "write those lines anew as UTF-8"
        )
    return f"save the whole file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 {name}"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


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
