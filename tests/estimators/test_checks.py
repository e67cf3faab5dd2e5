"""scikit-learn's own checks of estimators: all of them, those of the array API on every library that is here."""

from __future__ import annotations

import re
from unittest import SkipTest

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed, and these are its checks")

from sklearn.utils.estimator_checks import estimator_checks_generator

from xpnet.sklearn import NeuralNetClassifier, NeuralNetRegressor

#: Why a check of the array API may be skipped: the library or the device is not here.
ABSENT = "not installed|requires|not available|no XPU device|is not set"
CHECKS = [each for kind in (NeuralNetClassifier, NeuralNetRegressor) for each in estimator_checks_generator(kind())]


def name(part):
    """That of an estimator's class, or of a check."""
    return type(part).__name__ if hasattr(part, "fit") else getattr(part, "func", part).__name__


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=name)
def test_check(estimator, check):
    try:
        check(estimator)
    except SkipTest as skipped:
        reason = str(skipped)
    else:
        return
    assert "array_api" in str(check), f"{check} was skipped: {reason}"
    assert re.search(ABSENT, reason), reason
    pytest.skip(reason)
