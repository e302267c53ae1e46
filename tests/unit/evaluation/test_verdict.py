"""The verdict: each answer from scores made for it, and what the sentence must not leave out."""

from __future__ import annotations

import numpy as np
import pytest

from bodh.evaluation.contests import labels_needed, written
from bodh.evaluation.result import Contest
from bodh.evaluation.verdict import decide


def scores(accuracy: float, *, draws: int = 5, records: int = 2000, seed: int = 0) -> np.ndarray:
    """Draws that differ by a point or so."""
    rng = np.random.default_rng([seed, int(accuracy * 1e4)])
    each = accuracy + rng.normal(0, 0.005, (draws, 1))
    return (rng.random((draws, records)) < each).astype(float)


def contest(per_class: int, share: float, **accuracy: float) -> Contest:
    arms = {arm: scores(value) for arm, value in accuracy.items()}
    level = f"{per_class} labels a class" if share < 1 else "all 1,000 labels"
    return Contest(level, 10 * per_class, share, per_class, arms)


def test_yes_says_level_figures_and_labels_saved() -> None:
    contests = (
        contest(1, 0.01, pretrained=0.7, raw=0.55, untrained=0.4),
        contest(2, 0.02, pretrained=0.8, raw=0.6, untrained=0.5),
        contest(8, 0.08, pretrained=0.9, raw=0.8, untrained=0.7),
    )
    verdict = decide(contests, classes=10)
    assert verdict.helped == "yes"
    assert verdict.sentence.startswith("With 2 labels a class: 79.1 % ± 1.9 against 59.1 % ± 1.1 of the best baseline")
    assert "raw input needs 4" in verdict.sentence
    assert [entry["counts_as"] for entry in verdict.evidence] == ["better"] * 3
    assert "raw" in {entry["best_baseline"] for entry in verdict.evidence}


def test_a_loss_with_all_labels_is_said_but_does_not_turn_a_yes() -> None:
    contests = (
        contest(2, 0.02, pretrained=0.8, raw=0.6, scratch=0.6),
        contest(100, 1.0, pretrained=0.9, raw=0.8, scratch=0.97),
    )
    verdict = decide(contests, classes=10)
    assert verdict.helped == "yes"
    assert "With all 1,000 labels, trained from scratch is ahead: 9" in verdict.sentence
    assert [entry["matters"] for entry in verdict.evidence] == [True, False]


def test_no_where_a_baseline_is_ahead() -> None:
    verdict = decide(
        (contest(2, 0.02, pretrained=0.6, raw=0.8), contest(5, 0.05, pretrained=0.7, raw=0.85)), classes=10
    )
    assert verdict.helped == "no"
    assert "−" in verdict.sentence


def test_better_here_and_worse_there_cannot_tell() -> None:
    contests = (contest(2, 0.02, pretrained=0.8, raw=0.6), contest(5, 0.05, pretrained=0.7, raw=0.85))
    verdict = decide(contests, classes=10)
    assert verdict.helped == "cannot tell"
    assert "clearly better at 1, clearly worse at 1" in verdict.sentence


def test_equal_within_chance_cannot_tell() -> None:
    close = {"pretrained": np.zeros((3, 100)), "raw": np.zeros((3, 100))}
    for draw, (own, other) in enumerate(((84, 80), (77, 80), (82, 80))):
        close["pretrained"][draw, :own] = close["raw"][draw, :other] = 1
    verdict = decide((Contest("2 labels a class", 20, 0.02, 2, close),), classes=10)
    assert verdict.helped == "cannot tell"
    assert "within chance" in verdict.sentence


def test_surely_no_gain_worth_having_is_a_no() -> None:
    same = scores(0.8)
    verdict = decide((Contest("2 labels a class", 20, 0.02, 2, {"pretrained": same, "raw": same.copy()}),), classes=10)
    assert verdict.evidence[0]["counts_as"] == "level"
    assert verdict.helped == "no"


@pytest.mark.parametrize(
    ("draws", "records", "few"),
    [
        (2, 500, "2 label draws are too"),
        (1, 500, "1 label draw is too"),
        (5, 10, "10 test records are too"),
        (5, 1, "1 test record is"),
    ],
)
def test_too_few_draws_or_records_cannot_tell_however_large_the_gain(draws: int, records: int, few: str) -> None:
    arms = {"pretrained": np.ones((draws, records)), "raw": np.zeros((draws, records))}
    verdict = decide((Contest("2 labels a class", 20, 0.02, 2, arms),), classes=10)
    assert verdict.helped == "cannot tell"
    assert verdict.sentence.startswith(f"{few} ")


def test_nothing_to_compare_with_cannot_tell() -> None:
    assert decide((contest(2, 0.02, pretrained=0.9),), classes=10).helped == "cannot tell"
    assert decide((), classes=10).helped == "cannot tell"


def test_what_was_not_compared_is_said() -> None:
    verdict = decide((contest(2, 0.02, pretrained=0.9, raw=0.5),), classes=10, missing=("scratch",))
    assert "Not compared with: trained from scratch" in verdict.sentence


def test_the_best_baseline_is_taken_at_every_level() -> None:
    contests = (
        contest(2, 0.02, pretrained=0.8, raw=0.6, scratch=0.5),
        contest(5, 0.05, pretrained=0.9, raw=0.7, scratch=0.8),
    )
    assert [entry["best_baseline"] for entry in decide(contests, classes=10).evidence] == ["raw", "scratch"]


def test_labels_needed_reads_the_curve_between_budgets() -> None:
    def exact(per_class: int, **accuracy: float) -> Contest:
        return Contest("", 10 * per_class, 0.01, per_class, {arm: np.full((3, 4), a) for arm, a in accuracy.items()})

    contests = (
        exact(1, pretrained=0.6, raw=0.4),
        exact(10, pretrained=0.9, raw=0.6),
        exact(100, pretrained=0.95, raw=0.8),
    )
    assert labels_needed(contests, contests[0], "raw") == (pytest.approx(10), "=")
    assert labels_needed(contests, contests[1], "raw") == (pytest.approx(10), ">")
    middle = (exact(1, pretrained=0.5, raw=0.4), exact(100, pretrained=0.9, raw=0.6))
    assert labels_needed(middle, middle[0], "raw") == (pytest.approx(10), "=")
    ahead = (exact(1, pretrained=0.3, raw=0.4),)
    assert labels_needed(ahead, ahead[0], "raw") == (1, "<")
    assert [written(3.14, "="), written(12.3, ">"), written(1, "<")] == ["3.1×", "> 12×", "< 1.0×"]
