"""Metrics of a classifier, against counting by hand, on every backend."""

from __future__ import annotations

import json
from math import isnan

import numpy as np
import pytest

from xpnet import metrics
from xpnet.backends.dispatch import backend_of, name_of

N, C = 60, 4


@pytest.fixture
def scores(rng):
    """With equal scores among them, so that it matters which one is first."""
    return rng.integers(0, 4, size=(N, C)).astype("float32")


@pytest.fixture
def labels(rng):
    return rng.integers(0, C, size=N).astype("uint8")


def first_of_the_largest(row):
    return max(range(len(row)), key=lambda c: (row[c], -c))


def counted(found, truth, classes):
    """The definition: one more in row t, column y for each sample."""
    matrix = np.zeros((classes, classes), dtype=int)
    for y, t in zip(found, truth, strict=True):
        matrix[int(t), int(y)] += 1
    return matrix


def host(a):
    return backend_of(a).to_numpy(a)


@pytest.mark.parametrize("truth", ["labels", "one-hot"])
@pytest.mark.parametrize("decided", [False, True], ids=["scores", "decided"])
def test_confusion_matrix_and_accuracy_count_samples(truth, decided, array, scores, labels):
    found = [first_of_the_largest(row) for row in scores]
    y = array(found, "int32") if decided else array(scores)
    t = array(labels) if truth == "labels" else array(np.eye(C, dtype="float32")[labels])
    matrix = metrics.confusion_matrix(y, t, classes=C)
    assert name_of(matrix) == name_of(y)
    expected = counted(found, labels, C)
    assert host(matrix).dtype.kind == "i"
    np.testing.assert_array_equal(host(matrix), expected)
    assert metrics.accuracy(y, t) == np.trace(expected) / N


@pytest.mark.parametrize("k", [1, 2, 3, C])
def test_top_k_is_a_sorted_list_cut_off(k, array, scores, labels):
    hits = [int(t) in sorted(range(C), key=lambda c, row=row: (-row[c], c))[:k] for row, t in zip(scores, labels)]  # noqa: B905
    assert metrics.top_k_accuracy(array(scores), array(labels), k=k) == sum(hits) / N
    assert 0 < sum(hits) <= N


def test_top_1_is_accuracy_also_with_infinite_scores(array, labels, scores):
    scores[::3, 1] = -np.inf
    scores[::5, 2] = np.inf
    y, t = array(scores), array(labels)
    assert metrics.top_k_accuracy(y, t, k=1) == metrics.accuracy(y, t)


def test_many_samples_are_counted_in_parts(array, rng, monkeypatch):
    monkeypatch.setattr(metrics.classes, "CHUNK", 7)
    y, t = rng.integers(0, 3, size=(2, 25))
    np.testing.assert_array_equal(host(metrics.confusion_matrix(array(y), array(t))), counted(y, t, 3))


def test_shares_of_each_class(array, scores, labels):
    matrix = counted([first_of_the_largest(row) for row in scores], labels, C)
    for name, share in (("precision", shares_of(matrix, 0)), ("recall", shares_of(matrix, 1))):
        np.testing.assert_allclose(host(getattr(metrics, name)(array(matrix))), share, rtol=1e-6)
    p, r = shares_of(matrix, 0), shares_of(matrix, 1)
    np.testing.assert_allclose(host(metrics.f1(array(matrix))), 2 * p * r / (p + r), rtol=1e-6)


def shares_of(matrix, axis):
    return np.array([matrix[c, c] / matrix.sum(axis=axis)[c] for c in range(len(matrix))])


def test_a_share_of_nothing_is_nan(array):
    # class 1 is never found, class 2 has no samples, class 3 neither
    matrix = array([[2, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    nan = np.nan
    np.testing.assert_allclose(host(metrics.precision(matrix)), [2 / 3, nan, 0, nan], rtol=1e-6)
    np.testing.assert_allclose(host(metrics.recall(matrix)), [2 / 3, 0, nan, nan], rtol=1e-6)
    np.testing.assert_allclose(host(metrics.f1(matrix)), [2 / 3, 0, 0, nan], rtol=1e-6)


def test_a_report_is_plain_numbers(array, scores, labels):
    report = metrics.report(array(scores), array(labels))
    assert report.accuracy == metrics.accuracy(array(scores), array(labels))
    assert report.matrix == tuple(map(tuple, counted(scores.argmax(axis=1), labels, C).tolist()))
    assert report.support == tuple(np.bincount(labels).tolist())
    again = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert again == report.to_dict()
    assert again["confusion_matrix"] == [list(row) for row in report.matrix]


def test_the_table_of_a_report_has_a_row_for_each_class_and_the_average(array):
    report = metrics.report(array([0, 0, 2, 1]), array([0, 1, 2, 1]), classes=4)
    lines = str(report).splitlines()
    assert lines[0] == "accuracy 75.00%"
    assert lines[2].split() == ["class", "precision", "recall", "F1", "samples"]
    assert [line.split() for line in lines[4:]] == [
        ["0", "0.5000", "1.0000", "0.6667", "1"],
        ["1", "1.0000", "0.5000", "0.6667", "2"],
        ["2", "1.0000", "1.0000", "1.0000", "1"],
        ["3", "-", "-", "-", "0"],
        ["average", "0.8333", "0.8333", "0.7778", "4"],
    ]
    assert isnan(report.f1[3])
    assert report.to_dict()["f1"][3] is None


@pytest.mark.parametrize(
    ("y", "t", "options", "message"),
    [
        (np.zeros((2, 3, 4)), [0, 1], {}, r"y has shape \(2, 3, 4\), expected scores \(N, C\) or labels \(N,\)"),
        (np.zeros((0, 3)), [], {}, r"y has shape \(0, 3\), expected .* N and C at least 1"),
        (np.zeros((2, 3)), [0, 1, 2], {}, r"t has shape \(3,\), expected labels \(2,\) or one-hot \(2, 3\)"),
        (np.zeros((2, 3)), np.eye(2), {}, "number of classes is 3 by y, 2 by t"),
        (np.zeros((2, 3)), [0, 1], {"classes": 4}, "number of classes is 3 by y, 4 by classes"),
        (np.zeros((2, 3)), [0, 3], {}, "t has labels from 0 to 3; there are 3 classes"),
        ([0, 1], [0, -1], {}, "t has labels from -1 to 0; there are 2 classes"),
        ([0, 5], [0, 1], {"classes": 3}, "y has labels from 0 to 5; there are 3 classes"),
        ([0, 1], [0, 1], {"classes": 0}, "classes is 0, expected a whole number, 1 or more"),
        (np.zeros((2, 3)), np.full((2, 3), 1 / 3), {}, "t is not one-hot"),
        (np.array([[np.nan, 1.0]]), [0], {}, "y has NaN among its scores"),
        ([0.0, 1.0], [0, 1], {}, "y has labels of dtype .*float64, expected integers"),
        ([0, 1], [0.0, 1.0], {"classes": 2}, "t has labels of dtype .*; expected integers 0 to 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(y, t, options, message, array):
    t = np.asarray(t) if np.size(t) else np.zeros(0, dtype=int)
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(array(y), array(t), **options)


@pytest.mark.parametrize("f", [metrics.accuracy, metrics.top_k_accuracy, metrics.confusion_matrix, metrics.report])
def test_lists_and_scores_that_are_integers_are_refused(f, array):
    with pytest.raises(TypeError, match="expected an array of the Array API standard"):
        f([0, 1], array([0, 1]))
    with pytest.raises(TypeError, match=r"t is .*list, expected an array, as y is on backend"):
        f(array([0, 1]), [0, 1])
    with pytest.raises(TypeError, match=r"scores of dtype .*int32, expected floating-point"):
        f(array([[0, 1]], "int32"), array([0]))


@pytest.mark.parametrize(
    ("k", "message"), [(0, "k is 0, expected"), (5, "k is 5, and y has scores of 4 classes"), (1.5, "k is 1.5")]
)
def test_k_is_a_number_of_classes(k, message, array, scores, labels):
    with pytest.raises(ValueError, match=message):
        metrics.top_k_accuracy(array(scores), array(labels), k=k)


def test_labels_have_no_second_place(array, labels):
    with pytest.raises(ValueError, match=r"y has shape \(60,\), expected scores \(N, C\)"):
        metrics.top_k_accuracy(array(labels), array(labels), k=2)


@pytest.mark.parametrize("f", [metrics.precision, metrics.recall, metrics.f1])
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((2, 3), int), r"matrix has shape \(2, 3\), expected \(C, C\)"),
        (np.zeros(4, int), r"matrix has shape \(4,\)"),
        (np.array([[1, -1], [0, 1]]), "no counts, expected integers from 0 on"),
        (np.eye(2), "no counts, expected integers from 0 on"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(f, matrix, message, array):
    with pytest.raises(ValueError, match=message):
        f(array(matrix))
