"""Among scikit-learn's estimators / scikit-learnの中で
====================================================

A network among scikit-learn's estimators: scaled, searched for, and trained on any array.

``python examples/sklearn_digits.py --backend torch``

It needs scikit-learn: ``pip install "xpnet[sklearn]"``.
"""

import argparse
import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # SciPy asks for it before it takes arrays that are not NumPy's

from sklearn import config_context
from sklearn.datasets import load_digits
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet import backend_names, get_backend
from xpnet.sklearn import NeuralNetClassifier

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--jobs", type=int, default=2, help="processes that search (default 2)")
args = parser.parse_args()

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X.astype("float32"), y, random_state=0)

# As any estimator: in a pipeline, cross-validated, searched over in several processes.
network = NeuralNetClassifier((50,), learning_rate_init=0.01, early_stopping=True, n_iter_no_change=5, random_state=0)
pipeline = make_pipeline(StandardScaler(), network)
print(f"cross-validated: {cross_val_score(pipeline, X, y, cv=3).mean():.1%}")
grid = {"neuralnetclassifier__dropout": [0.0, 0.2], "neuralnetclassifier__solver": ["adam", "rmsprop"]}
search = GridSearchCV(pipeline, grid, cv=3, n_jobs=args.jobs).fit(X, y)
print(f"best of {len(search.cv_results_['params'])}: {search.best_params_}, test {search.score(X_test, y_test):.1%}")
pixels = permutation_importance(search.best_estimator_, X_test, y_test, n_repeats=2, random_state=0).importances_mean
row, column = divmod(int(pixels.argmax()), 8)
print(f"what it would miss most: the pixel in row {row}, column {column}")

# Everything follows X: on the backend it trains, answers and keeps its weights there.
backend = get_backend(args.backend)
with config_context(array_api_dispatch=True):
    there = NeuralNetClassifier((50,), learning_rate_init=0.01, early_stopping=True, random_state=0)
    there.fit(backend.asarray(X) / 16, backend.asarray(y))
    probabilities = there.predict_proba(backend.asarray(X_test) / 16)
    print(f"on {backend.name}: test {there.score(backend.asarray(X_test) / 16, y_test):.1%}")
    print(f"its probabilities are of type {type(probabilities).__name__}, its weights of {there.coefs_[0].shape}")
