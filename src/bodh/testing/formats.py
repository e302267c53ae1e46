"""What every export format must do; run it on your own: `check_format("myformat", tmp_path)`.

Each check raises AssertionError with a sentence. `small_model` makes the model that they export: a tiny untrained
network on scikit-learn's digits, real records that need no download. A format that is for other records says so
(`MODALITIES`), and gets `small_text_model`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import numpy as np

from bodh import _catalog
from bodh.contracts import Modality, NetworkSpec, Task
from bodh.errors import OutputError, ParityError

if TYPE_CHECKING:
    from bodh.model.loaded import LoadedModel


def small_model(
    folder: Path,
    *,
    classes: tuple[str, ...] = ("शून्य", *"123456789"),
    task: Task | None = "single",
    best_block: str | None = None,
) -> Path:
    """Save a tiny untrained model for 8x8 digits at `folder` and return it.

    Args:
        folder: the model folder to be.
        classes: class names; with () the model has no head.
        task: what labels mean; ignored without classes.
        best_block: see `model.save.save_model`.
    """
    from bodh.model.networks import build
    from bodh.model.save import save_model
    from bodh.records.open import open_source

    source = open_source("sklearn:digits")
    module = _catalog.get("modalities", "image")
    modality = cast("Modality", module.Modality.fit(source, module.ImageConfig(size=8)))
    shape = list(cast("Any", modality).prepared_shape)
    arguments = {"shape": shape, "widths": [4, 8, 8], "units": 16, "dropout": 0.5}
    specs = {"backbone": NetworkSpec("backbones", "cnn", arguments)}
    if classes:
        outputs = 1 if task == "binary" else len(classes)
        specs["head"] = NetworkSpec("heads", "linear", {"inputs": 16, "outputs": outputs})
    rows = [modality.decode(source.read(index)) for index in range(64)]
    save_model(
        folder,
        network=build(specs, seed=5),
        modality=modality,
        task=task if classes else None,
        class_names=classes,
        records=modality.standardise(rows),
        provenance={"data": {"name": source.name, "fingerprint": source.fingerprint, "records": len(source)}},
        metrics={},
        best_block=best_block,
    )
    return folder


TEXTS = (
    "a text", "नमस्ते दुनिया", "the quick brown fox jumps over the lazy dog", "one two three, four!", "naïve café",
    "to be, or not to be: that is the question", "short", "a longer text that is cut where its row ends, and no sooner",
)  # fmt: skip


def small_text_model(folder: Path, *, backbone: str = "transformer", speaks: bool = False, **arguments: Any) -> Path:
    """Save a tiny untrained network for texts, read by their characters, at `folder` and return it.

    Args:
        folder: the model folder to be.
        backbone: its name.
        speaks: it is a language model, with a head whose output weight is the embedding.
        arguments: of the backbone; those of a small transformer where there are none.
    """
    from bodh.model.networks import build
    from bodh.model.save import save_model

    module = _catalog.get("modalities", "text")
    config = module.TextConfig(tokenizer="characters", vocabulary=64, length=24)
    modality = cast("Any", module.Modality.fit(_Texts(), config))
    given = {"width": 16, "depth": 2, "heads": 2} if backbone == "transformer" else {}
    told = {"shape": list(modality.prepared_shape), **modality.network_arguments}
    networks = build({"backbone": NetworkSpec("backbones", backbone, {**told, **given, **arguments})}, seed=5)
    if speaks:
        read = cast("Any", networks["backbone"])
        head = _catalog.get("heads", "language").build(
            dim=read.dim, vocabulary=read.vocabulary, transform=not read.causal, eps=getattr(read, "eps", 1e-12)
        )
        head.tie(read.embedding)
        networks["head"] = head
    rows = [modality.decode(text.encode()) for text in TEXTS]
    save_model(
        folder,
        network=networks,
        modality=modality,
        task="tokens" if speaks else None,
        class_names=(),
        records=modality.standardise(rows),
        provenance={"data": {"name": "texts", "fingerprint": "0", "records": len(TEXTS)}},
        metrics={},
    )
    return folder


class _Texts:
    """`TEXTS` as a source."""

    name, modality, targets, class_names, fingerprint = "texts", "text", None, (), "0"
    ids = tuple(str(number) for number in range(len(TEXTS)))
    splits = np.array(["train"] * len(TEXTS))

    def __len__(self) -> int:
        return len(TEXTS)

    def read(self, index: int) -> bytes:
        """Return a text as UTF-8."""
        return TEXTS[index].encode()


def model_for(name: str, folder: Path) -> LoadedModel:
    """Return a tiny model, saved at `folder`, of records that the format `name` is for."""
    from bodh.model.loaded import load_model

    kinds = getattr(_catalog.get("exporters/formats", name), "MODALITIES", ("image",))
    return load_model((small_model if "image" in kinds else small_text_model)(folder))


def check_format(name: str, folder: Path) -> None:
    """Run every check on format `name`, with files under the empty folder `folder`.

    Raises:
        AssertionError: the format does not do what every format must.
    """
    model = model_for(name, folder / "model")
    for check in CHECKS:
        place = folder / check.__name__
        place.mkdir()
        check(name, model, place)


def check_parts(name: str, model: LoadedModel, folder: Path) -> None:  # noqa: ARG001
    """The file has what `contracts.Exporter` asks for, and a sentence on itself."""
    module = _catalog.get("exporters/formats", name)
    _insist(module.SUFFIX[:1] in ("", "."), f"{name}: SUFFIX is {module.SUFFIX!r}, it should start with a dot")
    _insist(module.SUFFIX or module.FILES, f"{name}: without a SUFFIX it is a folder, and FILES says what lies in it")
    _insist(callable(module.write), f"{name}: no write")
    _insist(callable(module.load), f"{name}: no load")
    _insist(_catalog.summary("exporters/formats", name) != "", f"{name}: the file says nothing about itself")


def check_parity(name: str, model: LoadedModel, folder: Path) -> None:
    """Every capability comes out with every one of its outputs, and the proof lies beside the file."""
    from bodh.exporters.export import BATCHES, export_model, files_in, parity_path

    expected: dict[str | None, set[str]] = {None: {"embedding"}, "embed": {"embedding"}}
    if model.manifest.task == "tokens":
        expected[None] = {"embedding", "logits"}
    if model.manifest.class_names:
        expected |= {None: {"embedding", "logits", "probabilities"}, "predict": {"logits", "probabilities"}}
    for capability, outputs in expected.items():
        path = folder / f"{capability}{_suffix(name)}"
        found = export_model(model, name, path, capability=capability)
        _insist({parity.output for parity in found} == outputs, f"{name}: outputs {found}, wanted {outputs}")
        _insist(all(parity.holds for parity in found), f"{name}: {found}")
        _insist(all(parity.batches[: len(BATCHES)] == BATCHES for parity in found), f"{name}: batches of {found}")
        proof = json.loads(parity_path(path).read_text(encoding="utf-8"))
        _insist(proof["format"] == name, f"{name}: the proof says {proof['format']}")
        size = sum(file.stat().st_size for file in files_in(path))
        _insist(proof["bytes"] == size, f"{name}: the proof is of another file")
        _no_trace(name, path)


def check_fails_closed(name: str, model: LoadedModel, folder: Path) -> None:
    """A file that computes something else is not left behind, nor is anything else; an older file stays."""
    from bodh.exporters.export import export_model

    module = _catalog.get("exporters/formats", name)
    honest = module.load

    def lying(path: Path, *, capability: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        replay = honest(path, capability=capability)
        return lambda rows: {output: value + 1e-2 for output, value in replay(rows).items()}

    path = _older(module, folder)
    with mock.patch.object(module, "load", lying):
        try:
            export_model(model, name, path, overwrite=True)
        except ParityError as error:
            _insist("nothing was written" in str(error), f"{name}: {error}")
        else:
            raise AssertionError(f"{name}: a file that computes something else was let through")
    _insist(_is_older(path), f"{name}: the older file is gone")
    left = sorted(found.name for found in folder.iterdir())
    _insist(left == [path.name], f"{name}: left behind: {left}")


def check_existing(name: str, model: LoadedModel, folder: Path) -> None:
    """A file that exists is not touched unless that was asked for; then the new one works, at any batch size."""
    from bodh.exporters.export import export_model

    path = _older(_catalog.get("exporters/formats", name), folder)
    try:
        export_model(model, name, path)
    except OutputError as error:
        _insist("exists already" in str(error), f"{name}: {error}")
    else:
        raise AssertionError(f"{name}: an existing file was overwritten")
    _insist(_is_older(path), f"{name}: the older file was changed")
    export_model(model, name, path, overwrite=True)
    capability = model.capability("all")
    replay: Callable[[np.ndarray], dict[str, np.ndarray]] = _catalog.get("exporters/formats", name).load(
        path, capability=capability
    )
    for size in (2, 17):
        rows = model.records()[:size]
        given, wanted = replay(rows), model.compute(rows, capability)
        for output in capability.output_names:
            difference = float(np.abs(given[output] - wanted[output]).max())
            _insist(difference < 1e-4, f"{name}: {output} differs by {difference} at batch size {size}")


def _no_trace(name: str, path: Path) -> None:
    """The file does not say where on which machine it was made."""
    from bodh.exporters.export import files_in

    content = b"".join(file.read_bytes() for file in files_in(path))
    for trace in (str(path.parent), str(Path(_catalog.__file__).parent), "site-packages"):
        _insist(trace.encode() not in content, f"{name}: the file holds {trace!r}")


def _older(module: Any, folder: Path) -> Path:
    """Put an older export there and return it."""
    path = folder / f"model{module.SUFFIX}"
    if not module.SUFFIX:
        path.mkdir()
    (path if module.SUFFIX else path / module.FILES[0]).write_bytes(b"older")
    return path


def _is_older(path: Path) -> bool:
    from bodh.exporters.export import files_in

    return [file.read_bytes() for file in files_in(path)] == [b"older"]


def _insist(holds: bool, told: str) -> None:
    if not holds:
        raise AssertionError(told)


def _suffix(name: str) -> str:
    suffix: str = _catalog.get("exporters/formats", name).SUFFIX
    return suffix


CHECKS: tuple[Callable[[str, LoadedModel, Path], None], ...] = (
    check_parts,
    check_parity,
    check_fails_closed,
    check_existing,
)
"""Every check, in order; each gets a folder of its own."""
