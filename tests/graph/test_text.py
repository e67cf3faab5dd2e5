"""Graphs drawn with characters: drawings as they should be, and a reader that finds the graph again in any drawing."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from textwrap import dedent
from unicodedata import combining, east_asian_width

import pytest

import xpnet.graph.pictures.text as module
from xpnet.graph.pictures.scene import Arrow, Node, Scene
from xpnet.graph.pictures.text import text

BOX = re.compile(r"[(\[][^()\[\]]+[)\]]")
COMPUTED = ("operation", "group")


def scene(words, *arrows, note=""):
    """Of labels: in brackets a group, with letters or digits an input, any other sign an operation, last the output."""
    *labels, last = words.split()
    kinds = ["group" if w[0] == "[" else "input" if w[0].isalnum() else "operation" for w in labels]
    nodes = [Node(k, kind, w.strip("[]")) for k, (kind, w) in enumerate(zip(kinds, labels, strict=True))]
    return Scene((*nodes, Node(len(nodes), "output", last, note)), tuple(Arrow(*arrow) for arrow in arrows))


def drawn(picture):
    return dedent(picture).strip("\n")


def expanded(line):
    """One character for each column of a terminal."""
    return "".join(c + "\0" if east_asian_width(c) in ("W", "F") else c for c in line if not combining(c))


def columns(drawing):
    return max(len(expanded(line)) for line in drawing.split("\n"))


class Reader:
    """Finds the arrows in a drawing, with their texts and in the order of operands, and that nothing else is there."""

    def __init__(self, drawing):
        self.into, self.named = defaultdict(list), {}  #: arrows into each label; the label and value of each letter
        *figures, last = drawing.split("\n\n")
        for figure in (*figures, last):
            found = self.read(figure)
            if figure is not last:
                (end,) = {arrow[1] for arrow in found} - {arrow[0] for arrow in found}
                source, letter, forward, backward = found.pop([arrow[1] for arrow in found].index(end))
                assert re.fullmatch(r"\([a-z]+\)", letter) and letter not in self.named and not backward  # noqa: PT018
                self.named[letter] = source, forward
            for source, target, forward, backward in found:
                name, value = self.named.get(source, (source, forward))
                assert value == forward
                self.into[target].append((name, forward, backward))

    def read(self, figure):
        self.lines = [expanded(line).ljust(columns(figure) + 1) for line in ("", *figure.split("\n"), "")]
        self.rest = [list(line) for line in self.lines]
        found = []
        for row, line in enumerate(self.lines):
            for m in re.finditer("-+>", line):
                found += [(self.box(row, end=m.start() - 1), self.box(row, m.end() + 1), *self.beside(row, *m.span()))]
            for m in re.finditer(r"\^", line):
                self.take(row, *m.span())
                found += self.from_below(row + 1, m.start(), self.box(row - 1, middle=m.start()))
        assert not "".join(map("".join, self.rest)).strip()
        return found

    def from_below(self, row, column, target):
        lanes, texts = [], []
        while (sign := self.lines[row][column]) in "|+":
            self.take(row, column, column + 1)
            if sign == "+":
                first = re.search("-+$", self.lines[row][:column]).start()
                lanes.append((self.box(row, end=first - 1), target, *self.beside(row, first, column)))
            elif not lanes:
                texts.append(self.take(row, *re.search(r"(\S*) $", self.lines[row][:column]).span(1)))
            row += 1
        assert not (lanes and any(texts))
        return lanes or [(self.box(row, middle=column), target, *texts, "")[:4]]

    def beside(self, row, start, end):
        return [self.take(r, start, end) for r in (row, row - 1, row + 1)][1:]

    def box(self, row, start=-1, end=-1, middle=-1):
        """The one label of a row that starts, ends or has its middle in a column."""
        found = [m.span() for m in BOX.finditer(self.lines[row])]
        (span,) = [(s, e) for s, e in found if s == start or e == end or (s + e) // 2 == middle]
        return self.take(row, *span)

    def take(self, row, start, end):
        words = self.lines[row][start:end]
        self.rest[row][start:end] = " " * len(words)
        return words.replace("\0", "").strip()


def random_scene(seed, style):
    """Operations of up to four operands, any of them used again; style: which arrows have which texts."""
    rng = random.Random(seed)
    nodes, arrows, values, most = [], [], {}, 15 if style == "long" else 0

    def node(kind, label, *sources):
        for source in sources:
            n, dots = len(arrows), "." * rng.randint(0, most)
            odd = ["" if n and style == "gaps" else "7"]
            value = values.setdefault(source, rng.choice([f"{n}{dots}", f"値{n}", *odd]))
            back = rng.choice([f"d{n}{dots}", f"Ｄ{n}", *odd])
            arrows.append(Arrow(source, len(nodes), *{"bare": (), "forward": (value,)}.get(style, (value, back))))
        nodes.append(Node(len(nodes), kind, label))
        return nodes[-1].key

    def unused():
        return [n.key for n in nodes if n.kind in COMPUTED and all(a.source != n.key for a in arrows)]

    def operand():
        n = len(nodes)
        if nodes and rng.random() < 0.6:
            return rng.choice(unused() or [0]) if rng.random() < 0.5 else rng.choice(nodes).key
        label = rng.choice([f"x{n}", f"数{n}", "abcd"[n % 4] * (n // 4 + 1 + 2 * most)])
        return node(rng.choice(["input", "number"]), label)

    for _ in range(rng.randint(1, 16)):
        node(rng.choice(COMPUTED), f"f{len(nodes)}", *[operand() for _ in range(rng.choice([1, 1, 2, 2, 3, 4]))])
    while len(unused()) > 1:
        node("operation", f"f{len(nodes)}", *unused()[:3])
    node("output", "y", *unused())
    return Scene(tuple(nodes), tuple(arrows))


def expected(scene):
    """What a reader has to find: for each label of a node, the arrows into it, with that of the trunk in front."""
    labels = [f"[{n.label}]" if n.kind == "group" else f"({n.label})" for n in scene.nodes]
    found, uses = {}, Counter(arrow.source for arrow in scene.arrows)
    for key in {arrow.target for arrow in scene.arrows}:
        arrows = [a for a in scene.arrows if a.target == key]
        lanes = [a for a in arrows if scene.nodes[a.source].kind in COMPUTED and uses[a.source] == 1]
        if scene.nodes[key].kind != "operation":  # those here are none whose operands can change places
            arrows[:0] = [arrows.pop(arrows.index(a)) for a in lanes[:1]]
        found[labels[key]] = [(labels[a.source], a.forward, a.backward) for a in arrows]
    return found


def test_a_purchase():
    arrows = (0, 2, "100", "2.2"), (1, 2, "2", "110"), (2, 4, "200", "1.1"), (3, 4, "1.1", "200"), (4, 5, "220", "1")
    assert text(scene("apple number * tax * pay", *arrows)) == drawn("""
                 100       200       220
        (apple) ----> (*) ----> (*) ----> (pay)
                 2.2   ^   1.1   ^    1
                     2 |     1.1 |
                   110 |     200 |
                   (number)    (tax)
    """)


def test_an_operand_that_is_computed_has_a_lane_and_a_lane_is_cut_where_it_would_be_too_wide():
    left = [(0, 2, "100", "2.2"), (1, 2, "2", "110"), (3, 5, "150", "3.3"), (4, 5, "3", "165"), (2, 6, "200", "1.1")]
    right = [(5, 6, "450", "1.1"), (6, 8, "650", "1.1"), (7, 8, "1.1", "650"), (8, 9, "715", "1")]
    fruits = scene("apple number * orange number * + tax * pay", *left, *right)
    whole = drawn("""
                 100       200       650       715
        (apple) ----> (*) ----> (+) ----> (*) ----> (pay)
                 2.2   ^   1.1   ^   1.1   ^    1
                     2 |         |     1.1 |
                   110 |         |     650 |
                   (number)      |       (tax)
                                 |
                  150       450  |
        (orange) ----> (*) ------+
                  3.3   ^   1.1
                      3 |
                    165 |
                    (number)
    """)
    assert text(fruits) == text(fruits, 49) == whole
    left, right = text(fruits, 48).split("\n\n")
    assert left.split("\n")[1] == "(apple) ----> (*) ----> (+) ----> (a)"
    assert right.startswith("     650       715\n(a) ----> (*) ----> (pay)\n     1.1   ^    1\n")


def test_a_layer_has_a_lane_for_each_parameter_beside_those_of_the_layer_before():
    first = (0, 3, "(9, 784) norm 91.4", "norm 1"), (1, 3, "(784, 5) norm 1.9", "norm 2"), (2, 3, "norm 0", "norm 3")
    second = (3, 6, "(9, 5) norm 3.3", "norm 4"), (4, 6, "(5, 2) norm 1", "norm 5"), (5, 6, "norm 0", "norm 6")
    loss = (6, 8, "norm 5", "norm 7"), (7, 8, "norm 3"), (8, 9, "2.302", "1")
    assert text(scene("x W1 b1 [Affine1] W2 b2 [Affine2] t [Softmax] loss", *first, *second, *loss)) == drawn("""
             (9, 784) norm 91.4             (9, 5) norm 3.3             norm 5             2.302
        (x) -------------------> [Affine1] ----------------> [Affine2] -------> [Softmax] ------> (loss)
                   norm 1            ^          norm 4           ^      norm 7      ^        1
                                     |                           |           norm 3 |
                  (784, 5) norm 1.9  |            (5, 2) norm 1  |                  |
            (W1) --------------------+      (W2) ----------------+                 (t)
                        norm 2       |                norm 5     |
                                     |                           |
                        norm 0       |                norm 0     |
            (b1) --------------------+      (b2) ----------------+
                        norm 3                        norm 6
    """)


def test_a_node_may_be_used_twice_by_one_operation():
    square = scene("x * y", (0, 1, "3", "3"), (0, 1, "3", "3"), (1, 2, "9", "1"), note="and here is a note")
    assert text(square) == drawn("""
              3         9
        (x) ----> (*) ----> (y)
              3    ^    1
                 3 |
                 3 |
                  (x)

        derivatives of y: and here is a note
    """)


def test_a_computed_value_that_is_used_twice_has_a_figure_of_its_own():
    arrows = (
        (0, 1, "4", "0.5"),
        (1, 3, "2", "2"),
        (2, 3, "2", "2"),
        (3, 4, "4", "1"),
        (1, 4, "2", "1"),
        (4, 5, "6", "1"),
    )
    assert text(scene("a √ 2 * + y", *arrows)) == drawn("""
              4         2
        (a) ----> (√) ----> (b)
             0.5

              2         4         6
        (b) ----> (*) ----> (+) ----> (y)
              2    ^    1    ^    1
                 2 |       2 |
                 2 |       1 |
                  (2)       (b)
    """)


def test_a_wide_character_takes_two_columns_and_a_mark_none():
    arrows = (
        (0, 2, "100円", "2.2"),
        (1, 2, "2個", "110"),
        (2, 4, "200円", "1"),
        (3, 4, "1.1倍", "200"),
        (4, 5, "220円", "1"),
    )
    assert text(scene("りんご 個数 × 消費税 × 支払い", *arrows)) == drawn("""
                  100円       200円       220円
        (りんご) ------> (×) ------> (×) ------> (支払い)
                   2.2    ^     1     ^     1
                      2個 |     1.1倍 |
                      110 |       200 |
                       (個数)     (消費税)
    """)
    marked = text(scene("a\u0308 b + y", (0, 2, "1\u0302", "2"), (1, 2), (2, 3)))
    assert re.sub("[\u0302-\u0308]", "", marked) == text(scene("a b + y", (0, 2, "1", "2"), (1, 2), (2, 3)))


def test_without_texts_there_are_no_lines_for_them():
    assert text(scene("x W b [A] V [B] y", (0, 3), (1, 3), (2, 3), (3, 5), (4, 5), (5, 6))) == drawn("""
        (x) ----> [A] ----> [B] ----> (y)
                   ^         ^
                   |         |
         (W) ------+        (V)
                   |
         (b) ------+
    """)


def test_letters_are_not_those_of_labels_and_go_on_after_z():
    letters = re.findall(r"> \((\w+)\)$", text(scene(f"y {'+ ' * 60} out", *((k, k + 1) for k in range(61))), 34), re.M)
    assert letters[:3] + letters[23:26] == ["a", "b", "c", "x", "z", "aa"]


@pytest.mark.parametrize("width", [40, 60, 140, 1_000_000])
@pytest.mark.parametrize("style", ["full", "gaps", "forward", "bare", "long"])
def test_a_reader_finds_the_graph_in_the_drawing(style, width):
    for seed in range(25):
        graph = random_scene(seed, style)
        drawing = text(graph, width)
        assert Reader(drawing).into == expected(graph), f"seed {seed}:\n{drawing}"
        assert columns(drawing) <= (width if style != "long" else max(width, 140)), f"seed {seed}:\n{drawing}"


def test_operands_change_places_only_where_that_makes_no_difference():
    arrows = (0, 1, "4"), (2, 3, "2"), (1, 3, "16"), (3, 4, "32")
    assert "(x) ----> (**2) ----> (*) ----> (y)" in text(scene("x **2 a * y", *arrows))
    assert "(a) ---------------> (-) ----> (y)" in text(scene("x **2 a - y", *arrows))


@pytest.mark.parametrize("width", [100, 1_000_000])
def test_a_long_trunk_needs_no_recursion(width):
    assert text(scene(f"x {'+ ' * 9999} y", *((k, k + 1) for k in range(10_000))), width).count("(+)") == 9999


def test_what_has_no_room_is_found(monkeypatch):
    monkeypatch.setattr(module, "_length", lambda *texts: 5)
    with pytest.raises(RuntimeError, match="has no room in row"):
        text(scene("x + * y", (0, 1, "1" * 20), (1, 2, "2" * 20), (2, 3)))
