"""bodh (बोध, "understanding"): learn without labels, prove that it helped, adapt with few labels, ship it.

Importing this package imports nothing heavy; the verbs load what they need when called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bodh.api.caption import caption as caption
    from bodh.api.compare import compare as compare
    from bodh.api.data import data as data
    from bodh.api.demo import demo as demo
    from bodh.api.doctor import doctor as doctor
    from bodh.api.embed import embed as embed
    from bodh.api.evaluate import evaluate as evaluate
    from bodh.api.export import export as export
    from bodh.api.fill import fill as fill
    from bodh.api.finetune import finetune as finetune
    from bodh.api.generate import generate as generate
    from bodh.api.list import list as list
    from bodh.api.load import Model as Model
    from bodh.api.load import load as load
    from bodh.api.predict import predict as predict
    from bodh.api.pretrain import pretrain as pretrain
    from bodh.api.search import search as search
    from bodh.api.serve import serve as serve
    from bodh.api.translate import translate as translate

__version__ = "0.1.0"

_VERBS = {
    "pretrain": "pretrain",
    "finetune": "finetune",
    "evaluate": "evaluate",
    "compare": "compare",
    "embed": "embed",
    "search": "search",
    "predict": "predict",
    "generate": "generate",
    "fill": "fill",
    "translate": "translate",
    "caption": "caption",
    "export": "export",
    "serve": "serve",
    "data": "data",
    "list": "list",
    "doctor": "doctor",
    "demo": "demo",
    "load": "load",
    "Model": "load",
}

__all__ = ["__version__", *_VERBS]


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(import_module(f"bodh.api.{_VERBS[name]}"), name)
    raise AttributeError(f"module 'bodh' has no attribute {name!r}")
