"""Learning rate and weight decay by random search: 20 networks, several at a time / ハイパーパラメータの探索.

python examples/random_search_mnist.py --iterations 200 --workers 2
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context

import numpy as np

from xpnet import SGD, MultiLayerNet, Trainer, backend_names, get_backend
from xpnet.datasets import mnist
from xpnet.errors import DivergedError
from xpnet.plotting import new_figure, save

Trial = tuple[float, float, int, str]


def accuracies(trial: Trial) -> tuple[list[int], list[float]]:
    """Iterations and validation accuracies of a network that learns 400 digits, held against 100 others."""
    lr, decay, iterations, library = trial
    backend = get_backend(library)
    (x, t), _ = mnist()
    order = np.random.default_rng(0).permutation(500)
    train, held_out = ((backend.asarray(x[rows]), backend.asarray(t[rows])) for rows in (order[100:], order[:100]))
    net = MultiLayerNet(784, [100] * 6, 10, weight_init="he", seed=0, backend=backend)
    trainer = Trainer(net, SGD(lr=lr, weight_decay=decay), batch_size=100, seed=0)
    with suppress(DivergedError):  # a learning rate that is too large: what it reached until then counts
        trainer.fit(*train, validation=held_out, iterations=iterations, progress=False)
    found = trainer.history.evaluations
    return [e.iteration for e in found], [e.validation_accuracy or 0.0 for e in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
    parser.add_argument("--backend", choices=backend_names(), default="numpy")
    parser.add_argument("--iterations", type=int, default=200, help="of each network")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8), help="processes at a time")
    parser.add_argument("--out", default="pictures", help="folder for the picture (default pictures)")
    args = parser.parse_args()
    # Both are drawn by their powers of ten: between 0.001 and 0.01 is as much room as between 0.01 and 0.1.
    rng = np.random.default_rng(0)
    rates, decays = 10 ** rng.uniform(-6, -1, args.trials), 10 ** rng.uniform(-8, -4, args.trials)
    trials = [(float(lr), float(d), args.iterations, args.backend) for lr, d in zip(rates, decays, strict=True)]
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of each process: there are as many as cores
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        found = list(pool.map(accuracies, trials))
    best = sorted(zip(found, trials, strict=True), key=lambda pair: -pair[0][1][-1])
    figure, axes = new_figure(5, rows=-(-len(best) // 5))
    for place, (((steps, curve), (lr, decay, *_)), ax) in enumerate(zip(best, axes.flat, strict=False)):
        print(f"best {place + 1:2}: accuracy {curve[-1]:.1%}, lr {lr:.2g}, weight decay {decay:.2g}")
        ax.plot(steps, curve)
        ax.set(title=f"lr {lr:.2g}, decay {decay:.2g}", ylim=(0, 1), xlabel="iteration", ylabel="accuracy")
    print(f"wrote {save(figure, f'{args.out}/random_search_mnist.png')}")


if __name__ == "__main__":  # each process imports this file
    main()
