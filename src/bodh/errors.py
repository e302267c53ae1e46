"""Everything that bodh raises on purpose.

    BodhError                     exit 1   ours, or the run's
    ├── UserError                 exit 2   the input was wrong; one line says what, where, what to do
    │   ├── ConfigError                    unknown or invalid settings, all of them at once
    │   ├── UnknownName                    no objective, backbone, format … of that name
    │   ├── DataError                      the data cannot be used
    │   │   └── BadRecord                  one record cannot be read (collected in skipped.csv)
    │   ├── ModelError                     a model folder or checkpoint cannot be trusted or read
    │   ├── OutputError                    the output exists, cannot be written, or the disk is full
    │   ├── DeviceError                    the device asked for is not there
    │   └── MissingExtra                   an optional dependency is not installed
    ├── Diverged                           the loss was not a number too often
    ├── ParityError                        an exported file does not compute what the model computes
    └── Interrupted               128+n    a signal ended the run; it can be resumed

Messages follow one pattern: what was wrong, what was given, what is allowed, what to type.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from difflib import get_close_matches


class BodhError(Exception):
    """Root of every error that bodh raises on purpose; `exit_code` is what the command returns."""

    exit_code = 1


class UserError(BodhError):
    """The input was wrong; the message is one line that says what, where and what to do."""

    exit_code = 2


class ConfigError(UserError):
    """Unknown or invalid settings, collected so that all are told at once."""


class UnknownName(UserError):
    """A name that no file and no entry point provides."""

    def __init__(self, kind: str, given: str, allowed: Iterable[str]) -> None:
        names = sorted(set(allowed))
        super().__init__(f"no {kind} named {given!r}{suggestion(given, names)}; there are: {', '.join(names)}")


class DataError(UserError):
    """The data cannot be used as asked."""


class BadRecord(DataError):
    """One record cannot be read; the message is the reason that goes into `skipped.csv`."""


class ModelError(UserError):
    """A model folder or a checkpoint is damaged, of an unknown version, or not what it says it is."""


class OutputError(UserError):
    """The output exists already, cannot be written, or does not fit on the disk."""


class DeviceError(UserError):
    """The device asked for is not there."""


class MissingExtra(UserError):
    """An optional dependency is not installed; the message names the line that installs it."""


class Diverged(BodhError):
    """The loss or its gradient was not a number too many times in a row."""


class ParityError(BodhError):
    """An exported file does not compute what the model computes; nothing was left behind."""


class Interrupted(BodhError):
    """A signal ended the run after a finished step and a saved checkpoint."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal.Signals(number)
        self.exit_code = 128 + number


def suggestion(given: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the nearest of `allowed`, or an empty string."""
    near = get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
