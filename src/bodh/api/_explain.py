"""Maps of what decided, for one image in hand or for every input of `predict`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.contracts import Json
from bodh.errors import DataError, ModelError, OutputError, UnknownName

if TYPE_CHECKING:
    from bodh.api.load import Model
    from bodh.model.loaded import LoadedModel

_UNSAFE = re.compile(r'[\\/:*?"<>|\x00-\x1f]+')


@dataclass(frozen=True)
class Explanation:
    """Where the evidence for a class lies in one image.

    Attributes:
        id: of the image.
        class_name: what is explained.
        probability: what the model gives it; of measured numbers the number.
        method: "grad-cam" (of this class), or "attention rollout" (the same for every class).
        map: [h w] float32, 0 to 1, of the image as the network sees it.
        png: the image in grey with the map over it.
    """

    id: str
    class_name: str
    probability: float
    method: str
    map: np.ndarray
    png: bytes

    def save(self, path: str | Path) -> Path:
        """Write the picture and return where.

        Raises:
            OutputError: it cannot be written.
        """
        return _save(Path(path), self.png)

    def _repr_png_(self) -> bytes:
        return self.png


def explain(handle: Model, image: Any, class_name: str | None = None, *, device: str = "auto") -> Explanation:
    """Return where the evidence for a class lies in an image.

    Args:
        handle: a model with classes.
        image: a path, bytes, PIL image or array of one image.
        class_name: of which class; None: of the one that the model tells.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        UnknownName: the model has no such class.
        ModelError: no classes, no images, or no place to point at.
        BadRecord: the image cannot be read.
        DataError: there is not exactly one image.
    """
    from bodh.api._inputs import insist, read_rows
    from bodh.model.explain import explain as explain_rows
    from bodh.model.explain import overlay

    names = handle.manifest.class_names
    if not names:
        raise ModelError(
            f"this model has no classes yet, so nothing decides: {handle.folder}; "
            f"type: bodh finetune LABELLED --from {handle.folder}"
        )
    if class_name is not None and class_name not in names:
        raise UnknownName("class", class_name, names)
    model = handle.loaded(device)
    batch = next(iter(read_rows(model.modality, image)))
    if len(batch.ids) != 1:
        raise DataError("several images were given; explain takes one; for many type: bodh predict … --explain FOLDER")
    rows = insist(batch)
    said = _said(model, rows)[0]
    chosen = int(said.argmax()) if class_name is None else names.index(class_name)
    values, method = explain_rows(model, rows, np.array([chosen]))
    return Explanation(batch.ids[0], names[chosen], float(said[chosen]), method, values[0], overlay(rows[0], values[0]))


class Drawer:
    """Writes one picture an input into a folder.

    Args:
        folder: made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def draw(self, model: LoadedModel, ids: list[str], rows: np.ndarray, said: np.ndarray) -> list[Json]:
        """Draw what decided, and return where: one {"explanation", "explained_by"} a row.

        Args:
            model: that said it.
            ids: [n].
            rows: [n h w c] standardised.
            said: [n k] probabilities or numbers; the largest is explained.

        Raises:
            ModelError: the network has no place to point at.
            OutputError: a picture cannot be written.
        """
        from bodh.model.explain import explain as explain_rows
        from bodh.model.explain import overlay

        values, method = explain_rows(model, rows, said.argmax(axis=1))
        return [
            {"explanation": str(_save(self._path(name), overlay(row, heat))), "explained_by": method}
            for name, row, heat in zip(ids, rows, values, strict=True)
        ]

    def _path(self, name: str) -> Path:
        """Return a free name in the folder: that of the input, numbered where it is taken."""
        plain = _UNSAFE.sub("_", str(Path(name).with_suffix(""))).strip("_. ") or "input"
        stem, number = plain, 2
        while stem in self._taken:
            stem, number = f"{plain}-{number}", number + 1
        self._taken.add(stem)
        return self._folder / f"{stem}.png"


def _said(model: LoadedModel, rows: np.ndarray) -> np.ndarray:
    output = "value" if model.manifest.task == "regress" else "probabilities"
    return model.compute(rows, model.capability("predict"))[output]


def _save(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror}; choose another place") from error
    return path
