"""Is an optimizer right? What it does to parameters and state, and that it is the same everywhere."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xpnet._typing import Optimizer, Params, State
from xpnet.backends.dispatch import Backend, dtype_name, get_backend, quiet
from xpnet.errors import CompileWarning
from xpnet.layers import Affine, Tanh
from xpnet.models import Sequential
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

SHAPES = {"W1": (3, 2), "b1": (2,), "scale": ()}
STEPS = 10
#: What ``without`` may name.
CHECKS = ("copies", "descent", "files", "steps")


@quiet
def check_optimizer(
    optimizer: Optimizer,
    *,
    backends: Sequence[str | Backend] | None = None,
    seed: int = 0,
    without: Sequence[str] = (),
) -> list[str]:
    """Check all that xpnet asks of an optimizer; for tests of optimizers of one's own.

    - ``init`` and ``step`` return dicts of arrays, with the same names, shapes and dtypes in each step; gradients stay
      as they were, and so does a parameter without one; nothing is kept on the optimizer; the same gives the same.
    - The first steps go downhill.
    - Each backend computes the same, in float32 and in float64.
    - Training steps that NumPy replays are the steps themselves to the last bit, and those that JAX compiles are the
      same but for rounding.
    - A training that is saved, loaded and gone on with is the one that was not cut; the optimizer is pickled and
      copied.

    Args:
        optimizer: the optimizer, with numbers with which it learns.
        backends: names of backends; by default all that can be used here. NumPy is always one of them.
        seed: of parameters and gradients.
        without: checks to leave out: ``"copies"``, ``"descent"``, ``"files"``, ``"steps"``.

    Returns:
        What could not be checked, a line each.

    Raises:
        AssertionError: something is wrong; the message says what, with numbers.

    >>> from xpnet.optimizers import Momentum
    >>> check_optimizer(Momentum(lr=0.1), backends=["numpy"])
    []
    """
    if isinstance(optimizer, type) or not hasattr(optimizer, "step"):
        raise TypeError(f"{optimizer!r} is no optimizer; expected an instance such as SGD(lr=0.1)")
    if unknown := set(without) - set(CHECKS):
        raise ValueError(f"without names {', '.join(sorted(unknown))}; known: {', '.join(CHECKS)}")
    checked, numpy = Checked(optimizer), get_backend("numpy")
    places = [b for b in dict.fromkeys([numpy, *backends_of(backends, checked.notes)]) if b.trains]
    rng = np.random.default_rng(seed)
    params = {name: np.asarray(rng.normal(size=shape)) for name, shape in SHAPES.items()}
    gradients = [{name: np.asarray(rng.normal(size=shape)) for name, shape in SHAPES.items()} for _ in range(STEPS)]
    wanted = None
    for backend in places:
        for dtype in dtypes_of(backend):
            with checked.at(f"{backend.name}, in {dtype}"), backend.current():
                found = check_manners(checked, optimizer, backend, dtype, params, gradients)
                wanted = found if wanted is None else wanted
                for name, p in found.items():
                    source = "NumPy's in float64 is"
                    what = f"{name!r} after {STEPS} steps"
                    checked.same(p, wanted[name], TOLERANCES[dtype], what, source, 1.0)
    if "descent" not in without:
        check_descent(checked, optimizer, params)
    if "copies" not in without:
        check_copies(checked)
    if "steps" not in without:
        for backend in (b for b in places if b.name in ("numpy", "jax")):
            check_compiled(checked, optimizer, backend, seed)
    if "files" not in without:
        check_resumed(checked, optimizer, seed)
    return checked.notes


def check_manners(
    checked: Checked,
    optimizer: Optimizer,
    backend: Backend,
    dtype: str,
    params: dict[str, np.ndarray],
    gradients: list[dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """The parameters after some steps, on the host, where every step was looked at; taken twice."""
    runs = []
    for _ in range(2):
        before = memory_of(optimizer)
        now = to_device(backend, params, dtype)
        state = checked.call("init", optimizer.init, now)
        _check_state(checked, backend, state, state)
        if not _alike(to_host(backend, now), to_host(backend, to_device(backend, params, dtype))):
            raise checked.fail("init changed the parameters, and only step may")
        for number, grads in enumerate(gradients, 1):
            given = to_device(backend, grads, dtype)
            if backend.name == "numpy":
                lock(given)
            names, kept = _described(state), to_host(backend, given)
            now, state = checked.call("step", optimizer.step, now, dict(given), state)
            _check_params(checked, now, params, dtype)
            _check_state(checked, backend, state, state, names, number)
            if not _alike(to_host(backend, given), kept):
                raise checked.fail("step changed the gradients, which belong to the caller; make new arrays of them")
        if left := changed(before, memory_of(optimizer)):
            raise checked.fail(
                f"init or step changed {', '.join(left)}; what changes from step to step is an array in the state"
            )
        runs.append(to_host(backend, now))
    if not _alike(*runs):
        raise checked.fail("the same steps from the same start end with other parameters; step draws or counts unseen")
    _check_left_out(checked, optimizer, backend, dtype, params, gradients[0])
    return dict(runs[0])


def _check_left_out(
    checked: Checked, optimizer: Optimizer, backend: Backend, dtype: str, params: Any, grads: Any
) -> None:
    now = to_device(backend, params, dtype)
    state = optimizer.init(now)
    before = to_host(backend, now)["b1"]
    fewer = {name: g for name, g in to_device(backend, grads, dtype).items() if name != "b1"}
    now, _ = checked.call("step, with a parameter that has no gradient,", optimizer.step, now, fewer, state)
    checked.same(backend.to_numpy(now["b1"]), before, 0, "'b1' after a step without a gradient of it", "before it was")


def _check_params(checked: Checked, now: Params, params: dict[str, np.ndarray], dtype: str) -> None:
    if now.keys() != params.keys():
        raise checked.fail(f"step returns parameters {sorted(now)}, expected {sorted(params)}")
    for name, p in now.items():
        if dtype_name(p.dtype) != dtype or tuple(p.shape) != params[name].shape:
            raise checked.fail(
                f"after a step {name!r} is {tuple(p.shape)} of {dtype_name(p.dtype)}, and was {params[name].shape} of "
                f"{dtype}; compute with Python numbers, and with arrays in the dtype of the parameter"
            )


def _check_state(checked: Checked, backend: Backend, state: Any, part: Any, names: Any = None, number: int = 0) -> None:
    """A state is nested dicts of arrays, the same ones in each step: else a compiled step cannot hand it on."""
    if not isinstance(part, dict):
        if type(part).__module__ == "builtins":
            raise checked.fail(
                f"the state holds {part!r:.80}, expected arrays and dicts of them; a number that changes is a 0-d array"
            )
        return
    for value in part.values():
        _check_state(checked, backend, None, value)
    if names is not None and _described(state) != names:
        raise checked.fail(
            f"after step {number} the state is {_described(state)}, and before it was {names}; names, shapes and "
            "dtypes stay as init made them"
        )


def _described(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _described(value) for name, value in state.items()}
    return tuple(state.shape), dtype_name(state.dtype)


def _alike(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(a, other[name], equal_nan=True) for name, a in one.items())


def check_descent(checked: Checked, optimizer: Optimizer, params: dict[str, np.ndarray]) -> None:
    """Down a bowl w²/200: together the first steps are along its slopes, and not against them."""
    now = {name: p.copy() for name, p in params.items()}
    state: State = optimizer.init(now)
    for _ in range(STEPS):
        now, state = optimizer.step(now, {name: p / 100 for name, p in now.items()}, state)
    moves = {name: p - params[name] for name, p in now.items()}
    down = -sum(float((move * params[name]).sum()) for name, move in moves.items())
    if not down > 0:
        raise checked.fail(
            f"{STEPS} steps down a bowl move by {-down:.3g} along its slope, expected downhill, less than 0; look at "
            "the sign of the update, and at the learning rate"
        )


def _trainer(optimizer: Optimizer, backend: Backend, seed: int, **options: Any) -> tuple[Trainer, Any, Any]:
    rng, dtype = np.random.default_rng(seed), dtypes_of(backend)[0]
    layers = [Affine(4, 5), Tanh(), Affine(5, 3)]
    net = Sequential(layers, weight_init=0.5, seed=seed, dtype=dtype, backend=backend)
    x, t = backend.asarray(rng.normal(size=(12, 4)).astype(dtype)), backend.asarray(rng.integers(0, 3, 12))
    return Trainer(net, optimizer, batch_size=4, seed=seed, **options), x, t


def _results(trainer: Trainer) -> dict[str, np.ndarray]:
    host = {f"the value of {name!r}": trainer.net.backend.to_numpy(p).copy() for name, p in trainer.net.params.items()}
    return {"the loss": np.asarray(trainer.history.losses), **host}


def check_compiled(checked: Checked, optimizer: Optimizer, backend: Backend, seed: int) -> None:
    """Training steps that are compiled against the same steps as they are."""
    with checked.at(f"{backend.name}, in {dtypes_of(backend)[0]}"):
        found = []
        for compiled in (False, True):
            trainer, x, t = _trainer(optimizer, backend, seed, compile=compiled)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fit = partial(trainer.fit, x, t, iterations=STEPS, progress=False)
                checked.call("a training with it", fit)
            if told := [str(w.message) for w in caught if issubclass(w.category, CompileWarning)]:
                raise checked.fail(f"a training step with it cannot be compiled: {told[0]}")
            found.append(_results(trainer))
        tolerance = 0.0 if backend.name == "numpy" else TOLERANCES[dtypes_of(backend)[0]]
        for name, wanted in found[0].items():
            what = f"{name} after compiled steps"
            checked.same(found[1][name], wanted, tolerance, what, "after plain ones it is", 1.0)


def check_resumed(checked: Checked, optimizer: Optimizer, seed: int) -> None:
    """Saved in the middle, loaded and gone on with: the same to the last bit."""
    numpy = get_backend("numpy")
    whole, x, t = _trainer(optimizer, numpy, seed, compile=False)
    whole.fit(x, t, iterations=STEPS, progress=False)
    half, _, _ = _trainer(optimizer, numpy, seed, compile=False)
    half.fit(x, t, iterations=STEPS // 2, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"
        checked.call("Trainer.save", half.save, path)
        again = checked.call("Trainer.load", lambda: Trainer.load(path, optimizer=optimizer, backend=numpy))
    again.fit(x, t, iterations=STEPS - STEPS // 2, progress=False)
    for name, wanted in _results(whole).items():
        checked.same(_results(again)[name], wanted, 0, f"{name} of a training that was resumed", "uncut it is")
