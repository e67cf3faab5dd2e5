"""What initial weights do to small networks on the data sets of scikit-learn, beside its own MLPs.

python benchmarks/initial_weights.py --seeds 10
python benchmarks/initial_weights.py --only friedman1,mnist --hidden 50,50 --activation tanh --initializers auto,xavier

Each row is a data set, each column where weights start from: mean and standard deviation over seeds of R² (numbers) or
of accuracy (classes) on a quarter of the samples that was held back; a seed splits the samples, draws the weights and
the minibatches. Inputs and targets that are numbers are standardized. All train alike: Adam at 0.001, minibatches of
200, no penalty, 200 passes (3 through MNIST), nobody stops early. It needs scikit-learn.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor

from xpnet import MultiLayerNet, Sequential, Trainer
from xpnet.datasets import mnist
from xpnet.losses import MeanSquaredError
from xpnet.optimizers import Adam

BATCH, EPOCHS = 200, 200
REGRESSION = {
    "friedman1": lambda seed: datasets.make_friedman1(1000, noise=1.0, random_state=seed),
    "friedman2": lambda seed: datasets.make_friedman2(1000, noise=50.0, random_state=seed),
    "friedman3": lambda seed: datasets.make_friedman3(1000, noise=0.1, random_state=seed),
    "make_regression": lambda seed: datasets.make_regression(500, 20, n_informative=10, noise=10.0, random_state=seed),
    "diabetes": lambda _: datasets.load_diabetes(return_X_y=True),
}
CLASSIFICATION = {
    "digits": lambda _: datasets.load_digits(return_X_y=True),
    "iris": lambda _: datasets.load_iris(return_X_y=True),
    "wine": lambda _: datasets.load_wine(return_X_y=True),
    "breast_cancer": lambda _: datasets.load_breast_cancer(return_X_y=True),
    "make_moons": lambda seed: datasets.make_moons(600, noise=0.25, random_state=seed),
}


def standardized(train, test):
    mean, std = train.mean(axis=0), train.std(axis=0)
    std = np.where(std == 0, 1, std)
    return (train - mean) / std, (test - mean) / std


def load(name, seed):
    """Samples to train on, their targets, samples to test on, their targets."""
    if name == "mnist":
        (x, t), (x_test, t_test) = mnist()
        return x, t.astype("int64"), x_test, t_test.astype("int64")
    x, t = (REGRESSION | CLASSIFICATION)[name](seed)
    x, x_test, t, t_test = train_test_split(x, t, test_size=0.25, random_state=seed)
    if name in REGRESSION:
        t, t_test = standardized(t, t_test)
    x, x_test = standardized(x, x_test)
    return x, t, x_test, t_test


def ours(weight_init, name, data, hidden, activation, epochs, seed):
    x, t, x_test, t_test = data
    regression = name in REGRESSION
    options = {"weight_init": weight_init, "seed": seed, "dtype": "float64", "backend": "numpy"}
    net = MultiLayerNet(x.shape[1], hidden, 1 if regression else int(t.max()) + 1, activation, **options)
    if regression:
        net, t = Sequential([*net.layers.values()], MeanSquaredError(), **options), t[:, None]
    trainer = Trainer(net, Adam(1e-3), batch_size=min(BATCH, len(x)), seed=seed)
    trainer.fit(x.astype("float64"), t, epochs=epochs, progress=False)
    if not regression:
        return net.accuracy(x_test.astype("float64"), t_test)
    residuals = t_test - net.predict(x_test)[:, 0]
    return 1 - residuals @ residuals / np.sum((t_test - t_test.mean()) ** 2)


def theirs(name, data, hidden, activation, epochs, seed):
    x, t, x_test, t_test = data
    kind = MLPRegressor if name in REGRESSION else MLPClassifier
    mlp = kind(
        hidden_layer_sizes=hidden,
        activation={"sigmoid": "logistic"}.get(activation, activation),
        alpha=0,
        batch_size=min(BATCH, len(x)),
        max_iter=epochs,
        tol=0,
        n_iter_no_change=epochs + 1,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it would have gone on
        return mlp.fit(x, t).score(x_test, t_test)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*REGRESSION, *CLASSIFICATION]
    parser.add_argument("--only", default=",".join(names), help=f"of {', '.join(names)}, mnist; all but mnist")
    parser.add_argument("--hidden", default="100", help="hidden units; 50,50 for two layers (default 100)")
    parser.add_argument("--activation", choices=("relu", "tanh", "sigmoid"), default="relu")
    parser.add_argument("--initializers", default="he,xavier,glorot,auto")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    hidden = tuple(int(size) for size in args.hidden.split(","))
    columns = ["scikit-learn", *args.initializers.split(",")]
    print(f"hidden {args.hidden}, {args.activation}, {args.seeds} seeds")
    print("".join(f"{text:16}" for text in ("", *columns)).rstrip())
    for name in args.only.split(","):
        epochs, scores = 3 if name == "mnist" else EPOCHS, {column: [] for column in columns}
        for seed in range(args.seeds):
            data = load(name, seed)
            for column, found in scores.items():
                settings = (name, data, hidden, args.activation, epochs, seed)
                found.append(theirs(*settings) if column == "scikit-learn" else ours(column, *settings))
        cells = [f"{np.mean(found):.4f} ± {np.std(found):.4f}" for found in scores.values()]
        print("".join(f"{text:16}" for text in (name, *cells)).rstrip(), flush=True)


if __name__ == "__main__":
    main()
