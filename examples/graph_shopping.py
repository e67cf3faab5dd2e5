"""Apples, oranges and tax / りんごとみかんの計算グラフ
====================================================

Apples, oranges and tax: values forward, derivatives backward.

``python examples/graph_shopping.py --backend torch``
"""

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from xpnet import backend_names, use_backend
from xpnet.book import AddLayer, MulLayer
from xpnet.graph import draw, variable

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--out", type=Path, default=Path("pictures"), help="folder for the pictures")
args = parser.parse_args()
if find_spec("pygraphviz") is None:
    parser.error('its pictures need another package: pip install "xpnet[graph]", in a checkout pip install ".[graph]"')
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise
use_backend(args.backend)


def show(pay, name):
    """Print the graph, and save it."""
    pay.name = "pay"
    drawing = draw(pay)
    print(f"{drawing}\nwrote {drawing.save(args.out / f'{name}.png')}\n")


print("Two apples at 100, with 10 % tax.")
apple, number, tax = variable(100, "apple"), variable(2, "number"), variable(1.1, "tax")
show(apple * number * tax, "apples")

print("Beside other shopping for 4,000. The apples' path does not ask how the 4,000 came about:")
for other in (variable(4000, "other"), variable(8, "cakes") * variable(500, "cake")):
    apple, number, tax = variable(100, "apple"), variable(2, "number"), variable(1.1, "tax")
    basket = apple * number + other
    basket.name = "basket"
    pay = basket * tax
    show(pay, "local_cakes" if other.inputs else "local")
    pay.backward()
    print(f"pay {float(pay):g}, one yen more an apple makes it {float(apple.grad):g} yen more\n")

print("Two apples at 100, three oranges at 150, with 10 % tax.")
apple, apples = variable(100, "apple"), variable(2, "apples")
orange, oranges, tax = variable(150, "orange"), variable(3, "oranges"), variable(1.1, "tax")
pay = (apple * apples + orange * oranges) * tax
show(pay, "apples_and_oranges")
pay.backward()
by_graph = [float(v.grad) for v in (apple, apples, orange, oranges, tax)]

buy_apples, buy_oranges, add, add_tax = MulLayer(), MulLayer(), AddLayer(), MulLayer()
price = add_tax.forward(add.forward(buy_apples.forward(100, 2), buy_oranges.forward(150, 3)), 1.1)
d_basket, d_tax = add_tax.backward(1)
d_apples, d_oranges = add.backward(d_basket)
by_layers = [*buy_apples.backward(d_apples), *buy_oranges.backward(d_oranges), d_tax]
print(f"by the graph           pay {float(pay):g}, derivatives {', '.join(f'{d:g}' for d in by_graph)}")
print(f"by MulLayer, AddLayer  pay {price:g}, derivatives {', '.join(f'{d:g}' for d in by_layers)}")
