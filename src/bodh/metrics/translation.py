"""BLEU and chrF of what was written, by sacrebleu, with intervals over sentences.

Papers: Papineni et al. 2002, "BLEU", ACL; Popović 2015, "chrF", WMT; Post 2018, "A call for clarity in reporting BLEU
scores", arXiv 1804.08771 (sacrebleu); Koehn 2004, "Statistical significance tests for machine translation
evaluation", EMNLP (bootstrap over sentences, paired).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

from bodh._optional import require
from bodh.contracts import Json

METRICS = {"bleu": "BLEU", "chrf": "chrF2"}
"""The key of a figure, and what sacrebleu calls it."""


def figures(
    systems: Mapping[str, Sequence[str]], references: Sequence[Sequence[str]], *, draws: int
) -> tuple[dict[str, Json], dict[str, str]]:
    """Return of every system BLEU and chrF, 0 to 100, and how they were computed.

    Args:
        systems: name -> [n] texts; the first is compared with each other one.
        references: [n] of one or several texts each.
        draws: of the bootstrap over sentences; 0: no intervals.

    Returns:
        (system -> {"bleu", "bleu_low", "bleu_high", "bleu_p", "chrf", …}, metric -> sacrebleu's signature); the ends
        are of a 95 % interval, and p is how likely a difference to the first system as large is by chance.

    Raises:
        MissingExtra: the package sacrebleu is not installed.
    """
    library = require("sacrebleu", extra="text", feature="BLEU and chrF")
    most = max(map(len, references))
    streams = [[own[number] if number < len(own) else None for own in references] for number in range(most)]
    metrics = {"bleu": library.metrics.BLEU(), "chrf": library.metrics.CHRF()}
    found: dict[str, Json] = {name: {} for name in systems}
    if not draws:
        for name, texts in systems.items():
            found[name] = {key: metric.corpus_score(list(texts), streams).score for key, metric in metrics.items()}
        return found, {METRICS[key]: str(metric.get_signature()) for key, metric in metrics.items()}
    test = import_module("sacrebleu.significance").PairedTest
    named = [(name, list(texts)) for name, texts in systems.items()]
    told = {METRICS[key]: metric for key, metric in metrics.items()}
    signatures, results = test(named, told, streams, test_type="bs", n_samples=draws)()
    for key, name in METRICS.items():
        for system, one in zip(systems, results[name], strict=True):
            found[system][key] = float(one.score)
            found[system] |= {f"{key}_low": float(one.mean - one.ci), f"{key}_high": float(one.mean + one.ci)}
            if one.p_value is not None:
                found[system][f"{key}_p"] = float(one.p_value)
    return found, {name: str(signatures[name]) for name in METRICS.values()}
