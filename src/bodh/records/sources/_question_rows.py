"""Rows of tables, flat or nested, become questions with their texts; answers are looked at where they should stand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bodh.contracts import derive_seed
from bodh.errors import DataError, suggestion

QUESTION = ("question", "query", "प्रश्न")
CONTEXT = ("context", "passage", "paragraph", "संदर्भ")
ANSWERS = ("answers", "answer", "उत्तर")
TITLE = ("title", "document", "शीर्षक")
NESTED = ("paragraphs", "qas", "questions")
"""What holds the paragraphs of an article, or the questions about a paragraph."""
TEST_FRACTION = 0.2
"""Share of questions set aside where the data brings no part for it."""
_TOLD = 3
"""Mistakes of which the place is told."""


@dataclass
class Entry:
    """One question as a source gives it.

    Attributes:
        name: its id, or where it stands.
        where: file and line.
        part: "train", "val", "test", or None where nothing tells.
        title: what the text belongs to, or "".
        content: question, context and answers as JSON in UTF-8.
        fault: why it cannot be used; "" where it can.
    """

    name: str
    where: str
    part: str | None
    title: str
    context: str
    content: bytes
    fault: str = ""


@dataclass
class Found:
    """What was found out on the way.

    Attributes:
        moved: where an answer stood elsewhere than it was said to.
        lost: where it stands nowhere, or at several places; with the reason.
        unanswered: questions that their text does not answer.
        untold: questions that nobody has answered.
    """

    moved: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unanswered: int = 0
    untold: int = 0

    def notes(self) -> list[str]:
        """Return what should be said."""
        told = []
        if self.unanswered:
            told.append(f"{self.unanswered:,} questions are not answered by their text")
        if self.untold:
            told.append(f"{self.untold:,} questions come without an answer, which does not say that there is none")
        if self.moved:
            told.append(
                f"{len(self.moved):,} answers do not stand where answer_start says, but once elsewhere in the text: "
                f"taken from there ({_some(self.moved)})"
            )
        if self.lost:
            told.append(f"{len(self.lost):,} answers cannot be found and are left out: {_some(self.lost)}")
        return told


def _some(places: Sequence[str]) -> str:
    return "; ".join(places[:_TOLD]) + ("; …" if len(places) > _TOLD else "")


def languages(row: Mapping[str, Any]) -> list[str]:
    """Return the languages in which a nested row has its text: "en" of "context_en"."""
    return [key.removeprefix("context_") for key in row if isinstance(key, str) and key.startswith("context_")]


def asks(row: Any) -> bool:
    """Return whether a row holds questions with their text and answers, one or many."""
    if not isinstance(row, Mapping):
        return False
    if _first(row, ("paragraphs",)) is not None:
        return isinstance(row["paragraphs"], list) and any(asks(part) for part in row["paragraphs"][:1])
    if _first(row, CONTEXT) is None and not languages(row):
        return False
    if any(isinstance(row.get(key), list) for key in NESTED):
        return True
    return _first(row, QUESTION) is not None and (_first(row, ANSWERS) is not None or "answer_start" in row)


def entries(
    row: Mapping[str, Any], where: str, *, language: str | None, part: str | None, found: Found
) -> Iterator[Entry]:
    """Yield the questions in a row: one, those about a paragraph, or those about the paragraphs of an article.

    Args:
        row: by column.
        where: file and line.
        language: of texts in several.
        part: of the row.
        found: takes what is found out.

    Raises:
        DataError: it holds none.
    """
    if isinstance(row.get("paragraphs"), list):
        for number, paragraph in enumerate(row["paragraphs"]):
            inner = {"title": _first(row, TITLE) or "", **_as_row(paragraph, f"{where} paragraphs[{number}]")}
            yield from entries(inner, f"{where} paragraphs[{number}]", language=language, part=part, found=found)
        return
    nested = next((key for key in ("qas", "questions") if isinstance(row.get(key), list)), None)
    if nested is None:
        yield _entry(row, row, where, language=language, part=part, found=found)
        return
    for number, asked in enumerate(row[nested]):
        place = f"{where} {nested}[{number}]"
        yield _entry(row, _as_row(asked, place), place, language=language, part=part, found=found)


def _as_row(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{where} is of type {type(value).__name__}; an object with a question or a text is expected")
    return value


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the value of the first of `names` that `row` has."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def _entry(
    text: Mapping[str, Any], asked: Mapping[str, Any], where: str, *, language: str | None, part: str | None,
    found: Found,
) -> Entry:  # fmt: skip
    """Return the question in `asked` about the context in `text`."""
    suffix = f"_{language}" if language else ""
    context = text.get(f"context{suffix}") if language else _first(text, CONTEXT)
    question = asked.get(language, asked.get(f"question{suffix}")) if language else _first(asked, QUESTION)
    for what, given in (("context", context), ("question", question)):
        if given is not None and not isinstance(given, str):
            raise DataError(f"{where}: the {what} is of type {type(given).__name__}; a text is expected")
    context, question = context or "", question or ""
    missing = "" if context.strip() and question.strip() else f"no {'question' if context.strip() else 'context'}"
    answers, fault = _answers(asked, context, language, where, found)
    told = {"question": question, "context": context, "answers": answers}
    try:
        content = json.dumps(told, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        content, fault = b"", "no Unicode text: half a surrogate pair"
    given = asked.get("id")
    return Entry(
        str(given) if given not in (None, "") else where, where, part, str(_first(text, TITLE) or ""), context,
        content, missing or fault,
    )  # fmt: skip


def _answers(
    asked: Mapping[str, Any], context: str, language: str | None, where: str, found: Found
) -> tuple[list[tuple[str, int]] | None, str]:
    """Return the answers that stand in `context`, with their places, and why there is none of those that were given."""
    names = (*(f"{name}_{language}" for name in ("answers", "answer") if language), *ANSWERS)
    given = _first(asked, names)
    if asked.get("is_impossible") is True:
        given = []
    if given is None:
        found.untold += 1
        return None, ""
    kept: list[tuple[str, int]] = []
    reason = ""
    pairs = list(_pairs(given, asked.get("answer_start")))
    for text, start in pairs:
        place, why = _place(context, text, start)
        if place is None:
            reason = reason or why
            found.lost.append(f"{where}: {why}")
            continue
        if place != start and start is not None:
            found.moved.append(f"{where}: {text[:40]!r}")
        kept.append((text, place))
    found.unanswered += not pairs
    return kept, "" if kept or not pairs else reason


def _pairs(given: Any, start: Any) -> Iterator[tuple[str, int | None]]:
    """Yield answers and their places in any of the forms that data sets have."""
    if isinstance(given, Mapping):
        texts, starts = given.get("text"), given.get("answer_start")
        if isinstance(texts, list | tuple | np.ndarray):
            places = list(starts) if isinstance(starts, list | tuple | np.ndarray) else [None] * len(texts)
            yield from ((str(text), _whole(place)) for text, place in zip(texts, places, strict=False))
        elif texts is not None:
            yield str(texts), _whole(starts)
    elif isinstance(given, list | tuple | np.ndarray):
        starts = start if isinstance(start, list | tuple | np.ndarray) else [None] * len(given)
        for one, place in zip(given, starts, strict=False):
            yield from _pairs(one, place)
    elif str(given):
        yield str(given), _whole(start)


def _whole(start: Any) -> int | None:
    try:
        return None if start is None else int(start)
    except (TypeError, ValueError):
        return None


def _place(context: str, text: str, start: int | None) -> tuple[int | None, str]:
    """Return where an answer stands, or None and the reason: where it should, else where it occurs, if but once."""
    if start is not None and start >= 0 and text and context[start : start + len(text)] == text:
        return start, ""
    first = context.find(text) if text.strip() else -1
    if first >= 0 and context.find(text, first + 1) < 0:
        return first, ""
    times = "not in the text" if first < 0 else "in the text more than once"
    said = "" if start is None else f" does not stand at character {start}, and"
    return None, f"the answer {text[:40]!r}{said} is {times}"


def chosen_language(rows: Sequence[Mapping[str, Any]], wanted: str | None, owner: str) -> str | None:
    """Return the language to read, None where texts are in one.

    Raises:
        DataError: there are several and none was named, or one that there is not.
    """
    known = list(dict.fromkeys(one for row in rows for one in languages(row)))
    if not known:
        if wanted is not None:
            raise DataError(
                f"{owner} holds questions in one language, given data.input={wanted!r}; leave it out, or read its "
                "texts alone with data.modality=text"
            )
        return None
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None:
        raise DataError(
            f"{owner} holds its questions in several languages: {', '.join(known)}; choose one: data.input={known[0]}"
        )
    if wanted not in known:
        raise DataError(
            f"{owner} has no data.input={wanted!r}{suggestion(wanted, known)}; its languages are: {', '.join(known)}"
        )
    return wanted


def divided(rows: Sequence[Entry]) -> tuple[np.ndarray, str]:
    """Return [n] "train", "val" or "test", and how that was told.

    Where nothing tells, whole titles are set aside for testing, or where there is but one, whole texts: about a
    fifth of the questions. No text lies in both parts.
    """
    if any(row.part for row in rows):
        return np.array([row.part or "train" for row in rows]), ""
    groups: dict[str, list[int]] = {}
    known: dict[str, str] = {}
    for what in ("title", "context"):
        if what == "title" and not all(row.title for row in rows):
            continue
        groups, known = {}, {}
        for place, row in enumerate(rows):
            group = known.setdefault(row.context, getattr(row, what))  # a text under two titles is of the first
            groups.setdefault(group, []).append(place)
        if len(groups) > 1:
            break
    splits = np.full(len(rows), "train", "<U5")
    if len(groups) < 2:
        return splits, ""
    order = np.random.Generator(np.random.PCG64(derive_seed("split", 0))).permutation(len(groups))
    every = list(groups.values())
    for number in order[:-1].tolist():
        if (splits == "test").sum() >= TEST_FRACTION * len(rows):
            break
        splits[every[number]] = "test"
    told = int((splits == "test").sum())
    return splits, f"{told:,} of {len(rows):,} questions are set aside for testing, by {what}"
