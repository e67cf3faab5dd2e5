"""The chain rule and one neuron / 連鎖律と一つのニューロン
========================================================

The chain rule, step by step, and one neuron with sigmoid.

``python examples/graph_chain_rule.py --backend torch``
"""

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from xpnet import backend_names, namespace, use_backend
from xpnet.graph import draw, grad, variable

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--out", type=Path, default=Path("pictures"), help="folder for the pictures")
args = parser.parse_args()
if find_spec("pygraphviz") is None:
    parser.error('its pictures need another package: pip install "xpnet[graph]", in a checkout pip install ".[graph]"')
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise
use_backend(args.backend)

x, y = variable(3, "x"), variable(2, "y")
t = x + y
z = t**2
t.name, z.name = "t", "z"
drawing = draw(z)
z.backward()
print("z = t^2, t = x + y")
print(drawing)
print(f"dz/dz = {float(z.grad):g}")
print(f"dz/dt = 2t dz/dz = {float(t.grad):g}")
print(f"dz/dx = 1 dz/dt  = {float(x.grad):g}, which is 2(x + y)")
print(f"d^2z/dx^2        = {float(grad(grad(lambda x: (x + 2.0) ** 2))(3.0)):g}")
print(f"wrote {drawing.save(args.out / 'chain_rule.png')}\n")

w1, w2, b = variable(0.5, "w1"), variable(-0.4, "w2"), variable(0.1, "b")
x1, x2 = variable(1, "x1"), variable(2, "x2")
u = w1 * x1 + w2 * x2 + b
phi = 1 / (1 + namespace(u).exp(-u))
u.name, phi.name = "u", "phi"
drawing = draw(phi)
phi.backward()
print("phi(u) = 1 / (1 + exp(-u)), u = w1 x1 + w2 x2 + b")
print(drawing)
value = float(phi)
for name, w, x in (("w1", w1, x1), ("w2", w2, x2)):
    formula = (1 - value) * value * float(x)
    print(f"dphi/d{name}: by the graph {float(w.grad):.10f}, (1 - phi(u)) phi(u) x{name[1]} = {formula:.10f}")
print(f"wrote {drawing.save(args.out / 'neuron.png')}")
