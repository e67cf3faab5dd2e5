"""Overfitting, weight decay and dropout / 過学習と正則化
======================================================

300 digits learnt by heart, and what weight decay and dropout do about it.

``python examples/overfitting_mnist.py --iterations 900``
"""

import argparse

from xpnet import SGD, MultiLayerNet, Trainer, backend_names, get_backend
from xpnet.datasets import mnist
from xpnet.plotting import new_figure, save

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--iterations", type=int, default=900, help="of each network; 3 are an epoch")
parser.add_argument("--out", default="pictures", help="folder for the picture (default pictures)")
args = parser.parse_args()
backend = get_backend(args.backend)

(x_train, t_train), (x_test, t_test) = mnist()
x, t = backend.asarray(x_train[:300]), backend.asarray(t_train[:300])
held_out = backend.asarray(x_test[:2000]), backend.asarray(t_test[:2000])

# The book's penalty λ/2 ΣW² has the gradient λW: what is called weight decay here. It is for weights, not for biases.
ways = {"nothing": (0.0, 0.0), "weight decay 0.1": (0.1, 0.0), "dropout 0.2": (0.0, 0.2)}
figure, axes = new_figure(3)
for (name, (decay, dropout)), ax in zip(ways.items(), axes, strict=True):
    net = MultiLayerNet(784, [100] * 6, 10, weight_init="he", dropout=dropout, seed=0, backend=backend)
    trainer = Trainer(net, SGD(lr=0.01, weight_decay=decay), batch_size=100, seed=0)
    history = trainer.fit(x, t, validation=held_out, iterations=args.iterations, progress=False)
    steps = [e.iteration for e in history.evaluations]
    train = [e.train_accuracy for e in history.evaluations]
    test = [e.validation_accuracy for e in history.evaluations]
    print(f"{name:16} accuracy: train {train[-1]:.1%}, test {test[-1]:.1%}, gap {train[-1] - test[-1]:.1%}")
    ax.plot(steps, train, label="the 300 digits")
    ax.plot(steps, test, "--", label="others")
    ax.set(title=name, xlabel="iteration", ylabel="accuracy", ylim=(0, 1.02))
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
print(f"wrote {save(figure, f'{args.out}/overfitting_mnist.png')}")
