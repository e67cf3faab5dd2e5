"""What checks have in common: how they say what is wrong, how they compare, and what an object remembers."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.dispatch import (
    Backend,
    backend_names,
    backend_status,
    dtype_name,
    get_backend,
    name_of,
    widest_floating,
)

#: How far numbers of two libraries may be apart, relative to the largest of an array.
TOLERANCES = {"float64": 1e-9, "float32": 1e-3}


class Checked:
    """What is being checked, and where: it raises what is found, as a sentence.

    Attributes:
        subject: the layer, optimizer or backend.
        notes: what could not be checked, a line each.
    """

    def __init__(self, subject: Any) -> None:
        self.subject, self.notes, self.where = subject, list[str](), ""

    def fail(self, found: str) -> AssertionError:
        """The error that says it; the caller raises it."""
        return AssertionError(f"{self.subject!r}: {found}{self.where}")

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Have what is found in here end with the place."""
        before, self.where = self.where, f" (on {place})"
        try:
            yield
        finally:
            self.where = before

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """What a call returns, or that it raised, and what."""
        try:
            return function(*args)
        except AssertionError:
            raise
        except Exception as error:
            if isinstance(error, ValueError) and "read-only" in str(error):
                raise self.fail(
                    f"{name} writes into an array that it was given, which belongs to the caller; make a new one: "
                    "x = x + 1 instead of x += 1"
                ) from error
            raise self.fail(f"{name} raised {type(error).__name__}: {error}") from error

    def same(self, found: Any, wanted: Any, tolerance: float, what: str, source: str, largest: float = 0.0) -> None:
        """Raise unless two arrays on the host are equal within a tolerance, relative to the largest entry.

        ``largest`` is that of all arrays there are: where entries are sums that come to nothing, rounding is of that.
        """
        if found.shape != wanted.shape:
            raise self.fail(f"{what} has shape {found.shape}, and {source} {wanted.shape}")
        error = np.abs(np.asarray(found, "float64") - np.asarray(wanted, "float64"))
        alike = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
        scale = max(float(np.abs(np.where(np.isfinite(wanted), wanted, 0)).max(initial=0)), 0.01 * largest)
        wrong = ~alike & ~(error <= tolerance * scale)
        if wrong.any():
            raise self.fail(told(found, wanted, wrong, what, source, tolerance))


def told(found: np.ndarray, wanted: np.ndarray, wrong: np.ndarray, what: str, source: str, tolerance: float) -> str:
    """Where two arrays differ most, in how many places, and by how much."""
    error = np.where(wrong, np.abs(np.asarray(found, "float64") - np.asarray(wanted, "float64")), -1.0)
    error = np.where(np.isnan(error), np.inf, error)
    at = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    place = f" at entry {list(at)}" if at else ""
    some = f"; {int(wrong.sum())} of {wrong.size} entries differ" if wrong.size > 1 else ""
    allowed = f", by more than {tolerance:g} of the largest" if tolerance and wrong.size > 1 else ""
    return f"{what} is {found[at]:.9g}{place}, and {source} {wanted[at]:.9g}{some}{allowed}"


def backends_of(given: Sequence[str | Backend] | None, notes: list[str]) -> list[Backend]:
    """The backends named; by default all that can be used here and train, with a note for each of the others."""
    if given is not None:
        named = [given] if isinstance(given, str | Backend) else given
        return [get_backend(each) for each in named]
    found = []
    for name in backend_names():
        problem = backend_status(name).problem
        if problem:
            notes.append(f"backend {name} was left out: {problem}")
        elif (backend := get_backend(name)).trains:
            found.append(backend)
    return found


def dtypes_of(backend: Backend) -> list[str]:
    """The dtypes of networks that the backend computes in, the widest first."""
    widest = dtype_name(widest_floating(backend.asarray(np.float32(0))))
    return ["float32"] if widest == "float32" else ["float64", "float32"]


def to_device(backend: Backend, arrays: Mapping[str, np.ndarray], dtype: str) -> dict[str, Array]:
    """Copies on a backend, floating-point ones in this dtype; of integers and booleans as they are."""
    return {
        name: backend.asarray(a.astype(dtype) if a.dtype.kind == "f" else a, copy=True) for name, a in arrays.items()
    }


def to_host(backend: Backend, tree: Any) -> Any:
    """Copies of the arrays in nested dicts, lists and tuples on the host."""
    if isinstance(tree, dict):
        return {name: to_host(backend, value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [to_host(backend, value) for value in tree]
    return backend.to_numpy(tree).copy() if name_of(tree) == backend.name else tree


def lock(tree: Any) -> Any:
    """The same arrays of NumPy, which nothing can be written into any more."""
    for a in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else [tree]:
        if isinstance(a, np.ndarray):
            a.setflags(write=False)
        elif isinstance(a, dict | list | tuple):
            lock(a)
    return tree


def memory_of(part: Any) -> dict[str, Any]:
    """What an object and the objects in its fields have in them: attributes by name, to be compared later."""
    found = {}
    kinds = [kind for kind in type(part).__mro__ if kind.__module__.partition(".")[0] != "builtins"]
    for kind in kinds:
        for name, value in vars(kind).items():
            if not name.startswith("_") and not callable(value) and not inspect.isdatadescriptor(value):
                found[f"{kind.__name__}.{name}"] = _kept(value)
    for name, value in getattr(part, "__dict__", {}).items():
        found[f"self.{name}"] = _kept(value)
        for i, inner in enumerate(value if isinstance(value, tuple | list) else [value]):
            if hasattr(inner, "__dict__") and not callable(inner) and not isinstance(inner, type):
                inside = {key: kept for key, kept in memory_of(inner).items() if key.startswith("self.")}
                index = f"[{i}]" if isinstance(value, tuple | list) else ""
                found |= {f"self.{name}{index}.{key.removeprefix('self.')}": kept for key, kept in inside.items()}
    return found


def _kept(value: Any) -> Any:
    """A value by which it is seen whether it changed: itself, and what containers and arrays had in them."""
    try:
        return (id(value), pickle.dumps(value)) if isinstance(value, dict | list | set | np.ndarray) else id(value)
    except Exception:
        return id(value), repr(value)


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names of what is new, gone or another."""
    return sorted(name for name in {*before, *after} if before.get(name, changed) != after.get(name, changed))


def check_copies(checked: Checked) -> list[Any]:
    """Copies of the subject, by pickle and by deepcopy, that are equal to it and show themselves alike."""
    part, found = checked.subject, []
    ways: dict[str, Callable[[Any], Any]] = {"pickle": _pickled, "copy.deepcopy": copy.deepcopy}
    for name, copied in ways.items():
        try:
            other = copied(part)
        except Exception as error:
            raise checked.fail(
                f"{name} failed with {type(error).__name__}: {error}; classes and functions that stand at the top of a "
                "module can be copied and sent to other processes"
            ) from error
        if other != part:
            raise checked.fail(f"a copy by {name} is not equal to it: {other!r}; make its class a frozen dataclass")
        if repr(other) != repr(part):
            raise checked.fail(f"a copy by {name} shows itself as {other!r}; repr() goes by the fields alone")
        try:
            alike = hash(other) == hash(part)
        except TypeError as error:
            raise checked.fail(f"it has no hash: {error}; a field that is a list or a dict has none") from error
        if not alike:
            raise checked.fail(f"a copy by {name} is equal to it and has another hash")
        found.append(other)
    return found


def _pickled(part: Any) -> Any:
    return pickle.loads(pickle.dumps(part))
