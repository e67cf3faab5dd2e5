"""Search over settings / ハイパーパラメータの探索
===============================================

A search over 20 settings, each judged on digits that it was not trained on.

``python examples/search.py --backend torch --settings 50``
"""

import argparse

import numpy as np

from xpnet import MultiLayerNet, Trainer, backend_names, get_backend, sweep
from xpnet.datasets import mnist
from xpnet.optimizers import AdamW

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--settings", type=int, default=20)
parser.add_argument("--iterations", type=int, default=300)
args = parser.parse_args()

backend = get_backend(args.backend)
(x, t), test = mnist()
order = np.random.default_rng(0).permutation(len(x))
held_out, rows = order[:5000], order[5000:15_000]  # nothing is chosen by the test data
train, validation = ((backend.asarray(x[part]), backend.asarray(t[part])) for part in (rows, held_out))
rng = np.random.default_rng(1)


def trainer(hidden: int, lr: float, weight_decay: float) -> Trainer:
    # One seed for all: the same minibatches, so settings are told apart by what they do.
    net = MultiLayerNet(784, [hidden], 10, seed=0, backend=backend)
    return Trainer(net, AdamW(lr, weight_decay=weight_decay), batch_size=100, seed=0)


# Rates are drawn on a logarithmic scale, as the book does: 0.001 is as likely as 0.01.
settings = {
    "hidden": rng.choice([50, 100, 200], args.settings),
    "lr": 10 ** rng.uniform(-4, -1, args.settings),
    "weight_decay": 10 ** rng.uniform(-4, 0, args.settings),
}
# Networks of different sizes have no step in common, and are trained one after the other.
goal = {"iterations": args.iterations, "validation": validation}
result = sweep(trainer, settings, *train, **goal, one_by_one=True, progress=False)
print(result.table())
best = result.best
print(f"best: number {best.number}, {best.settings}, validation {best.last.validation_accuracy:.2%}")
print(f"its test accuracy: {best.network.accuracy(*map(backend.asarray, test)):.2%}")
