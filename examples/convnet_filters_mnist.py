"""Filters of a convolution / 畳み込み層のフィルターの可視化
=========================================================

What the filters of a convolution look for, before and after training.

``python examples/convnet_filters_mnist.py --iterations 1000``
"""

import argparse

from xpnet import Adam, SimpleConvNet, Trainer, backend_names
from xpnet.datasets import mnist
from xpnet.plotting import activations, feature_maps, filters, new_figure, save

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--iterations", type=int, default=1000)
parser.add_argument("--out", default="pictures", help="folder for the pictures (default pictures)")
args = parser.parse_args()

(x_train, t_train), (x_test, t_test) = mnist(flatten=False)
net = SimpleConvNet(seed=0, backend=args.backend)
x, t, x_t, t_t = (net.backend.asarray(a) for a in (x_train, t_train, x_test[:1000], t_test[:1000]))

figure, (before, after) = new_figure(2)
filters(net.params["W1"], before)
before.set_title("30 filters, as they start")
trainer = Trainer(net, Adam(lr=0.001), batch_size=100, seed=0)
trainer.fit(x[:20_000, ...], t[:20_000, ...], iterations=args.iterations)
filters(net.params["W1"], after)
after.set_title(f"after {args.iterations} minibatches: edges and blobs")
print(f"accuracy on 1,000 digits that it has not seen: {net.accuracy(x_t, t_t):.1%}")
print(f"wrote {save(figure, f'{args.out}/filters_mnist.png')}")

found = activations(net, x_t[:1, ...])
figure, axes = new_figure(3)
for name, ax in zip(("Conv1", "Relu1"), axes[:2], strict=True):
    feature_maps(found[name][0, ...], ax)
    ax.set_title(f"a {int(t_test[0])} behind {name}: {tuple(found[name].shape[1:])}")
pooled = list(found)[2]
feature_maps(found[pooled][0, ...], axes[2])
axes[2].set_title(f"behind {pooled}: {tuple(found[pooled].shape[1:])}")
print(f"wrote {save(figure, f'{args.out}/feature_maps_mnist.png')}")
