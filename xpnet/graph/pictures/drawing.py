"""Pictures of graphs: as text, SVG, PNG and PDF, and as source for Graphviz and Mermaid."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.graph.pictures.dot import FORMS, DrawingUnavailableError, dot, render
from xpnet.graph.wrapper import group
from xpnet.graph.variable import constant, variable
from xpnet.graph.pictures.mermaid import mermaid
from xpnet.graph.pictures.scene import Scene
from xpnet.graph.pictures.staging import scene_of
from xpnet.graph.taken import check_taken
from xpnet.graph.pictures.text import text
from xpnet.graph.variable import Variable
from xpnet.serialization.atomic import file_path_of, write_bytes
from xpnet.streams import warn

#: What a drawing can be written as besides FORMS, by suffix; none of it needs anything installed.
SOURCES = {"dot": dot, "gv": dot, "mmd": mermaid, "txt": text}


class Drawing:
    """A picture of a graph: shown in a notebook, printed in a terminal, or saved.

    Attributes:
        scene: the nodes and arrows that it shows, with their texts.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def text(self, width: int = 100) -> str:
        """The picture in characters, values over the arrows and derivatives under them; ``print(drawing)`` shows it.

        Args:
            width: where it is cut in pieces, in columns of the terminal; what goes on elsewhere ends in ``(a)``.
        """
        return text(self.scene, width)

    @property
    def dot(self) -> str:
        """The source of the picture for Graphviz."""
        return dot(self.scene)

    @property
    def mermaid(self) -> str:
        """The source of a flowchart for Mermaid, which GitHub and others draw; derivatives stand below the values."""
        return mermaid(self.scene)

    @property
    def svg(self) -> str:
        """The picture as SVG; needs ``pip install "xpnet[graph]"``, and so do PNG and PDF."""
        return self.bytes("svg").decode()

    def bytes(self, form: str) -> bytes:
        """The picture as the content of a file: ``"svg"``, ``"png"``, ``"pdf"``, ``"dot"``, ``"mmd"`` or ``"txt"``."""
        if form in FORMS:
            return render(self.dot, form)
        source = SOURCES[form](self.scene) if form in SOURCES else ""
        if not source:
            raise ValueError(f"form is {form!r}, expected one of: {', '.join((*FORMS, *SOURCES))}")
        return (source.rstrip("\n") + "\n").encode()

    def save(self, path: str | Path) -> Path:
        """Write the picture as the file that its suffix says; it is there whole or not at all.

        Args:
            path: ending in ``.svg``, ``.png``, ``.pdf``, ``.dot`` or ``.gv`` (Graphviz), ``.mmd`` (Mermaid), ``.txt``.
                A folder that is missing is made.

        Raises:
            ValueError: another suffix.
            DrawingUnavailableError: what draws SVG, PNG and PDF is not installed.
            OSError: the file cannot be written.
        """
        path = file_path_of(path)
        known = (*FORMS, *SOURCES)
        form = path.suffix.lower()[1:]
        if form not in known:
            found = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
            raise ValueError(f"{path} has {found}; a graph is written as one of: {', '.join('.' + k for k in known)}")
        content = self.bytes(form)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
        return path

    def _repr_svg_(self) -> str | None:
        try:
            return self.svg
        except DrawingUnavailableError as error:
            warn(f"the graph is shown as text: {error}", stacklevel=2)
            return None

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()


def draw(
    y: Any,
    *batch: Array,
    forward: bool = True,
    backward: bool = True,
    unfold: bool | str | Collection[str] = False,
    seed: Array | float | None = None,
) -> Drawing:
    """Draw how y was computed, with the value going forward above each arrow and the derivative coming back below it.

    ``draw(net, x, t)`` draws the loss of a network: a box for each layer, its parameters as they go in.
    ``print(drawing)`` needs a console that has the letters of the names; ``str(drawing).encode(sys.stdout.encoding,
    "replace")`` has a question mark for others.

    Args:
        y: a variable, by default one number; or a network.
        batch: for a network the samples x and their targets t, as ``net.loss`` takes them.
        forward, backward: whether to write the values, and the derivatives. An array is shown by its shape and its
            Euclidean norm, a short vector by its entries.
        unfold: True to draw all operations of groups and layers one by one, or the names of those to unfold.
        seed: the derivative that y starts with, in its shape; 1 by default.

    Raises:
        TypeError: y is neither a variable nor a network.
        ValueError: y is more than one number and there is no seed, there is no group to unfold of such a name, or
            there are more than 1,000 nodes.

    >>> apple, number, tax = variable(100, "apple"), variable(2, "number"), variable(1.1, "tax")
    >>> pay = apple * number * tax
    >>> pay.name = "pay"
    >>> print(draw(pay))
             100       200       220
    (apple) ----> (*) ----> (*) ----> (pay)
             2.2   ^   1.1   ^    1
                 2 |     1.1 |
               110 |     200 |
               (number)    (tax)
    """
    if hasattr(y, "loss_layer"):
        y = _loss(y, *batch)
    elif not isinstance(y, Variable):
        raise TypeError(f"draw() takes a variable or a network, this is of type {type(y).__name__}")
    elif batch:
        raise TypeError("draw() takes x and t with a network only; options go by their names, backward=False")
    if backward and seed is None and y.shape and y.differentiable:
        raise ValueError(
            f"y has shape {y.shape}, and derivatives start from one number; reduce it with sum or mean, "
            f"give a seed, or draw(y, backward=False)"
        )
    if not isinstance(unfold, bool | str) and not all(isinstance(name, str) for name in _each(unfold)):
        raise TypeError(f"unfold is {unfold!r:.80}, expected True, False, or names of groups")
    if backward:
        check_taken(y, seed)
    names = [unfold] if isinstance(unfold, str) else unfold
    return Drawing(scene_of(y, forward=forward, backward=backward, seed=seed, unfold=names))


def _each(names: Any) -> Any:
    return names if isinstance(names, Collection) else (names,)


class _Grouped:
    """A chain whose layers are recorded as groups of their names."""

    def __init__(self, chain: Any) -> None:
        self.chain = chain

    def predict(self, params: Params, x: Array) -> Array:
        for part in self.chain.parts:
            with group(part.name):
                x = part.layer.predict(part.view(params), x)
        return x

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chain, name)


def _loss(net: Any, *batch: Array) -> Variable:
    """The loss of a batch, recorded layer by layer."""
    if len(batch) != 2:
        raise TypeError(
            f"draw(net, x, t) takes samples and their targets, got {len(batch)} arguments after the network"
        )
    x, t = net.as_batch(*batch)
    arrays = {name: variable(p, name) for name, p in net.params.items()}
    arrays |= {name: constant(b, name) for name, b in net.buffers.items()}
    x = net.as_floating(x)
    grouped = copy.copy(net)  # whose own forward it may be
    grouped.chain = _Grouped(net.chain)
    scores = grouped.forward(arrays, variable(x, "x") if namespace(x).isdtype(x.dtype, "real floating") else x)
    with group(re.sub("(?<=[a-z])(?=[A-Z])", " ", type(net.loss_layer).__name__).capitalize()):
        loss, _ = net.loss_layer.forward(scores, constant(t, "t"))
    loss.name = "loss"
    return loss  # type: ignore[no-any-return]
