"""Scenes as Graphviz and Mermaid source, and what Graphviz makes of it: all texts, none on another, lines that meet."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
import threading
import warnings
from collections import Counter
from html import unescape
from itertools import combinations
from xml.etree import ElementTree

import pytest
from graph_scenes import SCENES, scene

from xpnet.graph.pictures.dot import DERIVATIVE, INK, PALE, DrawingUnavailableError, _listening, dot, render
from xpnet.graph.pictures.mermaid import mermaid
from xpnet.graph.pictures.scene import Scene

SVG = "{http://www.w3.org/2000/svg}"
pytestmark = pytest.mark.usefixtures("graphviz")
DRAWN = pytest.mark.parametrize("name", SCENES)


def layout(source):
    """Graphviz's own account of where everything is: nodes by name, edges, and the page, y upwards."""
    from pygraphviz import AGraph

    with _listening([]):
        found = json.loads(AGraph(string=source).draw(format="json", prog="dot"))
    objects = found["objects"]
    edges = [(objects[e["tail"]]["name"], objects[e["head"]]["name"]) for e in found["edges"]]
    return {o["name"]: o for o in objects}, edges, [float(v) for v in found["bb"].split(",")]


def box(node):
    (x, y), w, h = map(float, node["pos"].split(",")), float(node["width"]) * 36, float(node["height"]) * 36
    return x - w, y - h, x + w, y + h


def svg(name):
    return ElementTree.fromstring(render(dot(SCENES[name]), "svg"))


def label(node):
    return {"*": "×", "/": "÷", "-": "−"}.get(node.label, node.label) if node.kind == "operation" else node.label


def has_texts(arrow):
    return bool(arrow.forward or arrow.backward)


@DRAWN
def test_graphviz_reads_the_nodes_and_edges_of_the_scene(name):
    from pygraphviz import AGraph

    graph, drawn = AGraph(string=dot(SCENES[name])), SCENES[name]
    labelled = {f"a{i}": a for i, a in enumerate(drawn.arrows) if has_texts(a)}
    assert set(graph.nodes()) == {f"n{n.key}" for n in drawn.nodes} | set(labelled)
    expected = Counter((f"n{a.source}", f"n{a.target}") for a in drawn.arrows if not has_texts(a))
    for label, arrow in labelled.items():
        expected.update([(f"n{arrow.source}", label), (label, f"n{arrow.target}")])
    assert Counter(tuple(e) for e in graph.edges()) == expected


@DRAWN
def test_every_text_is_in_the_svg_once_per_use(name):
    texts = [text for n in SCENES[name].nodes for text in (label(n), n.note)]
    texts += [text for a in SCENES[name].arrows for text in (a.forward, a.backward)]
    shown = [e.text or "" for e in svg(name).iter(SVG + "text")]
    assert Counter(t for t in shown if t.strip()) == Counter(t for t in texts if t.strip())


@DRAWN
def test_nothing_overlaps_all_is_on_the_page_and_arrows_go_to_the_right(name):
    nodes, edges, (left, bottom, right, top) = layout(dot(SCENES[name]))
    boxes = {key: box(node) for key, node in nodes.items()}
    for key, (x0, y0, x1, y1) in boxes.items():
        assert left - 0.1 <= x0 < x1 <= right + 0.1, key
        assert bottom - 0.1 <= y0 < y1 <= top + 0.1, key
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        apart = a[2] <= b[0] + 0.1 or b[2] <= a[0] + 0.1 or a[3] <= b[1] + 0.1 or b[3] <= a[1] + 0.1
        assert apart, (one, other)
    assert edges
    assert all(boxes[tail][2] <= boxes[head][0] + 0.1 for tail, head in edges)


@pytest.mark.parametrize("name", ["fruit", "diamond", "square", "network", "long"])
def test_lines_meet_with_the_value_above_and_the_derivative_below(name):
    drawn, groups = SCENES[name], {}
    for part in svg(name).iter(SVG + "g"):
        groups.setdefault(part.get("class"), []).append(part)
    labels = [g for g in groups["node"] if g.find(SVG + "polygon") is not None and len(g.findall(SVG + "text")) <= 2]
    paths = [path.get("d") for group in groups["edge"] for path in group.iter(SVG + "path")]
    ends = [[float(v) for v in re.findall(r"-?[\d.]+", path)] for path in paths]
    pairs = Counter()
    for label in labels:
        points = [tuple(map(float, p.split(","))) for p in label.find(SVG + "polygon").get("points").split()]
        if len({y for _, y in points}) > 1:  # a box, not a rule
            continue
        (x0, y), (x1, _) = min(points), max(points)
        colours = {t.get("fill"): t for t in label.findall(SVG + "text")}
        pairs[tuple(colours[fill].text.strip() if fill in colours else "" for fill in (INK, DERIVATIVE))] += 1
        assert y - 18 < float(colours[INK].get("y")) < y - 1  # of the line that letters stand on
        assert DERIVATIVE not in colours or y + 9 < float(colours[DERIVATIVE].get("y")) < y + 18
        assert any(x0 <= e[-2] <= x0 + 1.5 and abs(e[-1] - y) < 0.1 for e in ends), "a line ends in the rule's left end"
        assert any(x1 - 1.5 <= e[0] <= x1 and abs(e[1] - y) < 0.1 for e in ends), "a line begins in its right end"
    assert pairs == Counter((a.forward, a.backward) for a in drawn.arrows)


TRUNKS = {"fruit": "n0 n2 n6 n8 n9", "diamond": "n0 n2 n3 n4", "network": "n0 n3 n4 n6 n7"}


@pytest.mark.parametrize("name", TRUNKS)
def test_the_trunk_is_straight_and_operands_stand_in_their_order(name):
    nodes, _, _ = layout(dot(SCENES[name]))
    heights = {key: float(node["pos"].split(",")[1]) for key, node in nodes.items()}
    assert len({round(heights[key]) for key in TRUNKS[name].split()}) == 1
    order = [heights[key] for key in {"fruit": "n0 n1 n3 n4", "diamond": "n0 n1", "network": "n0 n1 n2"}[name].split()]
    assert order == sorted(set(order), reverse=True)


def test_png_has_the_size_of_the_svg_at_144_dots_an_inch():
    source = dot(SCENES["fruit"])
    png = render(source, "png")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    root = ElementTree.fromstring(render(source, "svg"))
    for pixels, side in zip(struct.unpack(">II", png[16:24]), ("width", "height"), strict=True):
        assert root.get(side).endswith("pt")
        assert abs(pixels - 2 * float(root.get(side)[:-2])) <= 2


def test_forms():
    source = dot(SCENES["fruit"])
    image = render(source, "svg")
    assert image.startswith(b"<svg")
    assert b"<title>" not in image
    assert b'<polygon fill="white" stroke="none"' in image
    assert render(dot(Scene((), ())), "svg").startswith(b"<svg")
    assert render(source, "pdf").startswith(b"%PDF-")
    with pytest.raises(ValueError, match="form is 'gif', expected one of: svg, png, pdf"):
        render(source, "gif")


def test_line_breaks_and_control_characters_are_not_drawn():
    torn = scene({0: ("i", "a\nb\x00\ud800"), 1: ("p", "\u2028z\r\n", "no\tte")}, [(0, 1, "1\n2", "\x1b3")])
    texts = [e.text.strip() for e in ElementTree.fromstring(render(dot(torn), "svg")).iter(SVG + "text")]
    assert sorted(texts) == ["1 2", "3", "a b", "no te", "z"]
    assert mermaid(torn).count("\n") == 4


@pytest.mark.parametrize("ink", [INK, DERIVATIVE])
@pytest.mark.parametrize("paper", ["#ffffff", PALE])
def test_contrast(ink, paper):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert (luminance(paper) + 0.05) / (luminance(ink) + 0.05) >= 4.5


BROKEN = ["digraph { a -> }", "no graph", "digraph { a [label=<<TABLE><TR>x</TR></TABLE>>] }"]


@pytest.mark.parametrize("broken", BROKEN)
def test_what_graphviz_says_is_in_the_error(broken, capfd):
    with pytest.raises(ValueError, match=r"Graphviz cannot draw this source: Error: .*line 1"):
        render(broken, "svg")
    assert capfd.readouterr().err == ""


def test_warnings_of_graphviz_are_passed_on_and_those_about_fonts_are_not(capfd):
    with pytest.warns(RuntimeWarning, match="Graphviz: Warning: nocolour is not a known color"):
        assert render("digraph { a [color=nocolour] }", "svg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(dot(SCENES["fruit"]), "png")
    assert capfd.readouterr().err == ""
    os.write(2, b"still open")
    assert capfd.readouterr().err == "still open"


def test_threads_draw_at_once():
    expected, drawn, before = render(dot(SCENES["long"]), "svg"), [], os.fstat(2)
    threads = [threading.Thread(target=lambda: drawn.append(render(dot(SCENES["long"]), "svg"))) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert drawn == [expected] * 4
    assert os.path.samestat(before, os.fstat(2))


def test_without_pygraphviz_sources_are_made_and_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    source, _ = dot(SCENES["fruit"]), mermaid(SCENES["fruit"])
    with pytest.raises(DrawingUnavailableError, match=r'needs pygraphviz.*pip install "xpnet\[graph\]".*Mermaid'):
        render(source, "svg")
    assert issubclass(DrawingUnavailableError, ImportError)


def test_mermaid_of_a_number_and_an_input():
    lines = mermaid(SCENES["fruit"]).splitlines()
    assert [line.strip() for line in lines[1:4]] == ['n0("apple")', 'n1["2"]', 'n2(("×"))']
    assert lines[11].strip() == 'n0 -->|"100<br/>2.2"| n2'
    assert mermaid(Scene((), ())) == "flowchart LR\n"
    assert [line.strip() for line in lines[-2:]] == ["classDef number fill:none,stroke:none", "class n1,n4 number"]


@DRAWN
def test_mermaid_lines_have_one_text_whose_entities_give_the_label_back(name):
    drawn, (first, *lines) = SCENES[name], mermaid(SCENES[name]).splitlines()
    assert first == "flowchart LR"
    texts = [[label(n), n.note] for n in drawn.nodes] + [[a.forward, a.backward] for a in drawn.arrows]
    for line, (one, two) in zip(lines, texts, strict=False):
        quoted = re.findall('"([^"]*)"', line)
        assert len(quoted) == 1 or re.fullmatch(r" +n\d+ --> n\d+", line)
        inside = (quoted or ["#nbsp;"])[0]
        assert not re.search(r"<(?!br/>)|[`|{}\[\]*\\$]", inside)
        assert not re.match(r"[-+*]\s|\d+[.)]\s", inside)
        entities = re.sub("#(\\d+);", r"&#\1;", inside)
        restored = unescape(re.sub(r"#(quot|amp|lt|gt|nbsp);", r"&\1;", entities).replace("<br/>", "\n"))
        assert restored.split("\n") == [one or "\xa0", two][: 1 + bool(two)]


def test_operands_that_cannot_change_places_are_told_apart_where_they_do_not_stand_in_order():
    nodes = {0: ("i", "x"), 1: ("i", "y"), 2: ("o", "*"), 3: ("o", "-"), 4: ("p", "z")}
    twice = scene(nodes, [(0, 2, "5"), (1, 2, "3"), (2, 3, "15"), (0, 3, "5"), (3, 4, "10")])
    assert ">1st 15<" in dot(twice)
    assert ">2nd 5<" in dot(twice)
    assert '"1st 15"' in mermaid(twice)
    once = scene({5: ("i", "w")} | nodes, [(0, 2, "5"), (1, 2, "3"), (5, 3, "7"), (2, 3, "15"), (3, 4, "-8")])
    assert "1st" not in dot(once)  # as operands enter from top to bottom
    tops = {name: float(node["pos"].split(",")[1]) for name, node in layout(dot(once))[0].items()}
    assert tops["a2"] > tops["a3"]
    assert '"2nd 15"' in mermaid(once)
    assert "1st" not in mermaid(SCENES["fruit"]) + mermaid(SCENES["network"])


def test_an_input_that_is_used_many_times_is_drawn_at_each_place():
    nodes = {0: ("i", "x")} | dict.fromkeys(range(1, 30), ("o", "*")) | {30: ("p", "z")}
    arrows = [(max(k - 1, 0), k, f"{k}") for k in range(1, 31)] + [(0, k, f"x{k}") for k in range(1, 30)]
    drawn = layout(dot(scene(nodes, arrows)))[0]
    assert sum(node["label"] == "x" for node in drawn.values()) == 30


@pytest.mark.parametrize(
    ("text", "shown"), [("-", "−"), ("1/", "1÷"), ("-(-1)", "−(-1)"), ("[-1]", "[-1]"), ("**-1", "**-1")]
)
def test_signs(text, shown):
    assert f'label="{shown}"' in dot(scene({0: ("o", text), 1: ("p", "z")}, [(0, 1)]))
