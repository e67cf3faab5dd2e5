"""Gradient check / 勾配確認
=========================

Backpropagation of TwoLayerNet checked against the numerical gradient, on digits of MNIST.

``python examples/gradient_check.py --backend torch``
"""

import argparse
import os

import numpy as np

from xpnet import TwoLayerNet, backend_names, check_gradient
from xpnet.datasets import mnist

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--samples", type=int, default=3, help="digits to check with (default 3)")
args = parser.parse_args()
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise

net = TwoLayerNet(784, 50, 10, seed=0, dtype="float64", backend=args.backend)
(x, t), _ = mnist()
x, t = net.backend.asarray(x[: args.samples], "float64"), net.backend.asarray(t[: args.samples])

# As the book does it: the mean difference for each parameter.
numerical, backpropagated = net.numerical_gradient(x, t), net.gradient(x, t)
for name in net.params:
    difference = net.backend.to_numpy(numerical[name] - backpropagated[name])
    print(f"{name}: {np.mean(np.abs(difference)):.3g}")

# With what matters: the largest difference, where it is, and which entries have no derivative.
print(check_gradient(net, x, t))

# A few random directions tell as much in two evaluations of the loss each, for a network of any size.
print(check_gradient(net, x, t, mode="directional"))
