"""Graphs to draw: small ones, long ones, and one whose texts mean something to every language they are written in."""

from __future__ import annotations

from xpnet.graph.pictures.scene import Arrow, Node, Scene

HOSTILE = ['"q"', "<b>", "a & b &lt;", "\\", "\\N\\G", "charset=", "りんご", "", "w" * 300, "12", "end", "node", "%"]
HOSTILE += ["1. x", "- x", "`a`", "[a](b)", "|", "#35;", "*x*", "$$x$$", "]]>", "<!--", "'", "x_1", "-->", ";", "{y}"]


def scene(nodes, arrows):
    kinds = {"i": "input", "n": "number", "o": "operation", "g": "group", "p": "output"}
    made = (Node(key, kinds[kind], *texts) for key, (kind, *texts) in nodes.items())
    return Scene(tuple(made), tuple(Arrow(*arrow) for arrow in arrows))


def fruit():
    """Two branches that meet, and a tax that is the first operand though it was not computed."""
    nodes = {0: ("i", "apple"), 1: ("n", "2"), 2: ("o", "*"), 3: ("i", "orange"), 4: ("n", "3"), 5: ("o", "*")}
    nodes |= {6: ("o", "+"), 7: ("i", "tax"), 8: ("o", "*"), 9: ("p", "pay")}
    arrows = [(0, 2, "100", "2.2"), (1, 2, "2", "110"), (3, 5, "150", "3.3"), (4, 5, "3", "165"), (2, 6, "200", "1.1")]
    arrows += [(5, 6, "450", "1.1"), (7, 8, "1.1", "650"), (6, 8, "650", "1.1"), (8, 9, "715", "1")]
    return scene(nodes, arrows)


def diamond():
    nodes = {0: ("i", "x", "sum 7"), 1: ("i", "y"), 2: ("o", "+"), 3: ("o", "*"), 4: ("p", "z")}
    return scene(nodes, [(0, 2, "2", "2"), (1, 2, "3", "2"), (2, 3, "5", "2"), (0, 3, "2", "5"), (3, 4, "10", "1")])


def square():
    return scene({0: ("i", "x"), 1: ("o", "*"), 2: ("p", "z")}, [(0, 1, "3", "3"), (0, 1, "3", "3"), (1, 2, "9", "1")])


def network():
    nodes = {0: ("i", "x"), 1: ("i", "W1"), 2: ("i", "b1"), 3: ("g", "Affine1"), 4: ("g", "Relu1"), 5: ("i", "t")}
    nodes |= {6: ("g", "SoftmaxWithLoss"), 7: ("p", "loss")}
    arrows = [(0, 3, "(100, 784) norm 91.4", "norm 0.0213"), (1, 3, "(784, 50) norm 1.98", "norm 0.412")]
    arrows += [(2, 3, "(50,) norm 0", "norm 0.0617"), (3, 4, "(100, 50) norm 31.2", "norm 0.0312")]
    arrows += [(4, 6, "(100, 50) norm 22.9", "norm 0.0417"), (5, 6, "(100, 10) norm 10", ""), (6, 7, "2.301", "1")]
    return scene(nodes, arrows)


def hostile():
    """Each text as an input's name, over and under an arrow, as an operation and as a group with a note."""
    nodes, arrows, end = {}, [], 10_000
    for i, text in enumerate(HOSTILE):
        nodes |= {3 * i: ("i", text), 3 * i + 1: ("o", text), 3 * i + 2: ("g", text, text)}
        there = 3 * i + 1, 3 * i + 2
        arrows += [(3 * i, 3 * i + 1, text, text), there, there, (3 * i + 2, end, text, "")]
    return scene(nodes | {end: ("p", "end")}, arrows)


def long():
    """60 operations; every seventh result is used a second time, far away, and some names are long."""
    names = ["+", "exp", "matrix_transpose", "*", "-"]
    nodes = {0: ("i", "x")} | {i: ("o", names[i % 5] if i % 7 else "+") for i in range(1, 61)} | {61: ("p", "z")}
    arrows = []
    for i in range(1, 61):
        arrows.append((i - 1, i, f"{1 / i:.4g}", f"{-i:.3g}"))
        if i > 12 and i % 7 == 0:
            arrows.append((i - 12, i, f"{i * 1e5:.4g}", "0"))
    return scene(nodes, [*arrows, (60, 61, "1", "1")])


SCENES = {f.__name__: f() for f in (fruit, diamond, square, network, hostile, long)}
