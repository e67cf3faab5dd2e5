"""A layer of your own / 自作のレイヤ
==================================

By hand and by the graph, checked and trained:
``python examples/own_layer.py --backend torch``
"""

import argparse
from dataclasses import dataclass

import numpy as np

from xpnet import SGD, Sequential, Trainer, backend_names, check_gradient, namespace
from xpnet.datasets import mnist
from xpnet.layers import Affine, Function, GraphLayer, Layer
from xpnet.testing import check_layer

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--iterations", type=int, default=1000)
args = parser.parse_args()


@dataclass(frozen=True)
class ByHand(Layer):
    """y = x s with s = 1 / (1 + exp(-a x)), and a factor a for each of n units: forward and backward by hand."""

    n: int

    def init(self, rng, weight_init):
        """Parameters by the layer's own names, drawn on the host; a network makes ``a1`` of ``a``."""
        return {"a": np.ones(self.n)}

    def forward(self, params, x):
        """The output, and what backward needs."""
        s = 1 / (1 + namespace(x).exp(-params["a"] * x))
        return x * s, (x, s)

    def backward(self, params, residuals, dy):
        """The gradient of the input, and those of the parameters by name."""
        x, s = residuals
        slope = dy * x * s * (1 - s)
        return dy * s + slope * params["a"], {"a": namespace(dy).sum(slope * x, axis=0)}


@dataclass(frozen=True)
class ByGraph(GraphLayer):
    """The same from its forward alone."""

    n: int

    def init(self, rng, weight_init):
        """Parameters by name."""
        return {"a": np.ones(self.n)}

    def apply(self, params, x):
        """The output; the graph goes back."""
        return x / (1 + namespace(x).exp(-params["a"] * x))


def softplus(x):
    """A layer without parameters is a function."""
    return namespace(x).log1p(namespace(x).exp(x))


(x_train, t_train), (x_test, t_test) = mnist()
for layer in (ByHand(50), ByGraph(50), Function(softplus)):
    # Gradients, purity, shapes, compiled steps, files and copies; nothing is wrong if the list is empty.
    small = type(layer)(4) if hasattr(layer, "n") else layer
    without = ["files"] if isinstance(layer, Function) else []  # a file holds no code; net.load() takes its weights
    wrong = check_layer(small, (3, 4), backends=[args.backend], without=without)
    print(f"{type(layer).__name__}: {wrong or 'nothing is wrong'}")
    net = Sequential([Affine(784, 50), layer, Affine(50, 10)], seed=0, backend=args.backend)
    move = net.backend.asarray
    print(check_gradient(net, move(x_test[:3]), move(t_test[:3]), progress=False))
    # compile=True: steps with layers of one's own are compiled if one says that they are pure, as these are.
    trainer = Trainer(net, SGD(lr=0.1), batch_size=100, seed=0, compile=args.backend in ("numpy", "jax"))
    trainer.fit(move(x_train), move(t_train), iterations=args.iterations, progress=False)
    print(f"test accuracy after {args.iterations} iterations: {net.accuracy(move(x_test), move(t_test)):.2%}\n")
