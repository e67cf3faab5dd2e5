"""The digits that DeepConvNet gets wrong / 深い畳み込みネットワークと半精度
=========================================================================

The digits that DeepConvNet gets wrong, and half precision against single.

``python examples/deep_convnet_mnist.py --iterations 2000``, or
``python examples/deep_convnet_mnist.py --weights RUN/weights.safetensors`` after ``xpnet train --model deep-convnet``.
"""

import argparse

import numpy as np

from xpnet import Adam, DeepConvNet, Trainer, backend_names, half
from xpnet.datasets import mnist
from xpnet.plotting import mistakes, save
from xpnet.schedules import Cosine

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--iterations", type=int, default=2000)
parser.add_argument("--weights", help="a file of weights, instead of training")
parser.add_argument("--samples", type=int, default=10_000, help="digits to test on")
parser.add_argument("--out", default="pictures", help="folder for the picture (default pictures)")
args = parser.parse_args()

(x_train, t_train), (x_test, t_test) = mnist(flatten=False)
x_test, t_test = x_test[: args.samples], t_test[: args.samples]
net = DeepConvNet(seed=0, backend=args.backend)
print(net.summary())
if args.weights:
    net.load(args.weights)
else:
    trainer = Trainer(net, Adam(lr=Cosine(0.001, args.iterations)), batch_size=100, seed=0)
    rows = np.random.default_rng(0).permutation(len(x_train))[: 100 * args.iterations]
    x, t = net.backend.asarray(x_train[rows]), net.backend.asarray(t_train[rows])
    trainer.fit(x, t, iterations=args.iterations)

x, t = net.backend.asarray(x_test), net.backend.asarray(t_test)
size = net.chunk((1, 28, 28))
parts = [x[start : min(start + size, len(x_test)), ...] for start in range(0, len(x_test), size)]
scores = np.concatenate([net.backend.to_numpy(net.predict(part)) for part in parts])
print(f"single precision: accuracy {np.mean(scores.argmax(axis=1) == t_test):.2%} of {len(t_test)} digits")
ax = mistakes(x_test[:, 0], t_test, scores)
print(f"wrote {save(ax, f'{args.out}/deep_convnet_mistakes.png')}")

# Three digits are enough to tell digits apart: weights and all between the layers in two bytes a number.
small = half(net)
in_half = np.concatenate([net.backend.to_numpy(small.predict(part)) for part in parts]).astype("float32")
print(f"half precision: accuracy {np.mean(in_half.argmax(axis=1) == t_test):.2%}, {small.nbytes:,} bytes of weights")
changed = int(np.sum(in_half.argmax(axis=1) != scores.argmax(axis=1)))
print(
    f"scores differ by {np.abs(in_half - scores).max():.2g} at most, of {np.abs(scores).max():.2g}; {changed} answers"
)
