"""The models of one server, and the way of a request through it: decode in threads, compute in batches. No torch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from bodh.contracts import Modality
from bodh.errors import BadRecord, ModelError
from bodh.model.modality import modality_of
from bodh.serving import problems
from bodh.serving.batcher import Batcher, Closed, Outputs, QueueFull, TooLate
from bodh.serving.config import ServingConfig, cores
from bodh.serving.index import NeighbourIndex
from bodh.serving.runtimes.onnx import OnnxModel

Raw = bytes | np.ndarray
log = logging.getLogger("bodh")


@dataclass(frozen=True)
class Upload:
    """One record as it came: its bytes or array, and the name that messages call it by."""

    raw: Raw
    name: str


@dataclass
class Served:
    """One model on the server."""

    name: str
    model: OnnxModel
    modality: Modality
    batcher: Batcher
    index: NeighbourIndex | None = None

    @property
    def routes(self) -> tuple[str, ...]:
        """What can be asked of it: "predict", "embed", "neighbours"."""
        return (*self.model.capabilities, *(("neighbours",) if self.index is not None else ()))


@dataclass
class Engine:
    """All models of one process, with the pool that decodes for them.

    Attributes:
        models: by name; the first is the one that paths without a model's name mean.
        config: the limits.
        stopping: returns True once the server was told to stop; `/health` says so.
    """

    models: dict[str, Served]
    config: ServingConfig
    stopping: Callable[[], bool] = field(default=lambda: False)
    _active: int = 0

    def __post_init__(self) -> None:
        self._decoders = ThreadPoolExecutor(self.config.decoders or cores(), thread_name_prefix="bodh-decode")

    def find(self, name: str | None) -> Served:
        """Return the model of that name, or the first one.

        Raises:
            Refused: 404, there is none.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise problems.unknown(f"no model named {name[:80]!r}; there are: {', '.join(self.models)}")
        return self.models[name]

    def trouble(self) -> str | None:
        """Return why the server cannot answer now, or None: what `/health` goes by."""
        if self.stopping():
            return "shutting down"
        return self._dead()

    def _dead(self) -> str | None:
        dead = [name for name, served in self.models.items() if not served.batcher.alive]
        return f"the model {', '.join(dead)} stopped working" if dead else None

    @contextmanager
    def admitted(self) -> Iterator[float]:
        """Hold one of the places for requests; yields the deadline (`time.monotonic`).

        Raises:
            Refused: 429, all places are taken; 503, the server is broken. A request that came in while the server
                is stopping is still answered: it was accepted.
        """
        if dead := self._dead():
            raise problems.not_ready(dead)
        if self._active >= self.config.requests:
            raise problems.busy()
        self._active += 1
        try:
            yield time.monotonic() + self.config.seconds
        finally:
            self._active -= 1

    async def outputs(self, served: Served, uploads: Sequence[Upload], *, deadline: float) -> Outputs:
        """Return the outputs [n …] of all uploads of one request.

        Raises:
            Refused: 422, one is not a record or gave no finite numbers; 429, too much is waiting; 503; 504.
        """
        loop = asyncio.get_running_loop()
        work = [loop.run_in_executor(self._decoders, _decode, served.modality, upload) for upload in uploads]
        try:
            rows = _joined(await asyncio.gather(*work), served.modality)
        except BaseException:
            for one in work:
                one.cancel()
            raise
        try:
            future = served.batcher.submit(_fitting(rows, served.model), deadline=deadline)
        except QueueFull:
            raise problems.busy() from None
        except Closed:
            raise problems.not_ready("shutting down") from None
        try:
            outputs = await asyncio.wrap_future(future)
        except TooLate:
            raise problems.too_late() from None
        except Closed:
            raise problems.not_ready("shutting down") from None
        _insist_on_finite(outputs, uploads)
        return outputs

    def close(self) -> None:
        """Finish what was accepted, then stop all threads."""
        end = time.monotonic() + self.config.drain_seconds
        for served in self.models.values():
            served.batcher.close(seconds=max(0.0, end - time.monotonic()))
        self._decoders.shutdown(wait=True, cancel_futures=True)


def start(
    models: Mapping[str, OnnxModel],
    *,
    config: ServingConfig,
    indexes: Mapping[str, NeighbourIndex] | None = None,
) -> Engine:
    """Return a running engine: every model has computed once before, so the first request is as fast as the next.

    Raises:
        ModelError: a model cannot compute, or its modality is unknown to this bodh.
    """
    if not models:
        raise ModelError("no model to serve; type: bodh serve MODEL")
    served = {}
    for name, model in models.items():
        modality = modality_of(model.manifest.modality, model.read)
        try:
            model.compute(model.blank())
        except Exception as error:  # the runtime raises its own, all derived from Exception alone
            raise ModelError(f"model {name!r} cannot compute: {' '.join(str(error).split())[:200]}") from error
        batcher = Batcher(model.compute, largest=config.batch, waiting=config.waiting, name=name)
        served[name] = Served(name, model, modality, batcher, (indexes or {}).get(name))
    return Engine(served, config)


def _decode(modality: Modality, upload: Upload) -> np.ndarray:
    """Return one upload as the model's input `[1 …]`; runs in a thread."""
    try:
        return modality.standardise([modality.decode(upload.raw)])
    except BadRecord as error:
        raise problems.unreadable(f"{upload.name}: {error}") from None
    except (ValueError, TypeError) as error:
        log.info("%s could not be decoded: %s", upload.name, error)
        raise problems.unreadable(f"{upload.name}: not a record of modality {modality.name!r}") from None
    except MemoryError:
        raise problems.too_large(f"{upload.name}: too large to decode") from None


def _joined(parts: Sequence[np.ndarray], modality: Modality) -> np.ndarray:
    """Return records `[1 …]` as one array; of texts, the shorter ones are filled up."""
    longest = max(part.shape[1] for part in parts)
    if parts[0].ndim == 2 and any(part.shape[1] < longest for part in parts):
        padding = getattr(modality, "network_arguments", {}).get("padding", 0)
        parts = [np.pad(part, ((0, 0), (0, longest - part.shape[1])), constant_values=padding) for part in parts]
    return np.concatenate(parts)


def _fitting(rows: np.ndarray, model: OnnxModel) -> np.ndarray:
    """Return `rows` after a last look: what reaches the runtime has the type and shape that it expects."""
    want = model.input.shape
    fits = rows.ndim == len(want) and all(a == b for a, b in zip(rows.shape, want, strict=True) if isinstance(b, int))
    if not fits or rows.dtype != model.input.dtype:
        raise problems.unreadable(f"records have shape {list(rows.shape[1:])}; the model takes {list(want[1:])}")
    return rows


def _insist_on_finite(outputs: Outputs, uploads: Sequence[Upload]) -> None:
    for name, value in outputs.items():
        if np.issubdtype(value.dtype, np.floating):
            broken = np.flatnonzero(~np.isfinite(value.reshape(len(value), -1)).all(axis=1))
            if len(broken):
                raise problems.unreadable(f"{uploads[int(broken[0])].name}: the model's {name} is not a finite number")
