"""The run folder: made once, never overwritten, resumed only with the settings it was started with."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bodh.config.base import Config
from bodh.config.dump import dump_toml
from bodh.contracts import Json
from bodh.errors import ConfigError, OutputError

MAY_CHANGE = {"log_every", "progress", "keep_checkpoints", "checkpoint_minutes", "cache", "workers", "budget_gb"}
"""Settings that change nothing in the result and so may differ when a run is resumed."""


def check_out(out: str | Path | None, *, resume: bool) -> None:
    """Refuse a bad output folder before anything is computed; makes nothing.

    Raises:
        OutputError: `out` exists and `resume` was not asked for, or there is nothing to resume, or no leave to write.
    """
    if out is None:
        return
    folder = Path(out)
    if resume:
        if not (folder / "plan.json").is_file():
            raise OutputError(f"there is no run to resume in {folder}; leave --resume out to start one")
        return
    if folder.exists() and (not folder.is_dir() or _has_content(folder)):
        raise OutputError(f"{folder} exists already; choose another --out, or type --resume to continue that run")
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise OutputError(f"cannot write into {parent}; choose another --out")


def open_run(out: str | Path | None, *, name: str, resume: bool) -> Path:
    """Make and return the folder of the run: `out`, or runs/NAME with a number where that exists.

    Raises:
        OutputError: as `check_out`.
    """
    folder = Path(out) if out is not None else _free(Path("runs"), name, last=resume)
    check_out(folder, resume=resume)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from error
    return folder


@dataclass(frozen=True)
class Identity:
    """What makes two runs the same run.

    Attributes:
        verb: "pretrain" or "finetune".
        arguments: what the verb was asked for, as plain values.
        sections: resolved settings.
        fingerprint: of the data.
        reusable: those arguments that `--config config.toml` can give to another run.
    """

    verb: str
    arguments: Json
    sections: Mapping[str, Config]
    fingerprint: str
    reusable: Json

    def to_json(self) -> Json:
        """Return everything as plain values."""
        settings = {name: config.model_dump(mode="json") for name, config in self.sections.items()}
        return {"verb": self.verb, "arguments": self.arguments, "settings": settings, "data": self.fingerprint}


def record_plan(run: Path, identity: Identity) -> None:
    """Write config.toml and plan.json, from which `check_plan` tells whether a resumed run is the same run."""
    draft = run / ".plan.json"  # first, and whole or not at all: from now on the run can be resumed
    draft.write_text(json.dumps(identity.to_json(), ensure_ascii=False), encoding="utf-8")
    draft.replace(run / "plan.json")
    (run / "config.toml").write_text(dump_toml(identity.sections, identity.reusable), encoding="utf-8")


def check_plan(run: Path, identity: Identity) -> None:
    """Compare with what the run was started with.

    Raises:
        ConfigError: settings or data differ; every difference is named.
    """
    before: Json = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    old, new = _flat(before), _flat(json.loads(json.dumps(identity.to_json())))
    different = [
        f"{key}: the run has {old.get(key)!r}, given {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.rsplit(".", 1)[-1] not in MAY_CHANGE
    ]
    if different:
        raise ConfigError(
            f"{run} was started with other settings: {'; '.join(different)}; resume it with its own, or start a new run"
        )


def _has_content(folder: Path) -> bool:
    """Return True where `folder` holds more than the draft of a run that was killed before it began."""
    return any(path.name != ".plan.json" for path in folder.iterdir())


def _flat(tree: Json, prefix: str = "") -> Json:
    flat: Json = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _free(root: Path, name: str, *, last: bool) -> Path:
    """Return the first free runs/NAME, NAME-2, …; with `last` the newest that exists."""
    stem = re.sub(r"[^\w.-]+", "-", name, flags=re.UNICODE).strip("-.") or "run"
    number = 1
    while (root / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    number -= 1 if last and number > 1 else 0
    return root / (stem if number == 1 else f"{stem}-{number}")
