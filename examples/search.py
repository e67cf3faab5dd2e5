"""A search over 20 settings, each judged on digits that it was not trained on / ハイパーパラメータの探索.

python examples/search.py --backend torch --settings 50
"""

import argparse

import numpy as np

from xpnet import MultiLayerNet, Trainer, backend_names
from xpnet.datasets import mnist
from xpnet.optimizers import AdamW

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--settings", type=int, default=20)
parser.add_argument("--iterations", type=int, default=300)
args = parser.parse_args()

(x, t), (x_test, t_test) = mnist()
order = np.random.default_rng(0).permutation(len(x))
held_out, rows = order[:5000], order[5000:15_000]  # nothing is chosen by the test data

rng, found = np.random.default_rng(1), []
for number in range(args.settings):
    # Rates are drawn on a logarithmic scale, as the book does: 0.001 is as likely as 0.01.
    setting = {
        "lr": float(10 ** rng.uniform(-4, -1)),
        "weight_decay": float(10 ** rng.uniform(-4, 0)),
        "hidden": int(rng.choice([50, 100, 200])),
    }
    # One seed for all: the same minibatches, so settings are told apart by what they do.
    net = MultiLayerNet(784, [setting["hidden"]], 10, seed=0, backend=args.backend)
    move = net.backend.asarray
    trainer = Trainer(net, AdamW(setting["lr"], weight_decay=setting["weight_decay"]), batch_size=100, seed=0)
    last = trainer.fit(
        move(x[rows]),
        move(t[rows]),
        validation=(move(x[held_out]), move(t[held_out])),
        iterations=args.iterations,
        progress=False,
    ).evaluations[-1]
    found.append((last.validation_accuracy, number, setting, net))
    print(f"{number:3}  validation {last.validation_accuracy:.2%}  train {last.train_accuracy:.2%}  {setting}")

accuracy, number, setting, net = max(found, key=lambda each: each[:2])
print(f"best: number {number}, {setting}, validation {accuracy:.2%}")
print(f"its test accuracy: {net.accuracy(net.backend.asarray(x_test), net.backend.asarray(t_test)):.2%}")
