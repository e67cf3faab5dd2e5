"""simpleNet / 一つの重み行列の勾配
================================

simpleNet: scores, loss and the gradient of one matrix of weights.

``python examples/simple_net.py --backend torch``
"""

import argparse
import os

import numpy as np

from xpnet import backend_names, get_backend, numerical_gradient
from xpnet.book import simpleNet
from xpnet.functions import softmax

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
args = parser.parse_args()
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise
backend = get_backend(args.backend)
show = backend.to_numpy
np.set_printoptions(precision=8, suppress=True)

move = lambda values: backend.asarray(values, "float64")  # noqa: E731
x, t = move([0.6, 0.9]), backend.asarray([0, 0, 1])

net = simpleNet(move([[1.92087598, 0.63971089, -0.26820797], [0.58411529, -0.04610929, -0.88999594]]))
p = net.predict(x)
print(f"p = {show(p)}, the largest is number {int(show(p).argmax())}, the label is 2")
print(f"probabilities {show(softmax(p))}")
print(f"loss = {float(net.loss(x, t)):.12g}")

W = move([[1.83160192, 0.4900981, -0.94188042], [-0.24946104, 2.91410946, -0.00695892]])
# f has to use its argument: the entries of W are moved in copies, and not in place.
gradient = numerical_gradient(lambda moved: simpleNet(moved).loss(x, t), W)
print(f"dW, numerically:\n{show(gradient)}")
print(f"dW, by backpropagation:\n{show(simpleNet(W).gradient(x, t))}")
