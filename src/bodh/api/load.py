"""Load a model folder, and the light handle that every verb takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodh.contracts import Json
from bodh.model.folder import Folder, read_folder
from bodh.model.manifest import Manifest

if TYPE_CHECKING:
    import numpy as np

    from bodh.api._explain import Explanation
    from bodh.api._writing import Writings
    from bodh.api.export import Exported
    from bodh.api.fill import Fillings
    from bodh.api.generate import Generated, Streamed
    from bodh.api.predict import Predictions
    from bodh.api.search import Neighbours
    from bodh.evaluation.verdict import Verdict
    from bodh.model.loaded import LoadedModel


def load(path: str | Path | Model) -> Model:
    """Load a model; all files are checked, and no code from the folder is ever run.

    Args:
        path: a model folder, or a run folder with a model in it; a model comes back as it is. The folder of a
            published language model (config.json, weights, tokenizer.json), or hf:NAME, which fetches one, is made
            into one, once, in the cache.

    Returns:
        a handle; the weights are read when they are first needed.

    Raises:
        ModelError: there is none, or it is damaged, incomplete, or of an unknown version.

    Example:
        model = bodh.load("runs/photos")
    """
    from bodh.api._converted import converted, is_published

    if isinstance(path, Model):
        return path
    return Model(read_folder(converted(path) if is_published(path) else path))


class Model:
    """A model on disk, checked; its weights are read on first use.

    Attributes:
        folder: where it lies.
        run: the run that made it, or None where the model lies by itself.
        manifest: what it says of itself.
    """

    def __init__(self, verified: Folder) -> None:
        self._verified = verified
        self._loaded: dict[str, LoadedModel] = {}

    @property
    def folder(self) -> Path:
        """Where the model lies."""
        return self._verified.path

    @property
    def run(self) -> Path | None:
        """The folder of the run that made the model, or None."""
        parent = self.folder.parent
        return parent if self.folder.name == "model" and (parent / "config.toml").is_file() else None

    @property
    def manifest(self) -> Manifest:
        """What the model says of itself."""
        return self._verified.manifest

    @property
    def digest(self) -> str:
        """The sha256 of the weights."""
        return self._verified.digest

    def read_again(self) -> None:
        """Take up what lies in the folder now: another block may have been remembered in it."""
        self._verified = read_folder(self.folder)
        self._loaded.clear()

    def loaded(self, device: str = "auto") -> LoadedModel:
        """Return the model in memory; read once for each device.

        Raises:
            DeviceError: the device is not here.
            ModelError: the weights do not fit what the manifest says.
        """
        from bodh.model.loaded import load_model
        from bodh.train.engine import resolve_device

        place = resolve_device(device)
        if str(place) not in self._loaded:
            self._loaded[str(place)] = load_model(self.folder, place)
        return self._loaded[str(place)]

    def embed(
        self, inputs: Any, *, device: str = "auto", normalise: bool = False, dimensions: int | None = None
    ) -> np.ndarray:
        """Return features `[n d]` of `inputs`: paths, texts, bytes, PIL images, or arrays `[h w c]`, `[n h w c]`.

        `dimensions=N` keeps the first N numbers, `normalise=True` then brings vectors to length 1. For data of any
        size, written to a file, there is `bodh.embed`.
        """
        from bodh.api.embed import vectors

        return vectors(self, inputs, device=device, normalise=normalise, dimensions=dimensions)

    def predict(self, inputs: Any, *, device: str = "auto", **options: Any) -> Predictions:
        """Return what the model sees in `inputs`: paths, texts, bytes, PIL images, or arrays; see `bodh.predict`.

        `shots=` (a folder, or {class: examples}) gives it other classes, without training.
        """
        from bodh.api.predict import predict

        return predict(self, inputs, device=device, **options)

    def explain(self, image: Any, class_name: str | None = None, *, device: str = "auto") -> Explanation:
        """Return where in one image the evidence for a class lies: `.map` [h w], 0 to 1, and `.png`.

        Grad-CAM where the network has a map; attention rollout for transformers, which is the same for every class.
        """
        from bodh.api._explain import explain

        return explain(self, image, class_name, device=device)

    def generate(self, prompts: Any = None, *, device: str = "auto", **options: Any) -> Generated | Streamed:
        """Return how the model goes on with `prompts`, one or several; see `bodh.generate`."""
        from bodh.api.generate import generate

        return generate(self, prompts, device=device, **options)

    def fill(self, texts: Any, *, top: int = 5, device: str = "auto") -> Fillings:
        """Return which words belong into the gaps of `texts`, one or several; see `bodh.fill`."""
        from bodh.api.fill import fill

        return fill(self, texts, top=top, device=device)

    def caption(self, pictures: Any, *, device: str = "auto", **options: Any) -> Writings:
        """Return what the model writes for `pictures`, one or several; see `bodh.caption`."""
        from bodh.api.caption import caption

        return caption(self, pictures, device=device, **options)

    def translate(self, texts: Any, *, device: str = "auto", **options: Any) -> Writings:
        """Return what the model writes for `texts`, one or several; see `bodh.translate`."""
        from bodh.api.translate import translate

        return translate(self, texts, device=device, **options)

    def search(self, data: Any, query: Any, *, top: int = 10, device: str = "auto", **settings: Any) -> Neighbours:
        """Return the records of `data` nearest to `query`; see `bodh.search`."""
        from bodh.api.search import search

        return search(self, data, query, top=top, device=device, **settings)

    def export(
        self,
        format: str,  # noqa: A002 -- the word of the command line
        out: str | Path,
        *,
        capability: str | None = None,
        data: Any = None,
        overwrite: bool = False,
    ) -> Exported:
        """Write the model as `format` to `out` and prove it; see `bodh.export`."""
        from bodh.api.export import export

        return export(self, format=format, out=out, capability=capability, data=data, overwrite=overwrite)

    def evaluate(self, data: Any, **settings: Any) -> Verdict:
        """Say whether learning without labels helped on labelled `data`; see `bodh.evaluate`."""
        from bodh.api.evaluate import evaluate

        return evaluate(self, data, **settings)

    def to_json(self) -> Json:
        """Return where the model lies and what it says of itself, as JSON values."""
        manifest = self.manifest.to_json()
        return {"model": str(self.folder), "run": str(self.run) if self.run else None, **manifest}

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self._facts())
        return f"<bodh.Model {str(self.folder)!r}: {facts}>"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self._facts())
        return f"<table><caption>{escape(str(self.folder))}</caption>{rows}</table>"

    def _facts(self) -> Sequence[tuple[str, str]]:
        manifest = self.manifest
        backbone = manifest.networks["backbone"]
        facts = [
            ("modality", manifest.modality.name),
            ("backbone", str(backbone.arguments.get("model", backbone.name))),
            ("can", ", ".join(sorted(manifest.capabilities))),
        ]
        if manifest.class_names:
            shown = ", ".join(manifest.class_names[:5])
            more = f" … ({len(manifest.class_names)})" if len(manifest.class_names) > 5 else ""
            facts.append(("measures" if manifest.task == "regress" else "classes", shown + more))
        return facts
