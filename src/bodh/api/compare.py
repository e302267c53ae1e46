"""`compare`: several objectives, or several ways to transfer, the same budget each, one table."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodh.contracts import Json
from bodh.errors import BodhError, ConfigError, Interrupted, UnknownName

if TYPE_CHECKING:
    from bodh.evaluation.prove import Proof

logger = logging.getLogger("bodh")

SCORES = ("rankme", "lidar", "alpha_req", "std", "alignment", "uniformity")


@dataclass(frozen=True)
class Comparison:
    """What several objectives made of the same data in the same time.

    Attributes:
        table: one row an objective, and one each for the floors: seconds, accuracy by kNN, linear probe and label
            budget (with labels), label-free scores, and why it failed where it did.
        sentence: what the table says, in words.
        best: the objective that is ahead on labels; None without labels, or where none is ahead of the others.
        report: the page.
        line: what to type for the way that is recommended (`transfer`); else "".
    """

    table: list[Json]
    sentence: str
    best: str | None
    report: Path
    line: str = ""

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        told: Json = {"sentence": self.sentence, "best": self.best, "table": self.table, "report": str(self.report)}
        return told | ({"line": self.line} if self.line else {})


def compare(
    data: Any,
    *,
    objectives: str | Sequence[str] = "",
    minutes: float | None = None,
    transfer: bool = False,
    start: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    backbone: str = "auto",
    device: str = "auto",
    seed: int = 0,
    **settings: Any,
) -> Comparison:
    """Compare objectives of pretraining, or ways to transfer to labels, and put them into one table.

    Objectives get the same minutes each. With labels in the data, each is measured by nearest neighbours, linear probe
    and two label budgets on test records, beside an untrained network and the raw input; without labels, by label-free
    scores, which do not rank objectives. An objective that fails gets its row with the reason; the others go on.

    With `transfer`: feature extraction or fine-tuning, and from which start? An untrained network and every start are
    fine-tuned frozen, in the last stage and wholly, on the data's own labels. On held-out validation records, with
    intervals over seeds, the cheapest way that is not clearly behind the best is recommended; test figures of all
    are shown and choose nothing.

    Args:
        data: folder, file, named data set or array, labelled or not.
        objectives: names, as in simclr,byol,moco.
        minutes: wall-clock budget of every training; measuring comes on top.
        transfer: compare starts and ways of fine-tuning instead of objectives.
        start: models, or backbones with published weights, to transfer from: runs/a,resnet18,weights=FILE.
        out: folder; one run for every objective and the report; by default runs/NAME-compare.
        backbone: the network, the same for all.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: root of all randomness, the same for all.
        **settings: settings of every training, as in `key=value` on the command line: batch, modality.size,
            modality.views.flip, data.label …; of every fine-tuning: epochs, labels_per_class, and seeds=3. A setting
            that one of them does not know makes it fail, and is said.

    Returns:
        the table, what it says, and the report.

    Raises:
        UnknownName: no such objective; told before anything is trained.
        UserError: all of them failed for the same kind of reason; the first one is told.
        Interrupted: a signal stopped the run that was going on.

    Example:
        bodh compare photos/ --objectives simclr,byol --minutes 5
        bodh compare labelled/ --transfer --from runs/photos --minutes 1
    """
    from bodh.api.load import load
    from bodh.api.pretrain import pretrain

    if transfer or start is not None:
        _check_transfer(objectives, minutes, transfer=transfer)
        from bodh.api._compare_transfer import compare_transfer

        return compare_transfer(
            data, start=start, minutes=minutes, folder=_folder(out, data, "transfer"), backbone=backbone, device=device,
            seed=seed, settings=settings,
        )  # fmt: skip
    names = _names(objectives, minutes)
    folder = _folder(out, data)
    rows: list[Json] = []
    floors: list[Json] = []
    failures: list[BodhError | RuntimeError] = []
    for name in names:
        started = time.monotonic()
        row: Json = {"objective": name}
        try:
            model = pretrain(
                data, objective=name, minutes=minutes, out=folder / name, backbone=backbone, device=device, seed=seed,
                **settings,
            )  # fmt: skip
            row["seconds"] = round(time.monotonic() - started, 1)
            proof = _measure(load(model), data, settings, device=device, seed=seed, floors=not floors)
            row |= _figures(proof, "pretrained")
            floors = floors or [
                {"objective": title, "seconds": 0.0, **_figures(proof, arm)}
                for arm, title in (("untrained", "(untrained network)"), ("raw", "(raw input)"))
            ]
        except Interrupted:
            raise
        except (BodhError, RuntimeError) as error:  # one that fails must not take the others with it
            row |= {"seconds": round(time.monotonic() - started, 1), "failed": " ".join(str(error).split())[:300]}
            failures.append(error)
            logger.warning("%s failed: %s", name, row["failed"])
        rows.append(row)
    if len(failures) == len(names):
        raise failures[0]
    best, sentence = _conclude(rows, len(failures))
    settled = {"minutes each": f"{minutes or 0:g}", "backbone": backbone, "seed": str(seed)}
    report = _report(folder, [*rows, *floors], sentence, settled | {key: str(value) for key, value in settings.items()})
    return Comparison([*rows, *floors], sentence, best, report)


def _check_transfer(objectives: str | Sequence[str], minutes: float | None, *, transfer: bool) -> None:
    """Raise ConfigError where what was given belongs to the other comparison, or there is no time."""
    if not transfer:
        raise ConfigError("start: objectives are compared from random weights; to compare starts type --transfer")
    if objectives:
        raise ConfigError("objectives: --transfer compares ways of fine-tuning; leave --objectives or --transfer out")
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"minutes: {minutes!r} is no budget; type --minutes 5")


def _names(objectives: str | Sequence[str], minutes: float | None) -> list[str]:
    """Return the objectives' names, checked.

    Raises:
        ConfigError: fewer than one, or no time.
        UnknownName: one that does not exist.
    """
    from bodh import _catalog

    given = objectives.split(",") if isinstance(objectives, str) else list(objectives)
    names = list(dict.fromkeys(name.strip() for name in given if name.strip()))
    if not names:
        raise ConfigError("objectives: none was given; type --objectives simclr,byol")
    if minutes is None or not minutes > 0:
        raise ConfigError(f"minutes: {minutes!r} is no budget; type --minutes 5")
    for name in names:
        if name not in _catalog.names("objectives"):
            raise UnknownName("objective", name, _catalog.names("objectives"))
        if _catalog.get("objectives", name).NEEDS.labels:
            raise ConfigError(
                f"objectives: {name!r} learns from labels; compare those that do not, or type bodh finetune"
            )
    return names


def _folder(out: str | Path | None, data: Any, kind: str = "compare") -> Path:
    from bodh.api._run import open_run

    stem = Path(str(data)).name if isinstance(data, str | os.PathLike) else "array"
    return open_run(out, name=f"{stem.replace(':', '-')}-{kind}", resume=False)


def _measure(model: Any, data: Any, settings: Json, *, device: str, seed: int, floors: bool) -> Proof:
    """Return kNN, linear probe, label budgets (with labels) and label-free scores of `model`."""
    from bodh.api._inputs import open_records
    from bodh.evaluation.config import EvaluationConfig
    from bodh.evaluation.prove import prove

    loaded = model.loaded(device)
    store = open_records(loaded.modality, data, {k: v for k, v in settings.items() if k.split(".")[0] == "data"})
    labelled = store.targets is not None and len(store.class_names) > 1
    asked: Json = {
        "protocols": ("budget", "linear", "knn", "label_free") if labelled else ("label_free",),
        "baselines": ("untrained", "raw") if floors else ("none",),
        "budgets": ("1%", "10%"),
        "seed": seed,
    }
    config = EvaluationConfig.model_validate(asked)
    return prove(loaded, store, config=config)


def _figures(proof: Proof, arm: str) -> Json:
    """Return one row's figures: accuracies first, then label-free scores."""
    found = {name: result.figures[arm] for name, result in proof.results.items() if arm in result.figures}
    row: Json = {}
    if "knn" in found:
        metric = proof.context.metric
        row = {"knn": found["knn"][metric], "linear": found["linear"][metric], **found["budget"]}
    scores = found.get("label_free", {})
    row |= {name: scores[name] for name in SCORES if name in scores}
    return row | ({"collapsed": scores["collapsed"]} if scores else {})


def _conclude(rows: list[Json], failed: int) -> tuple[str | None, str]:
    """Return the objective that is ahead, if one is, and a sentence."""
    done = [row for row in rows if "failed" not in row]
    lost = f" {failed} of {len(rows)} failed." if failed else ""
    if not any("linear" in row for row in done):
        return None, f"Without labels there is no ranking: label-free scores do not compare objectives.{lost}"
    if len(done) == 1:
        return None, f"Only {done[0]['objective']} came to its end: linear probe {done[0]['linear']:.1%}.{lost}"
    columns = [key for key in done[0] if key in ("knn", "linear") or "label" in key]
    leaders = {max(done, key=lambda row, key=key: row[key])["objective"] for key in columns}  # type: ignore[misc]
    told = ", ".join(f"{row['objective']} {row['linear']:.1%}" for row in done)
    if len(leaders) == 1:
        best = leaders.pop()
        return (
            best,
            f"{best} is ahead by every measure (linear probe: {told}); one run each: small gaps say nothing.{lost}",
        )
    return None, f"No objective is ahead by every measure (linear probe: {told}); one run each.{lost}"


def _report(folder: Path, rows: list[Json], sentence: str, what: dict[str, str]) -> Path:
    from bodh.report.blocks import Facts, Headline, Report, Table
    from bodh.report.render import write

    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [
        ["yes" if row.get(c) is True else "no" if row.get(c) is False else row.get(c) for c in columns] for row in rows
    ]
    report = Report(
        title="compare",
        subtitle=folder.name,
        headline=Headline("Compared", "neutral", sentence),
        blocks=[
            Table("Objectives", columns, cells, note="one run each; accuracies as fractions"),
            Facts("Settings", what),
        ],
    )
    path = folder / "report.html"
    write(report, path)
    return path
