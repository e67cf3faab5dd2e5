"""With and without batch normalization / バッチ正規化の効果
=========================================================

Batch normalization with and without, from 16 scales of initial weights.

``python examples/batch_norm_mnist.py --iterations 200``
"""

import argparse
from contextlib import suppress
from itertools import pairwise

import numpy as np

from xpnet import SGD, Sequential, Trainer, backend_names, get_backend
from xpnet.datasets import mnist
from xpnet.errors import DivergedError
from xpnet.layers import Affine, BatchNorm, ReLU
from xpnet.plotting import new_figure, save

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--iterations", type=int, default=200, help="of each of 32 networks")
parser.add_argument("--out", default="pictures", help="folder for the picture (default pictures)")
args = parser.parse_args()
backend = get_backend(args.backend)

(x_train, t_train), _ = mnist()
x, t = backend.asarray(x_train[:1000]), backend.asarray(t_train[:1000])


def trained(scale: float, *, normalized: bool) -> tuple[list[float], list[float]]:
    """Iterations and accuracies of a network of five hidden layers, epoch by epoch."""
    sizes, layers = [784, 100, 100, 100, 100, 100], []
    for n_in, n_out in pairwise(sizes):
        layers += [Affine(n_in, n_out), *([BatchNorm(n_out)] if normalized else []), ReLU()]
    net = Sequential([*layers, Affine(100, 10)], weight_init=scale, seed=0, backend=backend)
    trainer = Trainer(net, SGD(lr=0.01), batch_size=100, seed=0)
    with suppress(DivergedError):  # weights of N(0, 1) make numbers that are too large for it
        trainer.fit(x, t, iterations=args.iterations, progress=False)
    evaluations = trainer.history.evaluations
    return [e.iteration for e in evaluations], [e.train_accuracy for e in evaluations]


figure, axes = new_figure(4, rows=4)
scales = np.logspace(0, -4, 16)
better = 0
for scale, ax in zip(scales, axes.flat, strict=True):
    last = {}
    for normalized, style, name in ((True, "-", "batch normalization"), (False, "--", "without")):
        iterations, accuracies = trained(float(scale), normalized=normalized)
        last[normalized] = accuracies[-1]
        ax.plot(iterations, accuracies, style, label=name)
    better += last[True] > last[False]
    print(f"weights N(0, {scale:.2g}²): accuracy with {last[True]:.1%}, without {last[False]:.1%}")
    ax.set(title=f"weights N(0, {scale:.2g}²)", ylim=(0, 1), xlabel="iteration", ylabel="accuracy")
axes.flat[0].legend()
print(f"better with batch normalization at {better} of {len(scales)} scales")
print(f"wrote {save(figure, f'{args.out}/batch_norm_mnist.png')}")
