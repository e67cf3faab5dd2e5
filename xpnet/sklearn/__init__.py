"""Estimators of scikit-learn that train xpnet's networks: on NumPy, or on whatever arrays they are given.

It needs scikit-learn, which ``import xpnet`` does without: ``pip install "xpnet[sklearn]"``.

>>> from sklearn.datasets import load_iris
>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> from xpnet.sklearn import NeuralNetClassifier
>>> X, y = load_iris(return_X_y=True)
>>> model = make_pipeline(StandardScaler(), NeuralNetClassifier(learning_rate_init=0.01, random_state=0)).fit(X, y)
>>> model.score(X, y) > 0.95
True
"""

try:
    from sklearn.utils.validation import validate_data  # noqa: F401  (new in 1.6, as are the tags of estimators)
except ImportError as error:
    raise ImportError(
        f'xpnet.sklearn needs scikit-learn 1.6 or newer ({error}); pip install "xpnet[sklearn]"'
    ) from error

from xpnet.sklearn.classifier import NeuralNetClassifier
from xpnet.sklearn.regressor import NeuralNetRegressor

__all__ = ["NeuralNetClassifier", "NeuralNetRegressor"]
