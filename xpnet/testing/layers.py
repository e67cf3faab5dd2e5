"""Is a layer right? Its gradients, its manners, and that it is the same everywhere.

It is long because it is one list: each check with the sentence that says what it found.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from xpnet._checks import check_count
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import Backend, dtype_name, get_backend, namespace, quiet
from xpnet.errors import CompileWarning, DivergedError
from xpnet.graph import grad
from xpnet.initializers import normal, zeros
from xpnet.layers.base import Container, Layer, check_layer_kind, shapes_of
from xpnet.losses import MeanSquaredError
from xpnet.models import Sequential, load_network
from xpnet.optimizers import SGD
from xpnet.testing.found import (
    TOLERANCES,
    Checked,
    backends_of,
    changed,
    check_copies,
    dtypes_of,
    lock,
    memory_of,
    to_device,
    to_host,
)
from xpnet.training import Trainer

#: Entries of an array that are moved by themselves; of larger arrays so many are drawn at random.
MOST_ENTRIES = 200
STEP = 1e-5
#: Of a gradient, relative to its largest entry, beside the error of the central difference itself.
GRADIENT_TOLERANCE = 1e-7
GRAPH_TOLERANCE = 1e-10
STEPS = 3
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
    AssertionError: Double(): the gradient with respect to x is ... at entry [0, 0], and central differences of ...
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
    check_names(checked, layer, case)
    check_shapes(checked, layer, case, reference)
    if "acts_on" not in without:
        check_reach(checked, layer, case)
    if "gradients" not in without:
        check_gradients(checked, layer, case, reference)
    if "graph" not in without:
        check_graph(checked, layer, case, reference)
    for backend in dict.fromkeys([numpy, *places]):
        check_backend_agrees(checked, layer, case, backend, reference)
    if "copies" not in without:
        check_copied(checked, layer, case)
    if "steps" not in without:
        for backend in dict.fromkeys([numpy, *(b for b in places if b.name == "jax")]):
            check_steps(checked, layer, case, backend)
    if "files" not in without:
        check_files(checked, layer, case)
    return checked.notes


@dataclass(frozen=True)
class Case:
    """Arrays on the host that a layer is called with: random, as initial values are often 0 or 1 and hide errors."""

    params: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]
    x: np.ndarray
    seed: int

    @classmethod
    def drawn(cls, checked: Checked, layer: Layer, shape: tuple[int, ...], integers: int | None, seed: int) -> Case:
        rng, before = np.random.default_rng(seed), memory_of(layer)
        params = checked.call("init", layer.init, rng, normal(0.5))
        params = {name: np.asarray(a, "float64") + 0.25 * rng.normal(size=np.shape(a)) for name, a in params.items()}
        buffers = {name: np.asarray(a) for name, a in checked.call("buffers", layer.buffers).items()}
        buffers = {
            name: a + 0.25 * np.abs(rng.normal(size=a.shape)) if a.dtype.kind == "f" else a
            for name, a in buffers.items()
        }
        one, other = (
            checked.call("draws", layer.draws, np.random.default_rng(seed), shape) for _ in range(2)
        )
        for name, a in one.items():
            if not np.array_equal(a, other.get(name)):
                raise checked.fail(f"draws gives other values of {name!r} for the same rng; draw with rng alone")
        if left := changed(before, memory_of(layer)):
            raise checked.fail(_keeps("init, buffers or draws", left))
        if layer.takes != "integers":
            x = rng.normal(size=shape)
        elif integers is None:
            raise ValueError(f"{layer!r} takes integers; say how many different ones: integers=10")
        else:
            x = rng.integers(0, check_count(integers, "integers"), shape)
        return cls(params, buffers, one, x, seed)

    def given(self, *, training: bool) -> dict[str, np.ndarray]:
        """What the layer gets as params."""
        return self.params | self.buffers | (self.draws if training else {})

    def weights(self, shape: tuple[int, ...]) -> np.ndarray:
        """The gradient that comes from behind: weights of a sum of the outputs."""
        return np.random.default_rng(self.seed + 1).normal(size=shape)


def check_calls(checked: Checked, case: Case, backend: Backend, dtype: str) -> dict[str, Any]:
    """What a layer returns, on the host, after it was seen that it has manners."""
    found = {}
    for mode in ("forward", "train") if backend.trains else ("forward",):
        given = to_device(backend, case.given(training=mode == "train") | {"the input x": case.x}, dtype)
        before, x = to_host(backend, given), given["the input x"]
        params = {name: a for name, a in given.items() if a is not x}
        found[mode] = _call_twice(checked, case, backend, mode, params, x, dtype)
        for name, was in before.items():
            now = backend.to_numpy(given[name])
            if not np.array_equal(now, was, equal_nan=True):
                at = tuple(int(i) for i in np.argwhere(now != was)[0])
                raise checked.fail(
                    f"{mode} or backward changed {name}, which belongs to the caller: entry {list(at)} was "
                    f"{was[at]:.9g} and is {now[at]:.9g}; make a new array: x = x + 1 instead of x += 1"
                )
    if backend.name == "numpy":  # once more with arrays that cannot be written to, which find what wrote the same again
        for mode in ("forward", "train"):
            given = lock(to_device(backend, case.given(training=mode == "train"), dtype))
            x = lock(case.x.astype(dtype) if case.x.dtype.kind == "f" else case.x.copy())
            _call(checked, mode, given, x, case.weights(found[mode]["y"].shape).astype(dtype))
    return found


def _call_twice(
    checked: Checked, case: Case, backend: Backend, mode: str, params: Params, x: Array, dtype: str
) -> dict[str, Any]:
    """What a call and the way back return, the second time the same; on the host."""
    layer = checked.subject
    before = memory_of(layer)
    y = checked.call(mode, getattr(layer, mode), params, x)[0]
    if left := changed(before, memory_of(layer)):
        raise checked.fail(_keeps(mode, left))
    _check_array(checked, backend, y, f"{mode}'s output", dtype)
    dy = backend.asarray(case.weights(tuple(y.shape)).astype(dtype), copy=True)
    one = to_host(backend, _call(checked, mode, params, x, dy, backend, dtype))
    two = to_host(backend, _call(checked, mode, params, x, dy, backend, dtype))
    if left := changed(before, memory_of(layer)):
        raise checked.fail(_keeps(f"{mode} or backward", left))
    for key, wanted in _flat(one).items():
        again = _flat(two)[key]
        if wanted is not None and not np.array_equal(again, wanted, equal_nan=True):
            raise checked.fail(
                f"{mode} and backward give another {key} when they are called again with the same: they are not "
                "functions of their arguments alone; what is random belongs in draws"
            )
    return one


def _call(
    checked: Checked,
    mode: str,
    params: Params,
    x: Array,
    dy: Array,
    backend: Backend | None = None,
    dtype: str = "float64",
) -> dict[str, Any]:
    """Output, gradients and new buffers; with a backend, after a look at each of them."""
    layer: Layer = checked.subject
    results = checked.call(mode, getattr(layer, mode), params, x)
    if len(results) != (3 if mode == "train" else 2):
        wanted = "y, residuals, updates" if mode == "train" else "y, residuals"
        raise checked.fail(f"{mode} returns {len(results)} values, expected {wanted}")
    y, residuals = results[:2]
    updates = results[2] if mode == "train" else {}
    kept = dy if backend is None else backend.asarray(backend.to_numpy(dy), copy=True)
    dx, grads = checked.call("backward", layer.backward, params, residuals, dy)
    again = checked.call("backward, a second time with the same residuals,", layer.backward, params, residuals, dy)
    alone = checked.call("parameter_gradients", layer.parameter_gradients, params, residuals, dy)
    predicted = checked.call("predict", layer.predict, params, x) if mode == "forward" else None
    if backend is not None:
        if not np.array_equal(backend.to_numpy(dy), backend.to_numpy(kept)):
            raise checked.fail("backward changed dy, which belongs to the caller; make a new array")
        _check_results(checked, backend, x, (dx, grads, alone, updates), dtype)
        tolerance = TOLERANCES[dtype] / 1000
        for name, g in to_host(backend, grads).items():
            source = "backward's"
            checked.same(backend.to_numpy(alone[name]), g, tolerance, f"parameter_gradients' {name!r}", source)
            second = backend.to_numpy(again[1][name])
            checked.same(second, g, 0, f"the gradient of {name!r} of a second call of backward", "the first")
        if predicted is not None:
            checked.same(
                backend.to_numpy(predicted), backend.to_numpy(y), tolerance, "predict's output", "forward's"
            )
    return {"y": y, "dx": dx, "grads": grads, "updates": updates}


def _check_results(checked: Checked, backend: Backend, x: Array, results: tuple[Any, ...], dtype: str) -> None:
    """Names, shapes and dtypes of what comes back."""
    layer: Layer = checked.subject
    dx, grads, alone, updates = results
    if layer.takes == "integers":
        if dx is not None:
            raise checked.fail(f"backward returns {dx!r:.100} as the gradient of integers, expected None")
    else:
        _check_array(checked, backend, dx, "backward's dx", dtype, tuple(x.shape))
    shapes = shapes_of(layer)
    for source, found in {"backward": grads, "parameter_gradients": alone}.items():
        if not isinstance(found, dict) or found.keys() != shapes.keys():
            names = sorted(found) if isinstance(found, dict) else found
            raise checked.fail(f"{source} returns gradients of {names}, expected one of each of {sorted(shapes)}")
        for name, g in found.items():
            _check_array(checked, backend, g, f"{source}'s gradient of {name!r}", dtype, shapes[name])
    buffers = layer.buffers()
    if not isinstance(updates, dict) or not updates.keys() <= buffers.keys():
        raise checked.fail(
            f"train returns new values of {sorted(updates)}, and the buffers are {sorted(buffers)}; what is not in "
            "buffers() has no place in the state"
        )
    for name, a in updates.items():
        _check_array(checked, backend, a, f"train's new value of {name!r}", dtype, tuple(np.shape(buffers[name])))


def _check_array(
    checked: Checked, backend: Backend, a: Any, what: str, dtype: str, shape: tuple[int, ...] | None = None
) -> None:
    if not hasattr(a, "dtype") or not hasattr(a, "shape"):
        raise checked.fail(f"{what} is {a!r:.100}, expected an array")
    if dtype_name(a.dtype) != dtype:
        raise checked.fail(
            f"{what} is {dtype_name(a.dtype)} where everything given was {dtype}; compute with Python numbers, and with "
            "arrays in the dtype of the input"
        )
    if shape is not None and tuple(a.shape) != shape:
        raise checked.fail(f"{what} has shape {tuple(a.shape)}, expected {shape}")


def _keeps(name: str, left: Iterable[str]) -> str:
    return (
        f"{name} changed {', '.join(left)}; a layer holds nothing but its description: what backward needs is returned "
        "as residuals, and what a training step changes is a buffer"
    )


def _flat(results: dict[str, Any]) -> dict[str, Any]:
    """Outputs and gradients by what they are called in sentences."""
    flat = {"output": results["y"], "gradient with respect to x": results["dx"]}
    flat |= {f"gradient with respect to {name!r}": g for name, g in results["grads"].items()}
    return flat | {f"new value of {name!r}": a for name, a in results["updates"].items()}


def _largest(results: dict[str, Any]) -> float:
    """The largest number in outputs and gradients."""
    return max(float(np.abs(a).max(initial=0)) for a in _flat(results).values() if a is not None)


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
        raise checked.fail(f"output_shape(None) is {always}, and output_shape({before}) {told}; None is what is unknown")


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


def check_gradients(checked: Checked, layer: Layer, case: Case, reference: dict[str, Any]) -> None:
    """Backpropagation against central differences, of both ways forward, in float64 on the host."""
    for mode, found in reference.items():
        given, weights = case.given(training=mode == "train"), case.weights(found["y"].shape)
        analytical = {name: (given[name], found["grads"][name]) for name in case.params}
        if case.x.dtype.kind == "f":
            analytical = {"x": (case.x, found["dx"]), **analytical}
        for name, (array, gradient) in analytical.items():

            def value(moved: np.ndarray, name: str = name, mode: str = mode) -> float:
                changed_params = given if name == "x" else given | {name: moved}
                y = getattr(layer, mode)(changed_params, moved if name == "x" else case.x)[0]
                return float((y * weights).sum())

            places, numerical, trust = central_differences(value, array, case.seed)
            backprop, scale = gradient[places], np.abs(numerical).max(initial=0)
            if not np.isfinite(gradient).all():
                raise checked.fail(f"the gradient with respect to {name} has NaN or infinity in it ({mode})")
            wrong = np.abs(backprop - numerical) > GRADIENT_TOLERANCE * scale + trust
            if wrong.any():
                worst = int(np.where(wrong, np.abs(backprop - numerical), -1).argmax())
                at = [int(axis[worst]) for axis in places]
                raise checked.fail(
                    f"the gradient with respect to {name} is {backprop[worst]:.9g} at entry {at}, and central "
                    f"differences of {mode} give {numerical[worst]:.9g}; {int(wrong.sum())} of {wrong.size} entries are "
                    f"wrong. Look at backward, after {mode}"
                )


def central_differences(f: Any, x: np.ndarray, seed: int) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Where entries were moved, df/dx there, and how far to trust it: rounding, and what a kink or the step leaves."""
    count = min(x.size, MOST_ENTRIES)
    flat = np.random.default_rng(seed).choice(x.size, count, replace=False)
    flat.sort()

    def slope(i: int, h: float) -> float:
        ends = []
        for move in (h, -h):
            moved = x.copy()
            moved.reshape(-1)[i] += move
            ends.append(f(moved))
        return (ends[0] - ends[1]) / (2 * h)

    near, far = (np.asarray([slope(int(i), h) for i in flat]) for h in (STEP, 2 * STEP))
    rounding = 8 * float(np.finfo("float64").eps) * max(1.0, abs(f(x))) / STEP
    return np.unravel_index(flat, x.shape), near, rounding + np.abs(far - near)


def check_graph(checked: Checked, layer: Layer, case: Case, reference: dict[str, Any]) -> None:
    """Backpropagation against the graph's gradients of the same forward, where the graph can record it."""
    floating = case.x.dtype.kind == "f"
    for mode, found in reference.items():
        given, weights = case.given(training=mode == "train"), case.weights(found["y"].shape)
        others = {name: a for name, a in given.items() if name not in case.params}

        def total(params: Params, x: Array, mode: str = mode, others: Any = others, weights: Any = weights) -> Array:
            y = getattr(layer, mode)(others | params, x)[0]
            return namespace(y).sum(y * weights)

        wanted = ([0] if case.params else []) + ([1] if floating else [])
        if not wanted:
            return
        try:
            gradients = grad(total, tuple(wanted))(case.params, case.x)
        except Exception as error:
            checked.notes.append(f"the graph does not record {mode}: {error}")
            continue
        largest = _largest(found)
        by_name = dict(gradients[0]) if case.params else {}
        if floating:
            what = f"{mode}: the gradient with respect to x"
            checked.same(found["dx"], gradients[-1], GRAPH_TOLERANCE, what, "the graph's is", largest)
        for name, g in by_name.items():
            mine, what = found["grads"][name], f"{mode}: the gradient with respect to {name!r}"
            checked.same(mine, g, GRAPH_TOLERANCE, what, "the graph's is", largest)


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
                wanted, largest = _flat(reference[mode]), _largest(reference[mode])
                for name, a in _flat(results).items():
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


@dataclass(frozen=True, repr=False)
class Shifted(Layer):
    """y = x + a, a in the shape of a sample: what stands before a layer, so that its way back to x is trained through.

    Args:
        shape: the shape of a sample.
    """

    acts_on = "sample"

    shape: tuple[int, ...]

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        return {"a": zeros(rng, self.shape)}

    def output_shape(self, shape: tuple[int, ...] | None) -> tuple[int, ...]:
        return self.shape

    def forward(self, params: Params, x: Array) -> tuple[Array, None]:
        return x + params["a"], None

    def backward(self, params: Params, residuals: None, dy: Array) -> tuple[Array, Params]:
        return dy, {"a": namespace(dy).sum(dy, axis=0)}


def network_of(layer: Layer, case: Case, backend: Backend, dtype: str) -> Sequential | None:
    """A network of the layer, and of one before it that has a parameter; None where there is nothing to train."""
    before = [] if layer.takes == "integers" else [Shifted(case.x.shape[1:])]
    if not before and not case.params:
        return None
    options: dict[str, Any] = {"weight_init": 0.5, "seed": case.seed, "dtype": dtype, "backend": backend}
    return Sequential([*before, layer], MeanSquaredError(), **options)


def check_steps(checked: Checked, layer: Layer, case: Case, backend: Backend) -> None:
    """Training steps that are compiled against the same steps as they are."""
    dtype = dtypes_of(backend)[0]
    with checked.at(f"{backend.name}, in {dtype}"):
        found = []
        for compiled in (False, True):
            net = checked.call("a network of it", network_of, layer, case, backend, dtype)
            if net is None:
                checked.notes.append("no steps were taken, as there is no parameter")
                return
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found.append(_trained(checked, net, case, compiled))
            if told := [str(w.message) for w in caught if issubclass(w.category, CompileWarning)]:
                raise checked.fail(f"a training step of it cannot be compiled: {told[0]}")
        tolerance = 0.0 if backend.name == "numpy" else TOLERANCES[dtype]
        for name, wanted in found[0].items():
            checked.same(found[1][name], wanted, tolerance, f"{name} after compiled steps", "after plain ones it is")


def _trained(checked: Checked, net: Sequential, case: Case, compiled: bool) -> dict[str, np.ndarray]:
    """Losses, parameters and buffers after a few steps."""
    samples = case.x.shape[0]
    x = net.backend.asarray(case.x.astype(dtype_name(net.dtype)) if case.x.dtype.kind == "f" else case.x)
    t = net.backend.asarray(case.weights(net.scores_shape(x)).astype(dtype_name(net.dtype)))
    trainer = Trainer(net, SGD(1e-3), batch_size=samples, seed=case.seed, compile=compiled)
    try:
        trainer.fit(x, t, iterations=STEPS, progress=False)
    except DivergedError as error:
        raise checked.fail(f"{STEPS} small training steps end with: {error}") from None
    except Exception as error:
        raise checked.fail(f"training steps of a network of it raised {type(error).__name__}: {error}") from error
    arrays = net.params | net.buffers
    host = {f"the value of {name!r}": net.backend.to_numpy(a) for name, a in arrays.items()}
    return {"the loss": np.asarray(trainer.history.losses), **host}


def check_files(checked: Checked, layer: Layer, case: Case) -> None:
    """A network of it is saved and loaded, by a description where its fields can be described."""
    net = checked.call("a network of it", network_of, layer, case, get_backend("numpy"), "float64")
    if net is None:
        checked.notes.append("nothing was saved, as there is no parameter")
        return
    net.buffers = {name: a + 0.25 for name, a in net.buffers.items()}
    wanted, other = net.predict(case.x), network_of(layer, case, net.backend, "float64")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/weights.safetensors"
        checked.call("save", net.save, path)
        assert other is not None
        checked.call("load", other.load, path)
        loaded = [other]
        if what := undescribed(layer):
            checked.notes.append(f"load_network does not make it again, as files cannot hold {what}; load() does")
        else:
            kinds = [Shifted, *kinds_in(layer)]
            try:
                loaded.append(load_network(path, backend=net.backend, kinds=kinds))
            except Exception as error:
                raise checked.fail(
                    f"load_network cannot make it again: {error}. Fields that files can hold are numbers, text, layers "
                    "and tuples of them, declared with their types"
                ) from error
            if loaded[1].layers != net.layers:
                raise checked.fail(f"from a file it comes back as {list(loaded[1].layers.values())[-1]!r}")
    for again in loaded:
        checked.same(again.predict(case.x), wanted, 0, "the output after save and load", "before it was")


def kinds_in(layer: Layer) -> list[type]:
    """The classes of a layer and of all layers in it that are not xpnet's."""
    inside = [kind for child in (layer.children if isinstance(layer, Container) else ()) for kind in kinds_in(child)]
    return [*([] if type(layer).__module__.partition(".")[0] == "xpnet" else [type(layer)]), *inside]


def undescribed(part: Any) -> str:
    """What of the fields of a dataclass no file can describe; empty if there is nothing."""
    for field in (field for field in fields(part) if field.init or field.name == "layers"):
        value = getattr(part, field.name)
        for each in value if isinstance(value, tuple | list) else [value]:
            if is_dataclass(each):
                if found := undescribed(each):
                    return found
            elif not (each is None or isinstance(each, str | bool | int | float | np.number)):
                return f"{field.name} of {type(part).__name__}"
    return ""
