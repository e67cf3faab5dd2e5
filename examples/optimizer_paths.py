"""Paths of the optimizers / 最適化手法の軌跡の比較
================================================

The ways of eight optimizers down the valley x^2/20 + y^2.

``python examples/optimizer_paths.py --backend strict``
"""

import argparse
import os

import numpy as np

from xpnet import backend_names, get_backend, gradient_descent
from xpnet.optimizers import SGD, AdaDelta, AdaGrad, Adam, Lion, Momentum, Nesterov, RMSprop
from xpnet.plotting import descent_paths, new_figure, save

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--out", default="pictures", help="folder for the picture (default pictures)")
args = parser.parse_args()
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise
backend = get_backend(args.backend)


def f(point):
    return point[0] ** 2 / 20 + point[1] ** 2


# The slope is steep across the valley and nearly flat along it: plain descent zigzags, and the others each have
# their own way around that.
optimizers = {
    "SGD": SGD(lr=0.95),
    "Momentum": Momentum(lr=0.1),
    "Nesterov": Nesterov(lr=0.1),
    "AdaGrad": AdaGrad(lr=1.5),
    "AdaDelta": AdaDelta(lr=30.0),
    "RMSprop": RMSprop(lr=0.5, decay_rate=0.9),
    "Adam": Adam(lr=0.3),
    "Lion": Lion(lr=0.25),
}
start = backend.asarray([-7.0, 2.0], "float64")
figure, axes = new_figure(4, rows=2)
figure.set_size_inches(18, 5.6)
for ax, (name, optimizer) in zip(axes.flat, optimizers.items(), strict=True):
    found = gradient_descent(f, start, steps=30, optimizer=optimizer)
    x, y = (float(v) for v in backend.to_numpy(found.x))
    print(f"{name:9} ({x:7.4f}, {y:7.4f})  f = {found.values[-1]:.6f} after 30 steps, {optimizer}")
    descent_paths(f, found.path, ax, x=(-8, 4), y=(-3, 3), levels=np.linspace(0, 8, 17))
    ax.set_title(f"{name}, lr = {optimizer.lr:g}")
    ax.get_legend().remove()
print(f"wrote {save(figure, f'{args.out}/optimizer_paths.png')}")
