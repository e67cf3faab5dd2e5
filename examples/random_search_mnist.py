"""Random search / ハイパーパラメータのランダム探索
================================================

Learning rate and weight decay by random search: 20 networks, trained as one.

``python examples/random_search_mnist.py --iterations 200``
"""

import argparse

import numpy as np

from xpnet import SGD, MultiLayerNet, Trainer, backend_names, get_backend, sweep
from xpnet.datasets import mnist
from xpnet.plotting import new_figure, save, sweep_map

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--iterations", type=int, default=200, help="of each network")
parser.add_argument("--trials", type=int, default=20)
parser.add_argument("--out", default="pictures", help="folder for the pictures (default pictures)")
args = parser.parse_args()

backend = get_backend(args.backend)
(x, t), _ = mnist()
order = np.random.default_rng(0).permutation(500)
train, held_out = ((backend.asarray(x[rows]), backend.asarray(t[rows])) for rows in (order[100:], order[:100]))


def trainer(lr: float, decay: float) -> Trainer:
    net = MultiLayerNet(784, [100] * 6, 10, weight_init="he", seed=0, backend=backend)
    return Trainer(net, SGD(lr=lr, weight_decay=decay), batch_size=100, seed=0)


# Both are drawn by their powers of ten: between 0.001 and 0.01 is as much room as between 0.01 and 0.1.
rng = np.random.default_rng(0)
settings = {"lr": 10 ** rng.uniform(-6, -1, args.trials), "decay": 10 ** rng.uniform(-8, -4, args.trials)}
# A learning rate that is too large ends the training of its network alone: what it reached until then counts.
result = sweep(trainer, settings, *train, validation=held_out, iterations=args.iterations, progress=False)

figure, axes = new_figure(5, rows=-(-args.trials // 5))
for place, (trial, ax) in enumerate(zip(result.ranked, axes.flat, strict=False), 1):
    lr, decay = trial.settings.values()
    found = trial.history.evaluations
    print(f"best {place:2}: accuracy {trial.last.validation_accuracy:.1%}, lr {lr:.2g}, weight decay {decay:.2g}")
    ax.plot([e.iteration for e in found], [e.validation_accuracy for e in found])
    ax.set(title=f"lr {lr:.2g}, decay {decay:.2g}", ylim=(0, 1), xlabel="iteration", ylabel="accuracy")
print(f"wrote {save(figure, f'{args.out}/random_search_mnist.png')}")
print(f"wrote {save(sweep_map(result), f'{args.out}/random_search_map_mnist.png')}")
