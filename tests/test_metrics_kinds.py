"""Metrics of networks with one output, with labels of which several may hold, and of numbers, against scikit-learn."""

from __future__ import annotations

import json
from math import isnan

import numpy as np
import pytest

from xpnet import Adam, Sequential, Trainer, metrics
from xpnet.layers import Affine, Tanh
from xpnet.losses import SigmoidWithLoss

sklearn = pytest.importorskip("sklearn.metrics", reason="the oracle is scikit-learn")


@pytest.fixture
def binary(rng):
    """Scores (N, 1), some of them exactly 0, and what is true."""
    y = rng.normal(size=(80, 1)).round(1)
    return y.astype("float32"), (y[:, 0] + rng.normal(size=80) > 0).astype("int64")


@pytest.fixture
def several(rng):
    """Scores (N, 4), and which labels hold: of the last one none, and it is never told either."""
    y = rng.normal(size=(50, 4)).astype("float32")
    t = (y + rng.normal(size=y.shape) > 0.3).astype("int64")
    y[:, 3], t[:, 3] = -1, 0
    return y, t


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_one_output_tells_two_classes_apart(binary, shape, dtype, threshold, array):
    y, t = binary
    told = y[:, 0] > (threshold or 0)
    given = array(y), array(t.reshape(shape).astype(dtype))
    report = metrics.report(*given, threshold=threshold)
    assert report.matrix == tuple(map(tuple, sklearn.confusion_matrix(t, told).tolist()))
    assert metrics.accuracy(*given, threshold=threshold) == report.accuracy == sklearn.accuracy_score(t, told)
    expected = sklearn.precision_recall_fscore_support(t, told)
    for found, values in zip((report.precision, report.recall, report.f1, report.support), expected, strict=True):
        np.testing.assert_allclose(found, values, rtol=1e-6)


def test_a_network_with_a_sigmoid_can_be_reported(training_backend, rng):
    x = rng.normal(size=(200, 2)).astype("float32")
    t = (x[:, :1] + x[:, 1:] > 0).astype("float32")
    net = Sequential([Affine(2, 8), Tanh(), Affine(8, 1)], SigmoidWithLoss(), seed=0, backend=training_backend)
    x, t = (training_backend.asarray(a) for a in (x, t))
    Trainer(net, Adam(lr=0.05), batch_size=50, seed=0).fit(x, t, epochs=15, progress=False)
    report = metrics.report(net.predict(x), t)
    assert report.accuracy == net.accuracy(x, t) > 0.9
    assert len(report.matrix) == 2


def test_what_looks_like_probabilities_is_told(array):
    p, t = np.linspace(0, 1, 20)[:, None], np.arange(20) > 9
    for count in (20, 3):
        with pytest.raises(ValueError, match=r"for probabilities give threshold=0\.5, for scores threshold=0"):
            metrics.report(array(p[:count]), array(t[:count]))
    assert metrics.accuracy(array(p), array(t), threshold=0.5) == 1
    assert metrics.accuracy(array(p), array(t), threshold=0) == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("y", "t", "options", "message"),
    [
        (
            np.full((3, 1), 2.0),
            [0.0, 0.5, 1],
            {},
            r"one output, which tells two classes apart.*regression_report\(y, t\)",
        ),
        (np.full((3, 1), 2.0), [0, 1], {}, r"t has shape \(2,\), expected zeros and ones \(3,\) or \(3, 1\)"),
        (np.full((2, 1), np.nan), [0, 1], {}, "y has NaN among its scores"),
        (np.ones((2, 1), "int64"), [0, 1], {}, r"dtype .*int64, expected scores, floating-point, or labels: y\[:, 0\]"),
        (np.ones((2, 2)), [0, 1], {"threshold": 0.5}, r"threshold is 0\.5, and y has shape \(2, 2\)"),
        (np.ones((2, 1)), [0, 1], {"threshold": np.inf}, "threshold is inf"),
        (np.ones((2, 3)), np.ones((2, 3)), {}, r"several labels may hold take metrics\.multilabel_report"),
    ],
)
def test_what_is_no_binary_problem_is_refused(y, t, options, message, array):
    with pytest.raises(ValueError, match=message):
        metrics.report(array(y), array(t), **options)
    if not options:
        with pytest.raises(ValueError, match=r"of one output there is no second place|t is not one-hot"):
            metrics.top_k_accuracy(array(y), array(t), k=1)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_multilabel_report(several, dtype, threshold, array):
    y, t = several
    told = y > threshold
    report = metrics.multilabel_report(array(y), array(t.astype(dtype)), threshold=threshold)
    assert report.accuracy == pytest.approx(1 - sklearn.hamming_loss(t, told))
    assert report.exact == sklearn.accuracy_score(t, told)
    expected = sklearn.precision_recall_fscore_support(t, told, zero_division=np.nan)
    for found, values in zip((report.precision, report.recall, report.f1, report.support), expected, strict=True):
        np.testing.assert_allclose(found, values, rtol=1e-12)
    assert isnan(report.f1[3])
    together = sklearn.precision_recall_fscore_support(t, told, average="micro")[:3]
    np.testing.assert_allclose(report.micro, together, rtol=1e-12)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["f1"][3] is None
    assert report.samples == 50


@pytest.mark.parametrize(
    ("y", "t", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 2)), r"y has shape \(2, 3\) and t \(2, 2\), expected scores \(N, C\)"),
        (np.ones(3), np.ones(3), r"y has shape \(3,\)"),
        (np.ones((2, 3)), np.full((2, 3), 0.5), "t has other numbers than 0 and 1"),
        (np.full((2, 3), np.nan), np.ones((2, 3)), "y has NaN"),
    ],
)
def test_other_labels_are_refused(y, t, message, array):
    with pytest.raises(ValueError, match=message):
        metrics.multilabel_report(array(y), array(t))
    with pytest.raises(TypeError, match="expected floating-point"):
        metrics.multilabel_report(array(np.ones((2, 3), "int64")), array(np.ones((2, 3))))


@pytest.mark.parametrize("columns", [None, 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_regression_report(columns, dtype, rng, array):
    shape = (70,) if columns is None else (70, columns)
    t = (rng.normal(size=shape) * np.arange(1, (columns or 1) + 1) + 5).astype(dtype)
    y = (t + 0.4 * rng.normal(size=shape)).astype(dtype)
    report = metrics.regression_report(array(y), array(t))
    wide = {"rtol": 1e-5 if dtype == "float32" else 1e-9}
    many = {"multioutput": "variance_weighted"}
    np.testing.assert_allclose(report.r2, sklearn.r2_score(t, y, **many), **wide)
    np.testing.assert_allclose(report.mae, sklearn.mean_absolute_error(t, y), **wide)
    np.testing.assert_allclose(report.rmse, np.sqrt(sklearn.mean_squared_error(t, y)), **wide)
    raw = {"multioutput": "raw_values"}
    np.testing.assert_allclose(report.outputs["r2"], sklearn.r2_score(t, y, **raw), **wide)
    np.testing.assert_allclose(report.outputs["mae"], sklearn.mean_absolute_error(t, y, **raw), **wide)
    np.testing.assert_allclose(report.outputs["rmse"], np.sqrt(sklearn.mean_squared_error(t, y, **raw)), **wide)
    np.testing.assert_allclose(report.outputs["spread"], np.atleast_1d(t.std(axis=0)), **wide)
    singles = metrics.r2(array(y), array(t)), metrics.mae(array(y), array(t)), metrics.rmse(array(y), array(t))
    assert singles == (report.r2, report.mae, report.rmse)
    assert json.loads(json.dumps(report.to_dict()))["samples"] == 70
    if columns == 1:
        assert metrics.r2(array(y), array(t[:, 0])) == report.r2


def test_targets_that_are_all_the_same_have_no_spread_to_explain(array):
    report = metrics.regression_report(array([[1.0], [2.0]]), array([[3.0], [3.0]]))
    assert isnan(report.r2)
    assert report.to_dict()["r2"] is None
    assert "R2 -, MAE 1.5" in str(report)


@pytest.mark.parametrize(
    ("y", "t", "message"),
    [
        (np.ones((3, 1)), np.ones((3, 2)), r"y has shape \(3, 1\) and t \(3, 2\), expected the same"),
        (np.ones(3), np.ones(4), r"y has shape \(3,\) and t \(4,\)"),
        (np.ones((0, 1)), np.ones((0, 1)), "N at least 1"),
        (np.ones((2, 2, 2)), np.ones((2, 2, 2)), r"\(N,\) or \(N, C\)"),
        ([np.nan, 1.0], [1.0, 1.0], "y has NaN or infinity"),
        ([1.0, 1.0], [np.inf, 1.0], "t has NaN or infinity"),
    ],
)
def test_other_numbers_are_refused(y, t, message, array):
    with pytest.raises(ValueError, match=message):
        metrics.regression_report(array(y), array(t))


def test_reports_are_short_at_a_prompt_and_tables_in_a_notebook(binary, several):
    y, t = binary
    numbers = np.asarray([1.0, 2.5, 3.0])
    reports = [
        metrics.report(y, t),
        metrics.multilabel_report(*several),
        metrics.regression_report(numbers, numbers[::-1]),
    ]
    for report in reports:
        assert len(repr(report)) < 140
        assert "\n" not in repr(report)
        rows = report._repr_html_().partition("<tbody>")[2].count("<tr>")
        assert rows == len(str(report).splitlines()) - 4, "the table that print shows"
    assert repr(reports[0]).startswith("Report(accuracy ")
