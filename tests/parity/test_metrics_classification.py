"""Figures of classifiers against scikit-learn's own functions, and by hand where it has none."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from bodh.metrics import classification, clusters

rng = np.random.default_rng(0)
N, K = 200, 4
targets = rng.choice(K, N, p=[0.5, 0.3, 0.15, 0.05])
logits = rng.normal(size=(N, K)) + 1.5 * np.eye(K)[targets]
probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
predicted = probabilities.argmax(axis=1)
many = (rng.random((N, K)) < 0.3).astype(np.uint8)
many[:3] = 0
each = 1 / (1 + np.exp(-(rng.normal(size=(N, K)) + 2 * many - 1)))


def test_single_label() -> None:
    figures = classification.single_label(probabilities, targets)
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(targets, predicted))
    assert figures["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(targets, predicted))
    assert figures["f1_macro"] == pytest.approx(metrics.f1_score(targets, predicted, average="macro"))
    assert figures["recall_weighted"] == pytest.approx(metrics.recall_score(targets, predicted, average="weighted"))
    assert figures["roc_auc"] == pytest.approx(metrics.roc_auc_score(targets, probabilities, multi_class="ovr"))
    assert figures["pr_auc"] == pytest.approx(metrics.average_precision_score(np.eye(K)[targets], probabilities))
    assert figures["log_loss"] == pytest.approx(metrics.log_loss(targets, probabilities))


def test_several_labels() -> None:
    figures = classification.several_labels(each, many)
    assert figures["mean_average_precision"] == pytest.approx(metrics.average_precision_score(many, each))
    assert figures["f1_micro"] == pytest.approx(metrics.f1_score(many, each >= 0.5, average="micro"))
    assert figures["wrong_decisions"] == pytest.approx(metrics.hamming_loss(many, each >= 0.5))
    assert figures["all_right"] == pytest.approx(metrics.accuracy_score(many, (each >= 0.5).astype(np.uint8)))
    assert figures["ranking_precision"] == pytest.approx(metrics.label_ranking_average_precision_score(many, each))


def test_confusion_and_per_class() -> None:
    np.testing.assert_array_equal(
        classification.confusion(predicted, targets, K), metrics.confusion_matrix(targets, predicted)
    )
    rows = classification.per_class(probabilities, targets, ["अ", "b", "c", "d"])
    assert rows[0]["class"] == "अ"
    assert [row["f1"] for row in rows] == pytest.approx(list(metrics.f1_score(targets, predicted, average=None)))
    assert sum(row["records"] for row in rows) == N


def test_classes_without_test_records_do_not_count_and_do_not_warn() -> None:
    wider = np.concatenate([probabilities * 0.6, np.full((N, 1), 0.4)], axis=1)
    figures = classification.single_label(wider, targets)
    right = wider.argmax(axis=1) == targets
    assert figures["balanced_accuracy"] == pytest.approx(np.mean([right[targets == k].mean() for k in range(K)]))
    assert 0 <= figures["roc_auc"] <= 1
    assert classification.per_class(wider, targets, list("abcde"))[4]["records"] == 0


def test_one_class_only_has_no_curve_area() -> None:
    figures = classification.single_label(np.tile([0.8, 0.2], (5, 1)), np.zeros(5, dtype=int))
    assert figures["accuracy"] == 1
    assert figures["roc_auc"] is None


def test_calibration_error_by_hand() -> None:
    sure = np.array([[0.9, 0.1]] * 10)
    truth = np.array([0] * 6 + [1] * 4)
    assert classification.calibration_error(sure, truth) == pytest.approx(0.3)
    assert classification.calibration_error(np.array([[1.0, 0.0]] * 4), np.zeros(4, dtype=int)) == 0


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_record_scores_average_to_the_metric(metric: str) -> None:
    scores = classification.record_scores(probabilities, targets, metric)
    assert scores.mean() == pytest.approx(classification.single_label(probabilities, targets)[metric])


def test_record_scores_refuse_what_no_record_has() -> None:
    with pytest.raises(ValueError, match="'roc_auc'"):
        classification.record_scores(probabilities, targets, "roc_auc")


def test_clusters_find_separated_groups_and_survive_constants() -> None:
    group = np.repeat(np.arange(3), 30)
    features = np.eye(3)[group] * 10 + rng.normal(size=(90, 3))
    found = clusters.clusters(features, 3, seed=0)
    assert clusters.agreement(found, group) == {"nmi": pytest.approx(1), "ari": pytest.approx(1)}
    assert clusters.agreement(clusters.clusters(np.ones((20, 3)), 3, seed=0), np.arange(20) % 3)["ari"] == 0
