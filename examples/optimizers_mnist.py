"""Optimizers on MNIST / MNISTによる最適化手法の比較
=================================================

Seven optimizers on MNIST, one network of five layers each.

``python examples/optimizers_mnist.py --backend torch --iterations 2000``
"""

import argparse

import numpy as np

from xpnet import Sequential, Trainer, backend_names
from xpnet.datasets import mnist
from xpnet.layers import Affine, ReLU, Rescale
from xpnet.optimizers import SGD, AdaDelta, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from xpnet.plotting import new_figure, save

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--iterations", type=int, default=2000)
parser.add_argument("--out", default="pictures", help="folder for the picture (default pictures)")
args = parser.parse_args()

optimizers = {
    "SGD": SGD(lr=0.01),
    "Momentum": Momentum(lr=0.01),
    "Nesterov": Nesterov(lr=0.01),
    "AdaGrad": AdaGrad(lr=0.01),
    "AdaDelta": AdaDelta(lr=1.0),
    "RMSprop": RMSprop(lr=0.001),
    "Adam": Adam(lr=0.001),
}

(x_train, t_train), (x_test, t_test) = mnist(normalize=False)
figure, ax = new_figure()
for name, optimizer in optimizers.items():
    # The same start and the same minibatches for each; images stay uint8, and each minibatch is scaled.
    hidden = [layer for _ in range(3) for layer in (Affine(100, 100), ReLU())]
    layers = [Rescale(1 / 255), Affine(784, 100), ReLU(), *hidden, Affine(100, 10)]
    net = Sequential(layers, seed=0, backend=args.backend)
    x, t, x_t, t_t = (net.backend.asarray(a) for a in (x_train, t_train, x_test, t_test))
    trainer = Trainer(net, optimizer, batch_size=128, seed=0)
    history = trainer.fit(x, t, validation=(x_t, t_t), iterations=args.iterations)
    last = history.evaluations[-1]
    print(f"{name:9} {last.results}, {history.samples_per_second:,.0f} samples/s, {optimizer}")
    width = max(args.iterations // 50, 1)
    smooth = np.convolve(history.losses, np.ones(width) / width, mode="valid")
    ax.plot(np.arange(len(smooth)) + width, smooth, label=name)
ax.set(xlabel="iteration", ylabel=f"loss, mean of {width}", title="MNIST, 784-100-100-100-100-10", yscale="log")
ax.grid(alpha=0.3)
ax.legend()
print(f"wrote {save(figure, f'{args.out}/optimizers_mnist.png')}")
