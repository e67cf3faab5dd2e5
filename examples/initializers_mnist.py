"""Initial weights compared / 重みの初期値の比較
=============================================

Five layers that start from different weights: what goes through them, and how they learn.

``python examples/initializers_mnist.py --iterations 2000``
"""

import argparse

import numpy as np

from xpnet import SGD, MultiLayerNet, Trainer, backend_names, get_backend
from xpnet.datasets import mnist
from xpnet.plotting import activation_histograms, activations, new_figure, save

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--iterations", type=int, default=2000)
parser.add_argument("--out", default="pictures", help="folder for the pictures (default pictures)")
args = parser.parse_args()
backend = get_backend(args.backend)

# What 1,000 samples of a normal distribution make of five layers of 100 units: with weights that are too small they
# shrink to nothing, and with Xavier's, which are right for tanh, to less and less where ReLU cuts a half off.
samples = backend.asarray(np.random.default_rng(0).standard_normal((1000, 100)), "float32")
for activation in ("tanh", "relu"):
    for weights in (0.01, "xavier", "he"):
        net = MultiLayerNet(100, [100] * 5, 10, activation=activation, weight_init=weights, seed=0, backend=backend)
        outputs = {k: v for k, v in activations(net, samples).items() if k.startswith(("Tanh", "Relu"))}
        spread = ", ".join(f"{float(backend.to_numpy(v).std()):.2g}" for v in outputs.values())
        print(f"{activation:4} weights {weights!s:6} standard deviation, layer by layer: {spread}")
        ax = activation_histograms(outputs)
        ax.set_title(f"{activation}, weights: {weights}")
        print(f"wrote {save(ax, f'{args.out}/histograms_{activation}_{weights}.png')}")

(x_train, t_train), _ = mnist()
x, t = backend.asarray(x_train), backend.asarray(t_train)
figure, ax = new_figure()
for weights in (0.01, "xavier", "he"):
    net = MultiLayerNet(784, [100] * 4, 10, weight_init=weights, seed=0, backend=backend)
    history = Trainer(net, SGD(lr=0.01), batch_size=128, seed=0).fit(x, t, iterations=args.iterations)
    last = np.mean(history.losses[-50:])
    print(f"ReLU, weights {weights!s:6} loss {history.losses[0]:.3f} at the start, {last:.3f} in the last 50 steps")
    width = max(args.iterations // 50, 1)
    smooth = np.convolve(history.losses, np.ones(width) / width, mode="valid")
    ax.plot(np.arange(len(smooth)) + width, smooth, label=f"{weights}")
ax.set(xlabel="iteration", ylabel=f"loss, mean of {width}", title="MNIST, 784-100-100-100-100-10, ReLU, SGD(lr=0.01)")
ax.grid(alpha=0.3)
ax.legend()
print(f"wrote {save(figure, f'{args.out}/initializers_mnist.png')}")
