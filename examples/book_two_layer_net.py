"""The book's TwoLayerNet / 本のTwoLayerNetをそのまま書く
======================================================

The book's TwoLayerNet, typed as printed: stateful layers and a loop.

The same 100 steps are then taken with xpnet's pure network; both end with the same loss.

``python examples/book_two_layer_net.py --backend jax``
"""

import argparse

import numpy as np

from xpnet import SGD, TwoLayerNet, backend_names, book
from xpnet.datasets import mnist

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
args = parser.parse_args()

net = TwoLayerNet(784, 50, 10, seed=0, backend=args.backend)
(x_train, t_train), _ = mnist()
x_train, t_train = net.backend.asarray(x_train[:1000]), net.backend.asarray(t_train[:1000])

layers = {
    "Affine1": book.Affine(net.params["W1"], net.params["b1"]),
    "Relu1": book.Relu(),
    "Affine2": book.Affine(net.params["W2"], net.params["b2"]),
}
last_layer = book.SoftmaxWithLoss()


def forward(x, t):
    for layer in layers.values():
        x = layer.forward(x)
    return last_layer.forward(x, t)


def gradient(x, t):
    loss = forward(x, t)
    dout = last_layer.backward(1)
    for layer in reversed(layers.values()):
        dout = layer.backward(dout)
    return loss


# Minibatches are drawn on the host.
rng = np.random.default_rng(0)
batches = [net.backend.asarray(rng.choice(1000, 100)) for _ in range(100)]
xp = net.backend.xp

pure, sgd = net.to(net.backend), SGD(lr=0.1)
for i, rows in enumerate(batches):
    x, t = xp.take(x_train, rows, axis=0), xp.take(t_train, rows, axis=0)
    loss = gradient(x, t)
    for name in ("Affine1", "Affine2"):
        layer = layers[name]
        # A layer that keeps its own W is told about the new one: JAX does not change arrays in place.
        layer.W = layer.W - 0.1 * layer.dW
        layer.b = layer.b - 0.1 * layer.db
    pure_loss = pure.loss(x, t)
    sgd.update(pure.params, pure.gradient(x, t))
    if i % 20 == 0 or i == 99:
        print(
            f"step {i:3d}  loss with the book's layers {float(loss):.6f}  with the pure network {float(pure_loss):.6f}"
        )
