"""Is a layer right? Its gradients, its manners, and that it is the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet._checks import check_count
from xpnet.backends.dispatch import Backend, get_backend, quiet
from xpnet.layers.base import Container, Layer, check_layer_kind, shapes_of
from xpnet.testing.calls import check_calls, flat, largest_of
from xpnet.testing.case import Case
from xpnet.testing.found import (
    TOLERANCES,
    Checked,
    backends_of,
    check_copies,
    dtypes_of,
)
from xpnet.testing.gradients import check_gradients, check_graph
from xpnet.testing.networks import check_files, check_steps

#: What ``without`` may name.
CHECKS = ("acts_on", "copies", "files", "gradients", "graph", "steps")


@quiet
def check_layer(
    layer: Layer,
    x_shape: Sequence[int],
    *,
    backends: Sequence[str | Backend] | None = None,
    integers: int | None = None,
    seed: int = 0,
    without: Sequence[str] = (),
) -> list[str]:
    """Check all that xpnet asks of a layer; for tests of layers of one's own.

    - ``forward`` and ``train`` return new arrays of the same dtype, change nothing that they are given, keep nothing on
      the layer, and return the same for the same; so do ``backward`` and ``parameter_gradients``, which agree.
    - The gradients of ``forward``, and of ``train`` with draws that stay the same, are those of central differences in
      float64, and those of the graph where the layer can be recorded.
    - ``output_shape``, ``acts_on``, ``takes`` and the names of arrays are right.
    - Each backend computes the same, in float32 and in float64.
    - Training steps that NumPy replays are the steps themselves to the last bit, and those that JAX compiles are the
      same but for rounding.
    - A network of it is saved and loaded; the layer is pickled and copied, and the copies are equal to it.

    Args:
        layer: the layer.
        x_shape: the shape of an input (N, ...), with N of 2 or more: small, as each entry is moved by itself.
        backends: names of backends; by default all that can be used here. NumPy is always one of them.
        integers: for a layer that takes integers, how many different ones: the input is drawn from 0 to this minus 1.
        seed: of what is drawn.
        without: checks to leave out: ``"acts_on"``, ``"copies"``, ``"files"``, ``"gradients"``, ``"graph"``,
            ``"steps"``.

    Returns:
        What could not be checked, a line each.

    Raises:
        AssertionError: something is wrong; the message says what, with numbers.
        TypeError, ValueError: no layer, a shape or a name of a check that is none.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Double(Layer):
    ...     def forward(self, params, x):
    ...         return 2 * x, None
    ...
    ...     def backward(self, params, residuals, dy):
    ...         return dy, {}
    >>> check_layer(Double(), (2, 1), backends=["numpy"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: Double(): the gradient with respect to x is ... at entry [...], and central differences of ...
    """
    check_layer_kind(layer)
    shape = tuple(check_count(n, "x_shape", 1, "(4, 5) for example") for n in x_shape)
    if len(shape) < 1 or shape[0] < 2:
        raise ValueError(f"x_shape is {shape}, expected two samples or more: (4, 5) for example")
    if unknown := set(without) - set(CHECKS):
        raise ValueError(f"without names {', '.join(sorted(unknown))}; known: {', '.join(CHECKS)}")
    checked = Checked(layer)
    case = Case.drawn(checked, layer, shape, integers, seed)
    places = backends_of(backends, checked.notes)
    numpy = get_backend("numpy")
    reference = check_calls(checked, case, numpy, "float64")
    check_backend_agrees(checked, layer, case, numpy, reference)
    check_names(checked, layer, case)
    check_shapes(checked, layer, case, reference)
    if "acts_on" not in without:
        check_reach(checked, layer, case)
    if "gradients" not in without:
        check_gradients(checked, layer, case, reference)
    if "graph" not in without:
        check_graph(checked, layer, case, reference)
    for backend in dict.fromkeys(b for b in places if b != numpy):
        with backend.current():
            check_backend_agrees(checked, layer, case, backend, reference)
    if "copies" not in without:
        check_copied(checked, layer, case)
    if "steps" not in without:
        for backend in dict.fromkeys([numpy, *(b for b in places if b.name == "jax")]):
            check_steps(checked, layer, case, backend)
    if "files" not in without:
        check_files(checked, layer, case)
    return checked.notes


def check_names(checked: Checked, layer: Layer, case: Case) -> None:
    """Names are identifiers, dotted only in containers, and of one kind of array each."""
    kinds = {"parameter": case.params, "buffer": case.buffers, "draw": case.draws}
    seen: dict[str, str] = {}
    for kind, arrays in kinds.items():
        for name in arrays:
            pieces = name.split(".") if isinstance(name, str) and isinstance(layer, Container) else [name]
            if not all(isinstance(piece, str) and piece.isidentifier() for piece in pieces):
                raise checked.fail(f"a {kind} is called {name!r}, expected a name such as 'W'")
            if name in seen:
                raise checked.fail(f"{name!r} is a {seen[name]} and a {kind}; give them different names")
            seen[name] = kind
    drawn, told = {name: a.shape for name, a in case.params.items()}, shapes_of(layer)
    if drawn != told:
        raise checked.fail(f"init makes arrays of shapes {drawn}, and with another weight_init {told}")
    for name, a in case.buffers.items():
        if a.dtype.kind != "f":
            raise checked.fail(f"the buffer {name!r} is {a.dtype}, expected floating-point numbers")
    if layer.acts_on not in ("element", "sample", "batch"):
        raise checked.fail(f"acts_on is {layer.acts_on!r}, expected 'element', 'sample' or 'batch'")
    if layer.takes not in ("floating", "any", "integers"):
        raise checked.fail(f"takes is {layer.takes!r}, expected 'floating', 'any' or 'integers'")


def check_shapes(checked: Checked, layer: Layer, case: Case, reference: dict[str, Any]) -> None:
    """``output_shape`` says what ``forward`` and ``train`` make."""
    before = case.x.shape[1:]
    told = checked.call("output_shape", layer.output_shape, before)
    for mode, found in reference.items():
        made = found["y"].shape[1:]
        if found["y"].shape[:1] != case.x.shape[:1] and told is not None:
            raise checked.fail(f"{mode} makes {found['y'].shape} of {case.x.shape}; the first axis is that of samples")
        if told is not None and tuple(told) != made:
            raise checked.fail(f"output_shape({before}) is {told}, and {mode} makes samples of shape {made} of them")
    always = checked.call("output_shape", layer.output_shape, None)
    if always is not None and told is not None and always != told:
        raise checked.fail(
            f"output_shape(None) is {always}, and output_shape({before}) {told}; None is what is unknown"
        )


def check_reach(checked: Checked, layer: Layer, case: Case) -> None:
    """What ``acts_on`` promises: which outputs an entry of the input reaches when predicting."""
    if layer.acts_on == "batch":
        return
    params, x = case.given(training=False), case.x
    moved = x.copy()
    first = (0,) * x.ndim
    moved[first] = x[first] + 1.0 if x.dtype.kind == "f" else (x[first] + 1) % (int(x.max()) + 1)
    y, other = layer.predict(params, x), layer.predict(params, moved)
    alone = layer.predict(params, x[:1, ...])
    if layer.acts_on == "element" and y.shape != x.shape:
        raise checked.fail(f"acts_on is 'element', and the output is {y.shape} for an input of {x.shape}")
    reached = np.argwhere(y != other)
    allowed = 1 if layer.acts_on == "sample" else x.ndim
    if outside := [tuple(map(int, at)) for at in reached if tuple(at[:allowed]) != first[:allowed]]:
        raise checked.fail(
            f"acts_on is {layer.acts_on!r}, and moving entry {list(first)} of the input changes entry "
            f"{list(outside[0])} of the output; numerical gradients would leave that out. acts_on = 'batch' fits always"
        )
    checked.same(alone, y[:1, ...], 1e-12, "the output for the first sample alone", "in the batch it is")


def check_backend_agrees(
    checked: Checked, layer: Layer, case: Case, backend: Backend, reference: dict[str, Any]
) -> None:
    """The same numbers and the same manners on a backend, in each of its dtypes."""
    for dtype in dtypes_of(backend):
        if (backend.name, dtype) == ("numpy", "float64"):
            continue
        with checked.at(f"{backend.name}, in {dtype}"):
            found = check_calls(checked, case, backend, dtype)
            for mode, results in found.items():
                wanted, largest = flat(reference[mode]), largest_of(reference[mode])
                for name, a in flat(results).items():
                    if a is not None:
                        source = "NumPy's in float64 is"
                        checked.same(a, wanted[name], TOLERANCES[dtype], f"{mode}: the {name}", source, largest)


def check_copied(checked: Checked, layer: Layer, case: Case) -> None:
    """Copies compute the same."""
    params, y = case.given(training=False), None
    for other in [layer, *check_copies(checked)]:
        found = other.predict(params, case.x)
        y = found if y is None else y
        checked.same(found, y, 0, "the output of a copy", "its own is")
