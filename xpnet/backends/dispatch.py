"""The one seam between xpnet and the array libraries.

Creation chooses a backend (:func:`get_backend`, :func:`use_backend`); after that execution follows the arrays
(:func:`namespace`, :func:`device`).
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from numbers import Integral, Real
from types import ModuleType, TracebackType
from typing import Any, NamedTuple, TypeVar

import array_api_compat
import numpy as np

from xpnet._typing import Array
from xpnet.backends.base import (
    Backend,
    BackendUnavailableError,
    Geometry,
    Status,
    backend_class,
    describe,
    dtype_name,
    name_of,
)
from xpnet.backends.registry import OURS, known, names

__all__ = [
    "Backend",
    "BackendUnavailableError",
    "Geometry",
    "backend_names",
    "backend_of",
    "backend_status",
    "check_same_backend",
    "current_backend",
    "describe",
    "device",
    "dtype_name",
    "get_backend",
    "kind_of",
    "name_of",
    "namespace",
    "number_as_array",
    "on_device_of",
    "on_device_of_first",
    "on_its_device",
    "quiet",
    "traced",
    "use_backend",
    "widest_floating",
    "writable",
]

ENVIRONMENT_VARIABLE = "XPNET_BACKEND"

Method = TypeVar("Method", bound=Callable[..., Any])

_namespaces: dict[type, ModuleType] = {}
_devices: dict[type, Callable[[Array], Any]] = {}
_places: dict[type, Callable[[Any], AbstractContextManager[Any]]] = {}

#: Decorates what computes with a user's numbers: NumPy's floating-point warnings are off in it. They depend on more
#: than the numbers: a kernel of BLAS for AVX-512 multiplies padding by infinity and warns of that, Apple's warns of
#: finite numbers. What is not finite is in the result, on every library, and is looked for there.
quiet = np.errstate(all="ignore")


def namespace(x: Array) -> ModuleType:
    """The Array API namespace of an array, ``xp`` by custom.

    Raises:
        TypeError: ``x`` is no array of the standard: a list or a Python number, for example.

    >>> import numpy as np
    >>> float(namespace(np.asarray([1.0, 4.0])).sum(np.asarray([1.0, 4.0])))
    5.0
    """
    try:
        return _namespaces[type(x)]  # looking it up each time would cost as much as adding two small arrays
    except KeyError:
        pass
    if isinstance(x, bool | int | float | complex | None) and name_of(x) is None:  # NumPy's numbers are its 0-d arrays
        raise TypeError(_no_array(x))
    if odd := {kind.__name__ for kind in type(x).__mro__} & {"matrix", "MaskedArray"}:
        raise TypeError(f"a {odd.pop()} computes by rules of its own; make a plain array of it first: numpy.asarray(x)")
    name = name_of(x)
    if name is None or hasattr(x, "__xpnet_backend__"):  # on top of others it answers for itself
        try:
            xp: ModuleType = array_api_compat.array_namespace(x)
        except TypeError:
            raise TypeError(_no_array(x)) from None
    elif array_api_compat.is_array_api_obj(x) or (name not in OURS and hasattr(x, "shape") and hasattr(x, "dtype")):
        xp = backend_class(name).namespace()
    else:
        raise TypeError(_no_array(x))
    _namespaces[type(x)] = xp
    return xp


def _no_array(x: Any) -> str:
    return f"expected an array of the Array API standard, but this is {describe(x)}; make one first: numpy.asarray(...)"


def device(x: Array) -> Any:
    """The device of an array; None while JAX traces, where there is none yet."""
    kind = type(x)
    if kind not in _devices:
        name = name_of(x)
        answers = Backend.device_of if name is None else backend_class(name).device_of
        plain = answers is Backend.device_of and (name is None or name in OURS)
        _devices[kind] = array_api_compat.device if plain else answers
    return _devices[kind](x)


def on_device_of(x: Any) -> AbstractContextManager[Any]:
    """What is computed in this block is computed on the device of an array; see :meth:`Backend.current`."""
    kind = type(x)
    if kind not in _places:
        _places[kind] = kind_of(x).beside
    return _places[kind](x)


def on_its_device(method: Method) -> Method:
    """Decorates methods that compute, of what has a ``backend``: its device is current in them."""

    @functools.wraps(method)
    def placed(self: Any, *args: Any, **options: Any) -> Any:
        with self.backend.current():
            return method(self, *args, **options)

    return placed  # type: ignore[return-value]


def on_device_of_first(function: Method) -> Method:
    """Decorates functions of arrays that make more of them: the device of the first is current in it."""

    @functools.wraps(function)
    def placed(x: Any, *args: Any, **options: Any) -> Any:
        with on_device_of(x):
            return function(x, *args, **options)

    return placed  # type: ignore[return-value]


def backend_of(x: Array) -> Backend:
    """The backend that an array belongs to, on the array's device.

    Raises:
        TypeError: ``x`` is no array of a known library.
    """
    name = name_of(x)
    if name is None:
        raise TypeError(_no_array(x))
    return backend_class(name)(device(x))


def kind_of(x: Array) -> type[Backend]:
    """The class of the backend that an array belongs to; of other arrays of the standard, what is right for all."""
    name = name_of(x)
    return Backend if name is None else backend_class(name)


def widest_floating(x: Array) -> Any:
    """float64 where the library has it on the device of x; else float32 (JAX until told otherwise, PyTorch on MPS)."""
    found = namespace(x).__array_namespace_info__().dtypes(device=device(x), kind="real floating")
    return found.get("float64", found["float32"])


def number_as_array(x: Any) -> Any:
    """A number as a 0-d array: of its library and dtype, or of the backend selected in the widest dtype; others as is.

    Raises:
        ValueError: an integer that is too large for float64.
    """
    if isinstance(x, bool) or not isinstance(x, Real):
        return x
    name = name_of(x)
    backend = current_backend() if name is None else backend_class(name)()
    if name is not None and not isinstance(x, Integral):
        return backend.asarray(x)
    try:
        return backend.asarray(float(x), dtype_name(widest_floating(backend.asarray(0.0))))
    except OverflowError:
        raise ValueError("this integer is too large for float64") from None


def writable(x: Array) -> Array:
    """x, or a copy of it where x is locked."""
    locked = getattr(getattr(x, "flags", None), "writeable", True) is False
    return namespace(x).asarray(x, copy=True) if locked else x


def host_number(x: Any, like: Array = None) -> Array:
    """A number as a 0-d array on the host in float64, as Python computes with it; or where another array is."""
    try:
        number = float(x)
    except OverflowError:
        raise ValueError("this integer is too large for float64") from None
    if like is None or name_of(like) is None:
        return get_backend("numpy").asarray(number, "float64")
    return backend_of(like).asarray(number, dtype_name(widest_floating(like)))


def traced(x: Array) -> bool:
    """Whether a library is tracing, so that x has a shape and a dtype, but no values to look at."""
    return device(x) is None


def backend_names() -> tuple[str, ...]:
    """The names that :func:`get_backend` knows, whether they can be used here or not."""
    return names()


def get_backend(name: str | Backend | None = None, device: Any = None) -> Backend:
    """The backend of this name on this device.

    Args:
        name: ``"numpy"``, ``"cupy"``, ``"torch"``, ``"jax"``, ``"strict"``, ``"dask"``, or one that another package
            brings (:mod:`xpnet.backends.registry`); by default the one that :func:`use_backend` selected, else the one
            in the environment variable ``XPNET_BACKEND``, else NumPy.
        device: as the library writes it, ``"cuda:0"`` for example; by default the library's own default.

    Raises:
        ValueError: no such backend or device; the message lists those there are.
        BackendUnavailableError: its library or driver is missing; the message says which, and what to install.

    >>> get_backend("numpy")
    <xpnet backend 'numpy' on cpu>
    """
    if name is None:
        return current_backend(device)
    if isinstance(name, Backend):
        return name if device is None else type(name)(device)
    return _known(name, "unknown backend")(device)


def _known(name: Any, complaint: str) -> type[Backend]:
    if not known(name):
        raise ValueError(f"{complaint} {name!r}; known backends: {', '.join(names())}")
    return backend_class(name)


def current_backend(device: Any = None) -> Backend:
    """The backend that a network is made on when it is not told otherwise."""
    here = _selected.get()
    selected = here.backend if here else _everywhere.backend
    if selected is not None:
        return selected if device is None else type(selected)(device)
    name = os.environ.get(ENVIRONMENT_VARIABLE)
    if name:
        return _known(name, f"the environment variable {ENVIRONMENT_VARIABLE} names an unknown backend,")(device)
    return backend_class("numpy")(device)


class use_backend:  # noqa: N801  (a function to its users, and a context manager if they want one)
    """Select the backend that new networks are made on: from here on, or for a ``with`` block.

    ``use_backend("cupy")`` by itself selects it from here on: called in the main thread for the whole program, threads
    that start later included; called in another thread, in an asyncio task or in a ``with`` block, for that alone. A
    block selects for what it runs itself: other threads and tasks are not disturbed, and threads that start inside of
    it do not inherit it. Each ``with`` of one object selects again. Where nothing is selected, the environment variable
    ``XPNET_BACKEND`` decides, else it is NumPy.

    Raises at once, and selects nothing, if the backend cannot be used here (see :func:`get_backend`).

    >>> with use_backend("numpy") as backend:
    ...     backend.name
    'numpy'
    """

    def __init__(self, name: str | Backend, device: Any = None) -> None:
        self.backend = get_backend(name, device)
        here = _selected.get()
        self._before: tuple[_Selection | None, Backend | None] | None = here, _everywhere.backend
        _selected.set(_Selection(self.backend, here.outer if here else None, here.block if here else False))
        local = (here is not None and here.block) or _in_a_task()
        if not local and threading.current_thread() is threading.main_thread():
            _everywhere.backend = self.backend

    def __enter__(self) -> Backend:
        here = _selected.get()
        if self._before is not None and here is not None and here.backend is self.backend:
            # as in `with use_backend(...)`: what making it selected is taken back, as it is for the block alone
            here, everywhere = self._before
            if _everywhere.backend is self.backend:
                _everywhere.backend = everywhere
        self._before = None
        _selected.set(_Selection(self.backend, here, True))
        return self.backend

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        here = _selected.get()
        _selected.set(here.outer if here else None)

    def __repr__(self) -> str:
        return f"use_backend({self.backend!r})"


class _Selection(NamedTuple):
    """What is selected in this thread or task, and what was outside of the block that selects it."""

    backend: Backend
    outer: _Selection | None
    block: bool


def _in_a_task() -> bool:
    asyncio = sys.modules.get("asyncio")  # who has a task has imported it
    try:
        return asyncio is not None and asyncio.current_task() is not None
    except RuntimeError:  # no loop is running
        return False


class _Everywhere:
    """What is selected where no thread or task has a selection of its own."""

    backend: Backend | None = None


_selected: ContextVar[_Selection | None] = ContextVar("xpnet_backend", default=None)
_everywhere = _Everywhere()


def backend_status(name: str) -> Status:
    """Whether a backend can be used here: its version, its devices, and what stands in the way."""
    try:
        return _known(name, "unknown backend").status()
    except BackendUnavailableError as error:
        return Status(name, None, (), str(error))
    except Exception as error:
        if not known(name) or name in OURS:
            raise
        return Status(name, None, (), f"backend {name!r}: {type(error).__name__}: {error}")


def check_same_backend(x: Any, argument: str, backend: Backend, owner: str) -> None:
    """Raise unless ``x`` is an array of this backend on its device: data is never moved behind the user's back."""
    found = name_of(x)
    if found is None and hasattr(x, "__array_namespace__"):
        return  # a namespace on top of others, such as a recording one, answers for itself
    there = "net.backend" if owner == "the network" else f"get_backend({backend.name!r}, {backend.device_name!r})"
    call = f"{there}.asarray({argument})"
    if found is None:
        raise TypeError(
            f"{argument} is {describe(x)}, expected an array, as {owner} is on backend {backend.name!r}; "
            f"of numbers make one with {call}"
        )
    if found != backend.name:
        raise TypeError(
            f"{argument} is {describe(x)}, but {owner} is on backend {backend.name!r}; move it there with {call}"
        )
    where = device(x)
    if where is not None and where != backend.device:
        raise ValueError(
            f"{argument} is on device {backend.label(where)}, but {owner} is on {backend.device_name}; move it there "
            f"with {call}"
        )
