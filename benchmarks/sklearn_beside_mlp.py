"""``xpnet.sklearn`` beside scikit-learn's MLPClassifier and MLPRegressor, with equal settings: scores and times.

    python benchmarks/sklearn_beside_mlp.py --threads 1 --out benchmarks/results/sklearn_cpu_1.json

A seed splits the samples (a quarter is held back), draws weights and minibatches; inputs are standardized, and so are
targets that are numbers. Both train with scikit-learn's defaults (MNIST for 10 epochs), in turns. Times are medians
over the seeds; a time of the processor counts all threads, and other programs on the machine change it less than the
clock's. Overheads are medians of calls in turns: ``fit`` of one epoch, ``partial_fit`` and ``predict``, on 100 digits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

from machine import described, limit_threads

THEIRS, OURS = "scikit-learn", "xpnet"
#: What differs from scikit-learn's defaults, by job; the data set is its name up to the comma.
JOBS = {
    "digits": {},
    "iris": {},
    "wine": {},
    "breast cancer": {},
    "diabetes": {},
    "MNIST": {"max_iter": 10},
    "MNIST, 50 units, minibatches of 100": {"max_iter": 10, "hidden_layer_sizes": (50,), "batch_size": 100},
    "MNIST, 50 units, minibatches of 100, sgd": {
        "max_iter": 10,
        "hidden_layer_sizes": (50,),
        "batch_size": 100,
        "solver": "sgd",
        "learning_rate_init": 0.01,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="cores to run on (default 1)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=200, help="of which overheads are the median (default 200)")
    parser.add_argument("--only", default=",".join(dict.fromkeys(map(dataset, JOBS))), help="names of data sets")
    parser.add_argument("--out", type=Path, help="write the result as JSON here")
    args = parser.parse_args()
    limit_threads(args.threads)
    result = {"seeds": args.seeds, **described(args.threads, None)}
    result["jobs"] = {}
    for job in JOBS:
        if dataset(job) in args.only.split(","):
            result["jobs"][job] = beside(job, args.seeds)
            print(row(job, result["jobs"][job]), flush=True)
    result["overhead in microseconds"] = overheads(args.calls)
    print(json.dumps(result["overhead in microseconds"], indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {args.out}")


def dataset(job: str) -> str:
    return job.partition(",")[0]


def beside(job: str, seeds: int) -> dict:
    """Scores and times of both, for each seed."""
    found = {name: {"score": [], "seconds": [], "processor seconds": [], "epochs": []} for name in (THEIRS, OURS)}
    for seed in range(seeds):
        x, t, x_test, t_test = load(dataset(job), seed)
        for name in (THEIRS, OURS) if seed % 2 else (OURS, THEIRS):
            model = made(name, dataset(job) == "diabetes", random_state=seed, **JOBS[job])
            wall, processor = time.perf_counter(), time.process_time()
            model.fit(x, t)
            processor, wall = time.process_time() - processor, time.perf_counter() - wall
            measured = (model.score(x_test, t_test), wall, processor, model.n_iter_)
            for series, value in zip(found[name].values(), measured, strict=True):
                series.append(value)
    return found


def made(name: str, regression: bool, **settings):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    from xpnet.sklearn import NeuralNetClassifier, NeuralNetRegressor

    warnings.simplefilter("ignore", ConvergenceWarning)  # not all have converged after 200 epochs
    kinds = {THEIRS: (MLPClassifier, MLPRegressor), OURS: (NeuralNetClassifier, NeuralNetRegressor)}
    return kinds[name][regression](**settings)


def load(name: str, seed: int) -> tuple:
    """Samples to train on, their targets, samples to test on, their targets."""
    import numpy as np
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    from xpnet.datasets import mnist

    if name == "MNIST":
        (x, t), (x_test, t_test) = mnist()
        return x, np.asarray(t, "int64"), x_test, np.asarray(t_test, "int64")
    x, t = getattr(datasets, f"load_{name.replace(' ', '_')}")(return_X_y=True)
    x, x_test, t, t_test = train_test_split(x, t, test_size=0.25, random_state=seed)
    if name == "diabetes":
        t, t_test = (t - t.mean()) / t.std(), (t_test - t.mean()) / t.std()
    mean, std = x.mean(axis=0), x.std(axis=0)
    std[std == 0] = 1
    return (x - mean) / std, t, (x_test - mean) / std, t_test


def row(job: str, found: dict) -> str:
    """A row of a Markdown table: scores, the difference with its standard error, epochs and times."""
    theirs, ours = found[THEIRS], found[OURS]
    differences = [b - a for a, b in zip(theirs["score"], ours["score"], strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else float("nan")
    cells = [job, *(f"{statistics.mean(f['score']):.4f}" for f in (theirs, ours))]
    cells += [f"{statistics.mean(differences):+.4f} ± {error:.4f}"]
    cells += [f"{statistics.median(theirs['epochs']):g}, {statistics.median(ours['epochs']):g}"]
    for series in ("seconds", "processor seconds"):
        a, b = (statistics.median(f[series]) for f in (theirs, ours))
        cells += [f"{a:.3g} s, {b:.3g} s", f"{b / a:.2f}"]
    return f"| {' | '.join(cells)} |"


def overheads(calls: int) -> dict:
    """Medians of the time of the processor for one call, in microseconds."""
    import numpy as np

    x, t, *_ = load("digits", 0)
    x, t, classes = x[:100], t[:100], np.unique(t)
    found: dict = {}
    for _ in range(calls):
        for name in (THEIRS, OURS):
            model = made(name, False, random_state=0, max_iter=1)
            if (name, "fit, one epoch") not in found:
                model.fit(x, t)
            timed(found, name, "fit, one epoch", lambda model=model: model.fit(x, t))
    for name in (THEIRS, OURS):
        model = made(name, False, random_state=0)
        for _ in range(calls):
            call = lambda model=model: model.partial_fit(x, t, classes=classes)  # noqa: E731
            timed(found, name, "partial_fit", call)
            timed(found, name, "predict", lambda model=model: model.predict(x))
    whats = dict.fromkeys(what for _, what in found)
    return {what: {name: statistics.median(found[name, what]) * 1e6 for name in (THEIRS, OURS)} for what in whats}


def timed(found: dict, name: str, what: str, call) -> None:
    begun = time.process_time()
    call()
    found.setdefault((name, what), []).append(time.process_time() - begun)


if __name__ == "__main__":
    main()
