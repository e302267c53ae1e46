"""The report of a run: what was learned from the log alone, before any label is looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bodh.contracts import Json

if TYPE_CHECKING:
    from bodh.api._training import Job
    from bodh.report.blocks import Block, Headline, Lines

SCORES = {
    "rankme": "RankMe (effective rank)",
    "lidar": "LiDAR",
    "alpha_req": "α-ReQ",
    "std": "feature deviation",
    "alignment": "alignment",
    "uniformity": "uniformity",
}


def write_report(run: Path, job: Job) -> None:
    """Write `report.html` of a finished run from its log and settings."""
    from bodh.report.blocks import Facts, Report
    from bodh.report.render import write
    from bodh.train.log import read

    records = read(run / "log.jsonl") if (run / "log.jsonl").exists() else []
    spec = job.network.spec
    parameters = sum(parameter.numel() for parameter in job.network.parameters())
    what = {
        "data": f"{job.data.source.name}: {len(job.positions):,} records to learn from",
        "objective": job.objective,
        "backbone": f"{spec.name} {dict(spec.arguments)}, {parameters:,} parameters",
        "device": job.device,
        "seed": str(job.config.seed),
        "data fingerprint": job.data.store.fingerprint,
    }
    settings = {
        f"{section}.{key}" if section else key: str(value)
        for section, config in job.sections.items()
        for key, value in config.model_dump(mode="json").items()
        if value is not None
    }
    report = Report(
        title=f"{job.verb} · {job.data.source.name}",
        subtitle=f"{job.objective} · {spec.name}",
        headline=headline(records, job.verb),
        blocks=[*curves(records), *sweep(run), Facts("What was trained", what), Facts("Settings", settings)],
    )
    write(report, run / "report.html")


def headline(records: list[Json], verb: str) -> Headline:
    """Return what the log says about the run: trained, or collapsed; never more than that."""
    from bodh.report.blocks import Headline

    steps = [record for record in records if record["kind"] == "step"]
    looks = [record for record in records if record["kind"] == "monitor"]
    if looks and looks[-1]["collapsed"]:
        return Headline(
            "Collapsed", "bad", "All records look alike to this model; its features are of little use.",
            [f"feature deviation {looks[-1]['std']:.4f}, effective rank {looks[-1]['rankme']:.1f}"],
        )  # fmt: skip
    evidence = []
    if steps:
        first, last = steps[0], steps[-1]
        evidence.append(
            f"loss {first['loss']:.3f} → {last['loss']:.3f} in {last['step']:,} steps, "
            f"{last['seconds'] / 60:.1f} minutes"
        )
    if looks:
        evidence.append(f"effective rank {looks[0]['rankme']:.0f} → {looks[-1]['rankme']:.0f}, no collapse")
    sentence = {
        "pretrain": "The run ended as planned. Whether it helped is for labels to say: type bodh evaluate.",
        "finetune": "The run ended as planned. How good it is on data it has not seen: type bodh evaluate.",
    }[verb]
    return Headline("Trained", "neutral", sentence, evidence)


def curves(records: list[Json]) -> list[Block]:
    """Return the charts of a log: loss and figures in training and validation, label-free scores, where time went."""
    from bodh.report.blocks import Lines, Series

    steps = [record for record in records if record["kind"] == "step" and record["loss"] is not None]
    looks = [record for record in records if record["kind"] == "monitor"]
    checks = [record for record in records if record["kind"] == "validation"]
    blocks: list[Block] = learning(steps, checks)
    if len(steps) > 1:
        at = [record["step"] for record in steps]
        shares = [
            Series(phase, at, [record[f"share_{phase}"] for record in steps])
            for phase in ("network", "views", "data", "other")
        ]
        blocks.append(Lines("Where the time goes", "step", "share of the time", shares, note=bound_note(steps)))
    if len(looks) > 1:
        blocks.extend(_score_chart(looks, name, title) for name, title in SCORES.items())
    return blocks


def learning(steps: list[Json], checks: list[Json]) -> list[Block]:
    """Return one chart of the loss, and one of every figure that validation has, both parts in each.

    Args:
        steps: records of kind "step": loss and figures of single batches.
        checks: records of kind "validation": the same names, over all validation records.
    """
    from bodh.report.blocks import Lines, Series

    known = [name for check in checks for name in check if name not in {"kind", "step", "epoch", "seconds"}]
    names = dict.fromkeys(["loss", *(["accuracy"] if any("accuracy" in step for step in steps) else []), *known])
    blocks: list[Block] = []
    for name in names:
        series = []
        for part, records in (("training", steps), ("validation", checks)):
            told = [(one["step"], one[name]) for one in records if isinstance(one.get(name), int | float)]
            if told:
                series.append(Series(part, [step for step, _ in told], [value for _, value in told]))
        if any(len(one.x) > 1 for one in series):
            title = name.replace("_", " ")
            note = (
                "training: single batches, as varied; validation: all its records, unvaried" if len(series) > 1 else ""
            )
            blocks.append(Lines(title[:1].upper() + title[1:], "step", title, series, note=note))
    return blocks


def sweep(run: Path) -> list[Block]:
    """Return the chart of the learning-rate finder, where it ran."""
    from bodh.report.blocks import Lines, Series
    from bodh.train.find import FILE

    if not (run / FILE).is_file():
        return []
    curve = json.loads((run / FILE).read_text(encoding="utf-8"))
    note = f"Chosen: {curve['chosen']:.2g} for a batch of {curve['batch']}, the middle of the loss's way down."
    series = [Series("smoothed loss", curve["rates"], curve["losses"])]
    return [Lines("Learning-rate finder", "learning rate", "loss", series, log_x=True, note=note)]


def _score_chart(looks: list[Json], name: str, title: str) -> Lines:
    from bodh.report.blocks import Lines, Series

    known = [look for look in looks if look[name] is not None]
    return Lines(
        title, "step", title, [Series(title, [look["step"] for look in known], [look[name] for look in known])]
    )


def bound_note(steps: list[Json]) -> str:
    """Return a sentence on what limits the pace."""
    share = sum(record["share_network"] for record in steps) / len(steps)
    if share >= 0.9:
        return f"The network itself takes {share:.0%} of the time: nothing else to gain."
    worst = max(("views", "data", "other"), key=lambda phase: sum(record[f"share_{phase}"] for record in steps))
    return f"The network itself takes only {share:.0%} of the time; {worst} limits the pace."
