"""How well a network does: at classes, at labels of which several may hold, and at numbers.

What a network says is given as it predicts it, the scores before softmax or a sigmoid, and the truth as it was given in
training. Values are looked at, so the device is waited for. The report that fits the problem is a table when it is
printed, and in a notebook.

==================================  =========================================
classes, two or more                :func:`report`, :func:`accuracy`, ...
two classes and one output          the same
labels of which several may hold    :func:`multilabel_report`
numbers                             :func:`regression_report`, :func:`r2`, ...
==================================  =========================================
"""

from xpnet.metrics.classes import (
    Report,
    accuracy,
    confusion_matrix,
    f1,
    precision,
    recall,
    report,
    top_k_accuracy,
)
from xpnet.metrics.labels import MultilabelReport, multilabel_report
from xpnet.metrics.numbers import RegressionReport, mae, r2, regression_report, rmse

__all__ = [
    "MultilabelReport",
    "RegressionReport",
    "Report",
    "accuracy",
    "confusion_matrix",
    "f1",
    "mae",
    "multilabel_report",
    "precision",
    "r2",
    "recall",
    "regression_report",
    "report",
    "rmse",
    "top_k_accuracy",
]
