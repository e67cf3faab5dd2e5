"""TwoLayerNet on MNIST / 2層ネットワークでMNISTを学習する
=======================================================

TwoLayerNet on MNIST, with its curves.

``python examples/train_mnist.py --backend torch --iterations 10000``
"""

import argparse

from xpnet import SGD, Trainer, TwoLayerNet, backend_names
from xpnet.datasets import mnist
from xpnet.functions import softmax
from xpnet.plotting import digits, save, training_curves

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--iterations", type=int, default=10_000)
parser.add_argument("--out", default="pictures", help="folder for the pictures (default pictures)")
args = parser.parse_args()

net = TwoLayerNet(784, 50, 10, seed=0, backend=args.backend)

# Data goes to the backend once, and only because we say so.
(x_train, t_train), (x_test, t_test) = mnist()
move = net.backend.asarray
x_train, t_train, x_test, t_test = move(x_train), move(t_train), move(x_test), move(t_test)

trainer = Trainer(net, SGD(lr=0.1), batch_size=100, seed=0)
history = trainer.fit(x_train, t_train, validation=(x_test, t_test), iterations=args.iterations, callbacks=[print])
print(f"{history.samples_per_second:,.0f} samples/s")

# Scores become probabilities.
p = net.backend.to_numpy(softmax(net.predict(x_test[:1, ...])))[0]
print(f"the first test image is a {p.argmax()}, with probability {p.max():.4f}; its label is {int(t_test[0])}")

# The curves, and test images with those that the network gets wrong first.
print(f"wrote {save(training_curves(history), f'{args.out}/training.png')}")
predicted = net.backend.xp.argmax(net.predict(x_test[:1000, ...]), axis=1)
print(f"wrote {save(digits(x_test[:1000, ...], t_test[:1000, ...], predicted), f'{args.out}/digits.png')}")
