"""Fitting a line / 最適化手法と直線
=================================

Fit the slope of y = w x + 2 to points, by mean squared error, with five optimizers.

``python examples/line_fit.py --backend torch``
"""

import argparse
import os

import numpy as np

from xpnet import backend_names, get_backend, gradient_descent
from xpnet.optimizers import SGD, AdaGrad, Adam, Momentum, RMSprop
from xpnet.plotting import new_figure, save

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--out", default="pictures", help="folder for the picture (default pictures)")
args = parser.parse_args()
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise
backend = get_backend(args.backend)
xp = backend.xp

rng = np.random.default_rng(0)
points = rng.uniform(-2, 2, 50)
x, t = backend.asarray(points), backend.asarray(3 * points + 2 + 0.3 * rng.standard_normal(50))


def mean_squared_error(w):
    return xp.mean((w * x + 2 - t) ** 2)


best = float(xp.sum(x * (t - 2)) / xp.sum(x * x))
print(f"least squares, in closed form: w = {best:.6f}")

figure, (left, right) = new_figure(2)
# Most of them end on the same line: thinner and thinner, and dashed, so that each is seen under the next.
looks = zip((4.0, 3.2, 2.4, 1.8, 1.4), ("-", "-", "--", "-.", ":"), strict=True)
left.scatter(points, backend.to_numpy(t), s=12, color="gray", label="data")
for optimizer in (SGD(lr=0.1), Momentum(lr=0.02), AdaGrad(lr=1.0), RMSprop(lr=0.2), Adam(lr=1.0)):
    name = type(optimizer).__name__
    start = backend.asarray([0.0], "float64")
    w, _, losses = gradient_descent(mean_squared_error, start, steps=30, optimizer=optimizer)
    print(f"{name:9} w = {float(w[0]):.6f}, mean squared error {losses[0]:.4f} -> {losses[-1]:.4f} in 30 steps")
    ends = np.asarray([-2.0, 2.0])
    width, dashes = next(looks)
    left.plot(ends, float(w[0]) * ends + 2, dashes, linewidth=width, label=f"{name}, w = {float(w[0]):.2f}")
    right.plot(losses, dashes, linewidth=width, label=f"{name}, lr = {optimizer.lr:g}")
left.set(xlabel="x", ylabel="y", title="y = w x + 2")
right.set(xlabel="step", ylabel="mean squared error", title="Loss", yscale="log")
for ax in (left, right):
    ax.legend()
print(f"wrote {save(figure, f'{args.out}/line_fit.png')}")
