"""What is in a data set, how it is read, and what is wrong with it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bodh.contracts import Json, RecordStore, Source
from bodh.errors import BadRecord
from bodh.records import check_text
from bodh.records.duplicates import Duplicates, find_duplicates
from bodh.records.splits import labelled

_HEADERS = 20_000
"""Records whose headers are read; of larger sets an even sample."""
_SHOWN = 50
"""Groups of duplicates that are listed by name; all are counted."""
_PARTS = ("train", "val", "test")


@dataclass
class DataReport:
    """What was found. Everything is plain values.

    Attributes:
        name: short name of the source.
        reading: how it is read, in words.
        modality: "image", "vector" or "text".
        records: how many there are.
        labels: "none", "one of k classes", "any of k classes at once", "k measured numbers", "a tag for every word,
            of k".
        fingerprint: of the source.
        splits: [{"part", "records", "labelled"}].
        classes: [{"class", "records", "train", "val", "test"}], the last three where there are several parts.
        numbers: [{"value", "labelled", "missing", "least", "mean", "deviation", "most"}] where labels are measured.
        sizes: smallest, median, largest width and height, and how many differ; of texts their characters.
        formats: file formats and colour modes with their counts; of texts the encodings.
        findings: [{"finding"}]: what a person should know, most important first.
        broken: [{"id", "reason"}], all of them.
        duplicates: [{"kind": "same" | "alike", "records", "parts", "labels", "ids"}], of texts also how the first
            begins ("text"); at most 50 of either kind.
        counts: broken, groups of duplicates, records in them, and how many reach across parts or labels.
        freed: bytes that forgetting set free; None where nothing was to be forgotten.
    """

    name: str
    reading: str
    modality: str
    records: int
    labels: str
    fingerprint: str
    splits: list[Json] = field(default_factory=list)
    classes: list[Json] = field(default_factory=list)
    numbers: list[Json] = field(default_factory=list)
    sizes: Json = field(default_factory=dict)
    formats: Json = field(default_factory=dict)
    findings: list[Json] = field(default_factory=list)
    broken: list[Json] = field(default_factory=list)
    duplicates: list[Json] = field(default_factory=list)
    counts: Json = field(default_factory=dict)
    freed: int | None = None

    def to_json(self) -> Json:
        """Return the report as plain values."""
        return asdict(self)


def describe(source: Source) -> DataReport:
    """Return what listing alone tells: nothing is decoded."""
    report = DataReport(
        name=source.name, reading=getattr(source, "reading", ""), modality=source.modality, records=len(source),
        labels=_labels(source), fingerprint=source.fingerprint,
        splits=_split_rows(source), classes=_class_rows(source), numbers=_number_rows(source),
    )  # fmt: skip
    _say(report, getattr(source, "notes", ()))
    _judge_classes(report)
    _judge_numbers(report)
    return report


def check(source: Source, store: RecordStore, *, progress: Callable[[int, int], None] | None = None) -> DataReport:
    """Return what is in `source`, what is broken, what is double, and what looks wrong.

    Args:
        source: the data.
        store: its decoded records, with `.skipped`.
        progress: called with (records done, records in all) while records are compared.
    """
    report = describe(source)
    notes, report.findings = report.findings, []
    skipped = list(getattr(store, "skipped", ()))
    report.broken = [{"id": name, "reason": reason} for name, reason in skipped]
    report.counts["broken"] = len(skipped)
    if skipped:
        share = len(skipped) / len(source)
        verdict = "more than 5 %: training stops" if share > 0.05 else "training leaves them out"
        _say(report, [f"{len(skipped)} of {len(source)} records cannot be read ({share:.1%}; {verdict})"])
    found = find_duplicates(store, progress)
    texts = None
    if source.modality == "text":
        texts = check_text.look_at(source, [row["id"] for row in report.broken], found.same)
        found = Duplicates(found.same, texts.alike, found.blank)
        report.sizes, report.formats = check_text.sizes(texts), check_text.encodings(source)
    _tell_duplicates(report, store, found, {} if texts is None else texts.beginnings)
    _say(report, [] if texts is None else check_text.findings(texts))
    if source.modality == "image":
        _look_at_headers(report, source)
    if len(found.blank):
        some = ", ".join(store.ids[int(position)] for position in found.blank[:3])
        _say(report, [f"{len(found.blank)} images are of one single colour ({some})"])
    report.findings += notes
    return report


def _say(report: DataReport, texts: Sequence[str]) -> None:
    report.findings += [{"finding": text} for text in texts]


def _labels(source: Source) -> str:
    if source.targets is None:
        return f"a tag for every word, of {len(source.class_names)}" if source.class_names else "none"
    if _measured(source.targets):
        return f"{_count(len(source.class_names), 'measured number')}: {', '.join(source.class_names)}"
    return f"{'one' if source.targets.ndim == 1 else 'any'} of {len(source.class_names)} classes" + (
        "" if source.targets.ndim == 1 else " at once"
    )


def _labelled(source: Source, chosen: np.ndarray) -> int:
    if source.targets is None:  # where records bring what is to be told themselves, its names are there
        return int(chosen.sum()) if source.class_names else 0
    return int(labelled(source.targets[chosen]).sum())


def _measured(targets: np.ndarray | None) -> bool:
    return targets is not None and targets.dtype.kind == "f"


def _split_rows(source: Source) -> list[Json]:
    splits = np.asarray(source.splits)
    return [
        {"part": part, "records": int(chosen.sum()), "labelled": _labelled(source, chosen)}
        for part in _PARTS
        if (chosen := splits == part).any()
    ]


def _class_rows(source: Source) -> list[Json]:
    if source.targets is None or _measured(source.targets):
        return []
    splits, targets = np.asarray(source.splits), np.asarray(source.targets)
    parts = [part for part in _PARTS if (splits == part).any()]
    counts = {part: _class_counts(targets[splits == part], len(source.class_names)) for part in parts}
    rows = []
    for number, name in enumerate(source.class_names):
        own = {part: int(counts[part][number]) for part in parts}
        rows.append({"class": name, "records": sum(own.values())} | (own if len(parts) > 1 else {}))
    return rows


def _number_rows(source: Source) -> list[Json]:
    if source.targets is None or not _measured(source.targets):
        return []
    rows: list[Json] = []
    for name, column in zip(source.class_names, source.targets.reshape(len(source), -1).T, strict=True):
        known = column[~np.isnan(column)].astype(np.float64)
        row: Json = {"value": name, "labelled": len(known), "missing": len(column) - len(known)}
        if len(known):
            row |= {
                "least": float(known.min()), "mean": float(known.mean()), "deviation": float(known.std()),
                "most": float(known.max()),
            }  # fmt: skip
        rows.append(row)
    return rows


def _judge_numbers(report: DataReport) -> None:
    texts = [
        f"every {row['value']!r} is {row['mean']:g}: nothing to learn"
        for row in report.numbers
        if not row.get("deviation", 1)
    ]
    texts += [f"{row['missing']} records have no {row['value']!r}" for row in report.numbers if row["missing"]]
    _say(report, texts)


def _class_counts(targets: np.ndarray, classes: int) -> np.ndarray:
    if targets.ndim == 2:
        return np.asarray(targets.sum(0))
    return np.bincount(targets[targets >= 0], minlength=classes)


def _classes(count: int) -> str:
    return "1 class has" if count == 1 else f"{count} classes have"


def _judge_classes(report: DataReport) -> None:
    if not report.classes:
        return
    rows = report.classes
    sizes = [row["records"] for row in rows]
    unlabelled = sum(row["records"] - row["labelled"] for row in report.splits)
    texts = []
    if len(rows) == 1:
        texts.append(f"there is only one class, {rows[0]['class']!r}: nothing to tell apart")
    largest, smallest = rows[int(np.argmax(sizes))], rows[int(np.argmin(sizes))]
    if largest["records"] > 10 * max(1, smallest["records"]):
        texts.append(
            f"classes are unbalanced: {largest['records']} records of {largest['class']!r}, "
            f"{smallest['records']} of {smallest['class']!r}"
        )
    few = [row["class"] for row in rows if 0 < row["records"] < 5]
    if few:
        texts.append(f"{_classes(len(few))} fewer than 5 records: {', '.join(few[:5])}")
    for part in ("train", "val", "test"):
        absent = [row["class"] for row in rows if row.get(part) == 0]
        if absent:
            texts.append(f"{_classes(len(absent))} no record in {part}: {', '.join(absent[:5])}")
    if len(rows) > 20 and len(rows) * 2 > report.records:
        texts.append("almost every record is a class of its own: are these classes?")
    if unlabelled:
        texts.append(f"{unlabelled} records have no label" if unlabelled > 1 else "1 record has no label")
    _say(report, texts)


def _tell_duplicates(report: DataReport, store: RecordStore, found: Duplicates, beginnings: Mapping[int, str]) -> None:
    splits = np.asarray(store.splits)
    for kind, groups in (("same", found.same), ("alike", found.alike)):
        across = [group for group in groups if len(set(splits[group].tolist())) > 1]
        conflicts = [group for group in groups if _conflict(store.targets, group)]
        extra = sum(len(group) - 1 for group in groups)
        report.counts |= {
            f"{kind}_groups": len(groups), f"{kind}_records": sum(len(group) for group in groups),
            f"{kind}_across_parts": len(across), f"{kind}_with_different_labels": len(conflicts),
        }  # fmt: skip
        worst = {id(group) for group in (*across, *conflicts)}
        ordered = [group for group in groups if id(group) in worst] + [
            group for group in groups if id(group) not in worst
        ]
        report.duplicates += [
            _group_row(store, kind, group)
            | ({"text": beginnings[int(group[0])]} if int(group[0]) in beginnings else {})
            for group in ordered[:_SHOWN]
        ]
        what = "exact copies of other records" if kind == "same" else "records hard to tell from others"
        harm = "scores will be too good" if kind == "same" else "scores may be a little too good"
        if groups:
            _say(report, [f"{what}: {extra:,} ({_count(len(groups), 'group')})"])
        if across:
            _say(report, [f"{what}: {_count(len(across), 'group')} across train, val and test: {harm}"])
        if conflicts:
            _say(report, [f"{what}: {_count(len(conflicts), 'group')} with different labels"])


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _conflict(targets: np.ndarray | None, group: np.ndarray) -> bool:
    if targets is None:
        return False
    own = np.asarray(targets)[group]
    own = own[labelled(own)]
    return len(np.unique(own, axis=0)) > 1


def _group_row(store: RecordStore, kind: str, group: np.ndarray) -> Json:
    labels: list[str] = []
    if store.targets is not None and store.targets.ndim == 1:
        own = store.targets[group[:10]]
        names = [f"{t:g}" if _measured(own) else store.class_names[int(t)] for t in own]
        labels = [name if known else "" for name, known in zip(names, labelled(own), strict=True)]
    return {
        "kind": kind, "records": len(group), "parts": sorted(set(np.asarray(store.splits)[group].tolist())),
        "labels": sorted(set(labels)), "ids": [store.ids[int(position)] for position in group[:10]],
    }  # fmt: skip


def _look_at_headers(report: DataReport, source: Source) -> None:
    """Fill sizes and formats from the files' headers; pixels stay unread."""
    n = len(source)
    positions = np.arange(n) if n <= _HEADERS else np.unique(np.linspace(0, n - 1, _HEADERS).astype(np.int64))
    formats: Counter[str] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    broken = {row["id"] for row in report.broken}
    for position in positions.tolist():
        seen = None if source.ids[position] in broken else _header(source, position)
        if seen is not None:
            formats[seen[0]] += 1
            sizes[seen[1]] += 1
    if not sizes:
        return
    report.formats = dict(formats.most_common())
    pixels = sorted(sizes.elements(), key=lambda size: size[0] * size[1])
    report.sizes = {
        "smallest": _shape(pixels[0]), "median": _shape(pixels[len(pixels) // 2]), "largest": _shape(pixels[-1]),
        "different": len(sizes),
    }  # fmt: skip
    if n > _HEADERS:
        report.sizes["from_a_sample_of"] = len(positions)
    tiny = sum(count for size, count in sizes.items() if min(size) < 8)
    if tiny:
        _say(report, [f"{tiny} images are smaller than 8 pixels on a side"])
    long = sum(count for size, count in sizes.items() if max(size) > 4 * min(size))
    if long:
        _say(report, [f"{long} images are more than four times as long as wide: most of such an image is cut away"])


def _header(source: Source, position: int) -> tuple[str, tuple[int, int]] | None:
    """Return ("JPEG RGB", (width, height)), or None where there is none to read."""
    from PIL import Image, UnidentifiedImageError

    try:
        raw: Any = source.read(position)
        if isinstance(raw, np.ndarray):
            channels = raw.shape[2] if raw.ndim == 3 else 1
            return f"array of {channels} channel{'s' if channels > 1 else ''}", (raw.shape[1], raw.shape[0])
        with Image.open(io.BytesIO(raw)) as image:
            return f"{image.format} {image.mode}", image.size
    except (BadRecord, UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return None  # told by name among the broken


def _shape(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
