"""The models of one server, and the way of a request through it: decode in threads, compute in batches. No torch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from bodh.contracts import Modality
from bodh.errors import BadRecord, ModelError
from bodh.model.fill import Filler
from bodh.model.modality import modality_of
from bodh.serving import problems
from bodh.serving.batcher import Batcher, Closed, Outputs, QueueFull, TooLate
from bodh.serving.config import ServingConfig, cores
from bodh.serving.index import NeighbourIndex
from bodh.serving.runtimes.onnx import OnnxModel
from bodh.serving.turns import Job, Turns, Work

if TYPE_CHECKING:
    from bodh.model.on_onnx import OnnxTranslator, OnnxWriter

T = TypeVar("T")
Raw = bytes | np.ndarray
log = logging.getLogger("bodh")


@dataclass(frozen=True)
class Upload:
    """One record as it came: its bytes or array, and the name that messages call it by."""

    raw: Raw
    name: str


@dataclass
class Served:
    """One model on the server.

    Attributes:
        writer: what writes texts, or None; `turns` lets requests have it in turn.
        filler: what knows the gaps of texts, or None.
    """

    name: str
    model: OnnxModel
    modality: Modality
    batcher: Batcher
    index: NeighbourIndex | None = None
    filler: Filler | None = None
    writer: OnnxWriter | OnnxTranslator | None = None
    turns: Turns | None = None

    @property
    def routes(self) -> tuple[str, ...]:
        """What can be asked of it: "predict", "embed", "fill", "generate", "translate", "neighbours"."""
        return (*self.model.capabilities, *(("neighbours",) if self.index is not None else ()))

    @property
    def alive(self) -> bool:
        """True while its threads run."""
        return self.batcher.alive and (self.turns is None or self.turns.alive)

    @property
    def waiting(self) -> int:
        """Records that wait, and texts that are not written yet."""
        return self.batcher.waiting + (0 if self.turns is None else self.turns.waiting)

    def close(self, seconds: float) -> None:
        """Finish what was accepted within `seconds`, then stop its threads."""
        end = time.monotonic() + seconds
        if self.turns is not None:
            self.turns.close(seconds=seconds)
        self.batcher.close(seconds=max(0.0, end - time.monotonic()))


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
        dead = [name for name, served in self.models.items() if not served.alive]
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
        outputs = await self.computed(served, rows, deadline=deadline)
        _insist_on_finite(outputs, uploads)
        return outputs

    async def computed(self, served: Served, rows: np.ndarray, *, deadline: float) -> Outputs:
        """Return the outputs [n …] of standardised `rows` [n …].

        Raises:
            Refused: 422, they do not fit the model; 429, too much is waiting; 503; 504.
        """
        try:
            future = served.batcher.submit(_fitting(rows, served.model), deadline=deadline)
        except QueueFull:
            raise problems.busy() from None
        except Closed:
            raise problems.not_ready("shutting down") from None
        try:
            return await asyncio.wrap_future(future)
        except TooLate:
            raise problems.too_late() from None
        except Closed:
            raise problems.not_ready("shutting down") from None

    async def in_thread(self, read: Callable[[], T]) -> T:
        """Return what `read` returns, on one of the threads that decode."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, read)

    def write(self, served: Served, work: Work, *, deadline: float, tell: Callable[[str], None]) -> Job:
        """Queue a text to be written; `tell` gets its pieces, on another thread.

        Raises:
            Refused: 429, too many wait; 503.
        """
        try:
            return cast("Turns", served.turns).submit(work, deadline=deadline, tell=tell)
        except QueueFull:
            raise problems.busy() from None
        except Closed:
            raise problems.not_ready("shutting down") from None

    async def written(self, job: Job) -> Any:
        """Return the result of a job, once it is written; leaves it where the caller does.

        Raises:
            Refused: 503; 504.
        """
        try:
            return await asyncio.wrap_future(job.future)
        except TooLate:
            raise problems.too_late(problems.SHORTER) from None
        except Closed:
            raise problems.not_ready("shutting down") from None
        finally:
            job.leave()

    def close(self) -> None:
        """Finish what was accepted, then stop all threads."""
        end = time.monotonic() + self.config.drain_seconds
        for served in self.models.values():
            served.close(max(0.0, end - time.monotonic()))
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
            if model.outputs:
                model.compute(model.blank())
            writer = None if model.steps is None else model.steps.writer(cast("Any", modality).tokens())
            if writer is not None:
                _warm(writer)
        except Exception as error:  # the runtime raises its own, all derived from Exception alone
            raise ModelError(f"model {name!r} cannot compute: {' '.join(str(error).split())[:200]}") from error
        served[name] = Served(
            name, model, modality,
            Batcher(model.compute, largest=config.batch, waiting=config.waiting, name=name),
            (indexes or {}).get(name),
            Filler(modality) if "fill" in model.capabilities else None,
            writer,
            None if writer is None else Turns(at_once=config.writing, waiting=config.unwritten, name=name),
        )  # fmt: skip
    return Engine(served, config)


def _warm(writer: Any) -> None:
    """Let a writer write one token."""
    begin = np.full((1, 2), writer.tokens.begin, np.int64)
    state = writer.read(begin, 2) if hasattr(writer, "read") else writer.start(1, 2)
    state.advance(begin[:, :1])


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
