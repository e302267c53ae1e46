"""`compare --transfer`: feature extraction or fine-tuning, and from which start, on the user's own labels.

Every start is fine-tuned in every way that it can be, several times: each time another part of the training records is
held out as validation, and another draw of labels where only some may be used. The recommendation looks at validation
figures alone: of all ways whose gap to the best one may be chance, the one that trains the fewest weights. Test records
are predicted at the end and choose nothing.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.errors import BodhError, ConfigError, DataError, Interrupted
from bodh.metrics.intervals import Interval, pooled_interval

if TYPE_CHECKING:
    from bodh.api.compare import Comparison
    from bodh.api.load import Model
    from bodh.contracts import Source

logger = logging.getLogger("bodh")

SEEDS = 3
HELD_OUT = 0.2
WITHOUT_INTERVAL = 0.01
"""The gap that counts as chance where there is one seed only."""
WAYS = {"frozen": "backbone", "last stage": 1, "all": "none"}


@dataclass(frozen=True)
class Start:
    """Where an arm starts: `title` in words, what `finetune` is given as start and settings, the ways it can go."""

    title: str
    start: Any
    settings: Json
    ways: tuple[str, ...]
    typed: str


@dataclass
class Arm:
    """One start and one way, and what every seed gave: a score for each of its validation and test records."""

    start: Start
    way: str
    validation: list[np.ndarray]
    test: list[np.ndarray]
    seconds: list[float]
    trained: int = 0
    failed: str = ""

    @property
    def title(self) -> str:
        """Return start and way in words."""
        return f"{self.start.title}, {self.way}"


def compare_transfer(
    data: Any, *, start: str | Sequence[str] | None, minutes: float | None, folder: Path, backbone: str, device: str,
    seed: int, settings: Json,
) -> Comparison:  # fmt: skip
    """Fine-tune from every start in every way, and recommend one; see `compare`."""
    from bodh.api import _training

    settings = dict(settings)
    seeds = settings.pop("seeds", SEEDS)
    start = _with_weights(start, settings.pop("weights", None))
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise ConfigError(f"seeds: {seeds!r} is no number of repetitions; write seeds=3")
    source = _training.open_data(data, _training.early_data_config(settings))
    if source.targets is None:
        raise DataError(f"{source.name} has no labels, which comparing transfer needs; leave --transfer out")
    arms = [Arm(one, way, [], [], []) for one in starts(start, backbone, source, device) for way in one.ways]
    each = "its default length" if minutes is None else f"{minutes:g} minutes"
    logger.info("%d ways, %d times each, %s a training", len(arms), seeds, each)
    for number in range(seeds):
        own = derive_seed("transfer", seed, number) % 2**31
        held = _with_validation(source, own)
        for place, arm in enumerate(arms):
            if not arm.failed:
                out = folder / f"{place + 1}-{arm.way.replace(' ', '-')}-{number + 1}"
                _run(arm, held, out, settings | _length(arm, minutes), device=device, seed=own)
    return _conclude(arms, folder, source, seeds, settings)


def starts(given: str | Sequence[str] | None, backbone: str, source: Source, device: str) -> list[Start]:
    """Return the untrained network and every start that was named.

    "resnet20,weights=FILE" is one start: published weights. The untrained network is that of the first model.

    Raises:
        ConfigError: weights without a name before them.
        ModelError: no such model.
    """
    from bodh.api._settings import default_backbone
    from bodh.api.load import load
    from bodh.train.engine import resolve_device

    words = _words(given)
    named: list[tuple[str, Json]] = []
    for word in words:
        if word.startswith("weights="):
            if not named or named[-1][1]:
                raise ConfigError(f"{word}: of which network? type --from resnet18,{word}")
            named[-1][1]["weights"] = word.removeprefix("weights=")
        elif word:
            named.append((word, {}))
    found, bare = [], Start("", default_backbone(source.modality, resolve_device(device).type), {}, ("all",), "")
    if backbone != "auto":
        bare = replace(bare, start=backbone)
    for word, weights in named:
        if weights or not (Path(word).exists() or "/" in word):
            typed = ",".join([word, *(f"weights={path}" for path in weights.values())])
            ways = tuple(WAYS) if weights else ("all",)
            found.append(Start(typed if weights else f"{word} (untrained)", word, weights, ways, typed))
            continue
        model = load(word)
        if backbone == "auto" and not any(one.start is not None and "weights" not in one.settings for one in found):
            bare = _untrained(model)
        found.append(Start(word, word, {}, tuple(WAYS), word))
    name = str(bare.start)
    return [replace(bare, title=f"untrained {name}", typed=name), *found]


def _words(given: str | Sequence[str] | None) -> list[str]:
    """Return what `--from` names, one after the other."""
    return [str(word).strip() for word in (given.split(",") if isinstance(given, str) else given or ())]


def _with_weights(given: str | Sequence[str] | None, weights: Any) -> list[str]:
    """Return what `--from` names, with `weights=FILE`, written as for `finetune`, beside the one name it belongs to.

    Raises:
        ConfigError: several names, or none, or weights already.
    """
    words = _words(given)
    if weights is None:
        return words
    if len(words) != 1 or Path(words[0]).exists():
        raise ConfigError(
            f"weights: {str(weights)!r} are of one network; write them behind its name: --from A,resnet18,weights=FILE"
        )
    return [*words, f"weights={weights}"]


def _untrained(model: Model) -> Start:
    """Return the same network and preparation without what it learned."""
    entry = model.manifest.networks["backbone"]
    arguments = {key: value for key, value in entry.arguments.items() if key != "shape"}
    member = arguments.pop("model", None)
    own: Json = {f"backbone.{key}": value for key, value in arguments.items()}
    config = model.manifest.modality.config
    own |= {f"modality.{key}": config[key] for key in ("size", "channels") if config.get(key) is not None}
    name = entry.name if member is None else f"{entry.name}:{member}"
    return Start("", name, own, ("all",), name)


def _with_validation(source: Source, seed: int) -> Source:
    """Return the source with a part of its training records held out as "test" too: nothing of it is trained on.

    The data's own validation part serves where it has one; positions are told apart in `_run`.
    """
    from bodh.api._training import SPLIT_SEED
    from bodh.records.labels import relabelled
    from bodh.records.splits import labelled, stratified_split, train_val_test

    targets = np.asarray(source.targets)
    parts = train_val_test(cast("Any", source), SPLIT_SEED)
    validation = parts["val"]
    if not len(validation):
        known = parts["train"][labelled(targets[parts["train"]])]
        if len(known) < 10:
            raise DataError(f"{source.name} has {len(known)} labelled training records; at least 10 are needed")
        _, rest = stratified_split(targets[known], fraction=1 - HELD_OUT, seed=seed)
        validation = known[rest]
    splits = np.full(len(targets), "train", dtype="<U5")
    splits[parts["test"]] = "test"
    splits[validation] = "test"
    twin: Any = relabelled(source, targets, source.class_names)
    twin.splits = splits
    twin.asked = {"validation": validation, "test": parts["test"]}
    return cast("Source", twin)


def _length(arm: Arm, minutes: float | None) -> Json:
    return {} if minutes is None or arm.way == "frozen" else {"minutes": minutes}


def _run(arm: Arm, source: Source, out: Path, settings: Json, *, device: str, seed: int) -> None:
    """Fine-tune once and note down what came out; an arm that fails is left out from then on."""
    from bodh.api.finetune import finetune

    begun = time.monotonic()
    given = settings if arm.way != "frozen" else {k: v for k, v in settings.items() if k not in ("epochs", "minutes")}
    try:
        model = finetune(
            source, start=arm.start.start, freeze=cast("Any", WAYS[arm.way]), out=out, device=device, seed=seed,
            **(given | arm.start.settings),
        )  # fmt: skip
    except Interrupted:
        raise
    except (BodhError, RuntimeError) as error:  # one that fails must not take the others with it
        arm.failed = " ".join(str(error).split())[:300]
        logger.warning("%s failed: %s", arm.title, arm.failed)
        return
    arm.seconds.append(time.monotonic() - begun)
    arm.trained = _trained(model)
    for part, scores in (("validation", arm.validation), ("test", arm.test)):
        scores.append(_score(model, source, part, device))
    logger.info(
        "%s: %.1f %% on validation records, %.1f s", arm.title, 100 * arm.validation[-1].mean(), arm.seconds[-1]
    )


def _trained(model: Model) -> int:
    """Return the number of weights that training changed."""
    network = model.loaded("cpu").network
    frozen = set(model.manifest.provenance.get("notes", {}).get("freeze", ()))
    stages = cast("Any", network["backbone"]).block_modules()
    kept = {id(p) for name in frozen for module in stages.get(name, ()) for p in module.parameters()}
    return sum(p.numel() for p in network.parameters() if id(p) not in kept)


def _score(model: Model, source: Source, part: str, device: str) -> np.ndarray:
    """Return the scores [n] of records of `part` that have a label: accuracy, of numbers R², of several labels
    ranking precision.
    """
    from bodh.metrics import regression
    from bodh.metrics.classification import record_scores
    from bodh.records.splits import labelled
    from bodh.records.store import open_store

    loaded = model.loaded(device)
    store = open_store(source, loaded.modality)
    place = {name: number for number, name in enumerate(store.ids)}
    wanted = [place[source.ids[i]] for i in cast("Any", source).asked[part] if source.ids[i] in place]
    positions = np.array(wanted, dtype=np.int64)
    targets = np.asarray(store.targets)
    positions = positions[labelled(targets[positions])]
    said, truth = loaded.predict_rows(store, positions), targets[positions]
    if truth.dtype.kind == "f":
        return regression.record_scores(said, truth)
    return record_scores(said, truth, "accuracy" if truth.ndim == 1 else "ranking_precision")


def recommend(arms: Sequence[Arm]) -> tuple[Arm, str]:
    """Return the arm to take and why: the cheapest of those whose gap to the best may be chance.

    Args:
        arms: that came to their end, at least one; the same seeds, with the same validation records each.
    """
    best = max(arms, key=lambda arm: pooled_interval(arm.validation).mean)
    level = []
    for arm in arms:
        gap = _gap(best, arm)
        chance = gap.mean <= WITHOUT_INTERVAL if gap.low is None else gap.low <= 0
        if arm is best or chance:
            level.append(arm)
    chosen = min(level, key=lambda arm: (arm.trained, float(np.mean(arm.seconds))))
    figure, most = f"{_percent(chosen.validation)}", f"{_percent(best.validation)}"
    if chosen is best:
        others = f"; {len(level) - 1} others are within chance of it but train more" if len(level) > 1 else ""
        return chosen, f"{chosen.title}: the best on validation records ({figure}){others}."
    gap = _gap(best, chosen)
    points = (
        "one run each" if gap.low is None else f"{100 * gap.low:+.1f} to {100 * cast('float', gap.high):+.1f} points"
    )
    why = f"the gap to the best, {best.title} ({most}), may be chance ({points})"
    return (
        chosen,
        f"{chosen.title}: {figure} on validation records; {why}, and it trains {chosen.trained:,} weights only.",
    )


def _gap(best: Arm, arm: Arm) -> Interval:
    """Return how far `arm` is behind, record by record, with its interval."""
    return pooled_interval([one - other for one, other in zip(best.validation, arm.validation, strict=True)])


def _percent(scores: Sequence[np.ndarray]) -> str:
    interval = pooled_interval(scores)
    return f"{100 * interval.mean:.1f} %" + ("" if interval.half is None else f" ± {100 * interval.half:.1f}")


def _conclude(arms: list[Arm], folder: Path, source: Source, seeds: int, settings: Json) -> Comparison:
    """Return table, recommendation and report.

    Raises:
        DataError: no arm came to its end.
    """
    from bodh.api.compare import Comparison
    from bodh.report.blocks import Facts, Headline, Report, Table
    from bodh.report.render import write

    done = [arm for arm in arms if not arm.failed and len(arm.validation) == seeds]
    if not done:
        raise DataError(f"no way came to its end; the first one says: {arms[0].failed}")
    chosen, sentence = recommend(done)
    if lost := len(arms) - len(done):
        sentence += f" {lost} of {len(arms)} failed."
    rows = [_row(arm, done) for arm in arms]
    freeze = {"frozen": " --freeze backbone", "last stage": " --freeze 1", "all": " --freeze none"}[chosen.way]
    typed = "".join(f" {key}={value}" for key, value in chosen.start.settings.items())
    line = f"bodh finetune {getattr(source, 'origin', '') or 'DATA'} --from {chosen.start.start}{freeze}{typed}"
    columns = list(rows[0])
    kind = "R²" if np.asarray(source.targets).dtype.kind == "f" else "accuracy"
    note = f"{kind}; ± is a 95 % interval over {seeds} seeds and over records; test records chose nothing"
    facts = {"data": source.name, "seeds": str(seeds), **{key: str(value) for key, value in settings.items()}}
    blocks = [Table("Starts and ways", columns, [[row[c] for c in columns] for row in rows], note=note)]
    report = folder / "report.html"
    page = Report("compare --transfer", folder.name, Headline("Recommended", "good", f"{sentence} Type: {line}"), [
        *blocks, Facts("Settings", facts),
    ])  # fmt: skip
    write(page, report)
    found = Comparison(rows, sentence, chosen.title, report, line)
    (folder / "transfer.json").write_text(json.dumps(found.to_json(), ensure_ascii=False, indent=1), encoding="utf-8")
    return found


def _row(arm: Arm, done: list[Arm]) -> Json:
    told = arm in done
    validation, test = (pooled_interval(scores) if told else None for scores in (arm.validation, arm.test))
    return {
        "start": arm.start.title,
        "way": arm.way,
        "trained": arm.trained if told else None,
        "seconds": round(float(np.mean(arm.seconds)), 1) if told else None,
        "validation": None if validation is None else validation.mean,
        "± validation": None if validation is None else validation.half,
        "test": None if test is None else test.mean,
        "± test": None if test is None else test.half,
        "failed": arm.failed or None,
    }
