"""What lies beside the report of a classifier: confusion and figures as text, CSV and JSON, and pictures."""

from __future__ import annotations

import csv
import io
import json
import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json
from bodh.errors import OutputError

if TYPE_CHECKING:
    from bodh.evaluation.prove import Proof
    from bodh.evaluation.result import Judged
    from bodh.metrics.curves import ClassCurve
    from bodh.report.figures import Line

logger = logging.getLogger("bodh")

SCORES = ("precision", "recall", "f1")


def judged_of(proof: Proof) -> Judged | None:
    """Return what the model's own classifier said, else the linear probe where it ran; None where nothing was told."""
    from bodh.evaluation.judge import judge

    for result in proof.results.values():
        if result.judged is not None:
            return result.judged
    context = proof.context
    if "linear" not in proof.results or context.measured:
        return None
    return judge(
        "the linear probe on all training labels", context.class_names, context.probe("pretrained"),
        context.targets("test"), context.positions["test"], draws=context.config.bootstrap, seed=context.config.seed,
    )  # fmt: skip


def write_files(folder: Path, proof: Proof) -> list[str]:
    """Write the files of a classifier into `folder` and return their names; none where nothing was classified.

    Raises:
        OutputError: a file cannot be written.
    """
    from bodh.metrics.classification import confusion

    judged = judged_of(proof)
    if judged is None:
        return []
    names = judged.class_names
    texts = {
        "classification.txt": classification_text(judged, proof.context.store.name),
        "classes.csv": _csv(_class_rows(judged)),
        "classes.json": _json({"classes": judged.classes, **_summary(judged)}),
    }
    counts: np.ndarray | None = None
    if not judged.several:
        counts = confusion(judged.probabilities.argmax(axis=1), judged.targets, len(names))
        texts["confusion.csv"] = _csv(
            [["true \\ predicted", *names], *([n, *row] for n, row in zip(names, counts.tolist(), strict=True))]
        )
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        texts["confusion.json"] = _json(
            {"class_names": names, "counts": counts.tolist(), "shares_of_true_class": shares.round(6).tolist()}
        )
    for name, text in texts.items():
        _write(folder / name, text)
    pictures = write_pictures(folder, judged, counts) if proof.context.config.pictures else []
    return [*texts, *pictures]


def classification_text(judged: Judged, data: str) -> str:
    """Return the report for a terminal or a mail: classes, averages, figures with intervals, commonest confusions."""
    from bodh.evaluation.judge import averages

    header = ["", "precision", "recall", "F1", "records"]
    rows = [[row["class"], *(f"{row[s]:.4f}" for s in SCORES), f"{row['records']}"] for row in judged.classes]
    means = [[f"{row['average']} average", *(f"{row[s]:.4f}" for s in SCORES), ""] for row in averages(judged)]
    figures = []
    for name, value in judged.figures.items():
        ends = judged.intervals.get(name)
        shown = "–" if value is None else f"{value}" if isinstance(value, int) else f"{value:.4f}"
        figures.append([name.replace("_", " "), shown, f"({ends[0]:.4f} to {ends[1]:.4f})" if ends else ""])
    title = f"{judged.who} on {len(judged.targets):,} test records of {data}"
    parts = [title, _aligned([header, *rows]), _aligned([header, *means]), _aligned(figures)]
    return "\n\n".join(parts) + "\n\n(in brackets: 95 % interval, percentile bootstrap over test records)\n"


def write_pictures(folder: Path, judged: Judged, counts: np.ndarray | None) -> list[str]:
    """Draw the pictures and return their names; says in one line where class names cannot be written in them."""
    from bodh.metrics import curves
    from bodh.report import figures
    from bodh.report.figures import Line

    written = figures.lettering(judged.class_names)
    if written.problem:
        logger.warning(
            "%s: the pictures number the classes; confusion.svg and its like, opened in a browser, and report.html "
            "show the names", written.problem,
        )  # fmt: skip
    calibration = curves.reliability(judged.probabilities, judged.targets)
    made: list[str] = []
    for suffix in (".png", ".svg") if written.problem else (".png",):
        # an SVG leaves its text to the reader's fonts, so it can always hold the names
        names = judged.class_names if suffix == ".svg" or not written.problem else _numbers(judged.class_names)
        how = written if suffix == ".png" else figures.Lettering(written.fonts)
        drawn = {}
        with figures.style(how):
            if counts is not None:
                drawn["confusion"] = figures.confusion(counts, names, how)
            drawn["classes"] = figures.classes(judged.classes, names, how)
            for key, found, title, labels in (
                ("roc", curves.roc, "ROC", ("false positive rate", "true positive rate")),
                ("pr", curves.precision_recall, "Precision and recall", ("recall", "precision")),
            ):
                lines = _lines(found(judged.probabilities, judged.targets), names)
                if lines:
                    drawn[key] = figures.curves(
                        lines, title=title, x_label=labels[0], y_label=labels[1], diagonal=key == "roc",
                        steps=key == "pr", written=how,
                    )  # fmt: skip
            drawn["reliability"] = figures.curves(
                [Line("right", calibration.confidence, calibration.accuracy)], title="Reliability",
                x_label="confidence", y_label="share right", diagonal=True, steps=False, written=how,
            )  # fmt: skip
        for key, figure in drawn.items():
            figures.save(figure, folder / f"{key}{suffix}", how)
            made.append(f"{key}{suffix}")
    return made


def _lines(found: list[ClassCurve], names: Sequence[str]) -> list[Line]:
    """Return all decisions together, then the classes, of more than nine those with the smallest area."""
    from bodh.report.figures import Line

    if not found:
        return []
    shown = sorted(sorted(found[1:], key=lambda one: one.area)[:9], key=lambda one: one.label)
    return [
        Line(f"{'all decisions' if one.label < 0 else names[one.label]} ({one.area:.3f})", one.x, one.y)
        for one in (found[0], *shown)
    ]


def _numbers(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, len(names) + 1))


def _summary(judged: Judged) -> Json:
    from bodh.evaluation.judge import averages

    ends = {name: list(pair) for name, pair in judged.intervals.items()}
    return {"averages": averages(judged), "figures": judged.figures, "intervals": ends, "who": judged.who}


def _class_rows(judged: Judged) -> list[list[object]]:
    from bodh.evaluation.judge import averages

    columns = list(judged.classes[0])
    rows: list[list[object]] = [["kind", "number", *columns]]
    rows += [["class", number, *row.values()] for number, row in enumerate(judged.classes, start=1)]
    for row in averages(judged):
        rows.append(["average", "", row["average"], *(row.get(name, "") for name in columns[1:])])
    return rows


def _csv(rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _json(content: Json) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns: the first to the left, the others to the right; marks over letters take no room."""
    widths = [max(_width(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) if place == 0 else " " * (width - _width(cell)) + cell
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _width(text: str) -> int:
    wide = {"W": 2, "F": 2}
    return sum(
        0 if unicodedata.category(letter) in ("Mn", "Me", "Cf") else wide.get(unicodedata.east_asian_width(letter), 1)
        for letter in text
    )


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another --out") from error
