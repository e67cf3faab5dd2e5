"""Activations and initial weights / 活性化関数と重みの初期値
==========================================================

Step, sigmoid and ReLU; softmax that does not overflow; what initial weights do to a deep network.

``python examples/activations.py --backend jax``
"""

import argparse

import numpy as np

from xpnet import MultiLayerNet, backend_names, get_backend
from xpnet.functions import relu, sigmoid, softmax, step
from xpnet.plotting import activation_histograms, activations, function_curves, save

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--out", default="pictures", help="folder for the pictures (default pictures)")
args = parser.parse_args()
backend = get_backend(args.backend)
show = backend.to_numpy

x = backend.asarray([-1.0, 1.0, 2.0])
for function in (step, sigmoid, relu):
    print(f"{function.__name__:8} of {show(x)} is {show(function(x)).round(8)}")
ax = function_curves({"step": step, "sigmoid": sigmoid, "ReLU": relu}, x=(-5, 5))
print(f"wrote {save(ax, f'{args.out}/activations.png')}")

# exp(1010) is too large for any float. Softmax of scores that are all 1010 lower is the same, and is not.
scores = backend.asarray([1010.0, 1000.0, 990.0])
with np.errstate(all="ignore"):
    e = backend.xp.exp(scores)
    naive = e / backend.xp.sum(e)
print(f"softmax of {show(scores)}, as the formula has it: {show(naive)}")
print(f"softmax of {show(scores)}, the maximum taken off: {show(softmax(scores))}")

# Five layers of 100 sigmoids: with weights from N(0, 1) they end up at 0 and 1, where no gradient comes through.
rng = np.random.default_rng(0)
samples = backend.asarray(rng.standard_normal((1000, 100)), "float32")
for name, weights in (("std_1", 1.0), ("std_0.01", 0.01), ("xavier", "xavier")):
    net = MultiLayerNet(100, [100] * 5, 10, activation="sigmoid", weight_init=weights, seed=0, backend=backend)
    outputs = {k: v for k, v in activations(net, samples).items() if k.startswith("Sigmoid")}
    spread = [f"{float(show(v).std()):.3f}" for v in outputs.values()]
    print(f"weights {name:9} standard deviation of the activations, layer by layer: {', '.join(spread)}")
    ax = activation_histograms(outputs)
    ax.set_title(f"activations, weights: {name}")
    print(f"wrote {save(ax, f'{args.out}/histograms_{name}.png')}")
