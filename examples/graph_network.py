"""A network as a graph / 2層ネットワークの計算グラフ
==================================================

TwoLayerNet as a graph: its gradient once by hand, once by the graph.

``python examples/graph_network.py --backend torch``
"""

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from xpnet import TwoLayerNet, backend_names
from xpnet.datasets import mnist
from xpnet.graph import draw, value_and_grad

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--out", type=Path, default=Path("pictures"), help="folder for the pictures")
args = parser.parse_args()
if find_spec("pygraphviz") is None:
    parser.error('its pictures need another package: pip install "xpnet[graph]", in a checkout pip install ".[graph]"')
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise

(x, t), _ = mnist()
net = TwoLayerNet(784, 50, 10, seed=0, dtype="float64", backend=args.backend)
x, t = net.backend.asarray(x[:3], "float64"), net.backend.asarray(t[:3])

drawing = draw(net, x, t)
print(drawing)
print(f"wrote {drawing.save(args.out / 'network.png')}")
print(f"wrote {draw(net, x, t, unfold=['Softmax with loss']).save(args.out / 'softmax_with_loss.png')}")


def loss(params, x, t):
    """The forward alone."""
    return net.loss_layer.forward(net.forward(params, x), t)[0]


value, by_graph = value_and_grad(loss)(net.params, x, t)
by_hand = net.gradient(x, t)
print(f"loss {float(value):.6f}")
show = net.backend.to_numpy
for name, g in by_hand.items():
    print(f"{name}: by hand and by the graph differ by {abs(show(g) - show(by_graph[name])).max():.1e}")
