"""What a network is given by its user, looked at once: made fit, or refused with a reason. No step looks again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from xpnet._typing import Array, Loss
from xpnet.backends.base import plain_host
from xpnet.backends.dispatch import Backend, check_same_backend, describe, dtype_name, name_of, namespace, traced


def as_array(x: Any, backend: Backend, name: str = "x") -> Array:
    """x as it is if it is an array; a list or a table of numbers (a pandas DataFrame, a Series) as one of the backend.

    Raises:
        TypeError: nothing that holds numbers, or a list of arrays that are not NumPy's, which would be moved.
        ValueError: rows of different lengths.
    """
    if isinstance(x, np.ndarray):
        return _of_numbers(x, name) if x.dtype == object else plain_host(x)
    if name_of(x) is not None or hasattr(x, "__array_namespace__") or not isinstance(x, list | tuple | range | _Table):
        return x
    first = x
    while isinstance(first, list | tuple) and first:
        first = first[0]
    library = name_of(first)
    foreign = library is None and hasattr(first, "__array_namespace__")
    if first is not x and (foreign or library not in (None, "numpy")):
        raise TypeError(
            f"{name} is a {type(x).__name__} of arrays ({describe(first)}); make one of them: xp.stack({name})"
        )
    return backend.asarray(_of_numbers(x, name))


def _of_numbers(x: Any, name: str) -> np.ndarray:
    try:
        host = np.asarray(x)
        if host.dtype == object:  # a table whose columns are of different types, or may lack values
            host = np.asarray(host.tolist())
    except ValueError as error:
        raise ValueError(f"{name} is no rectangular array of numbers: {error}") from None
    if host.dtype.kind not in "biufc":
        raise TypeError(
            f"{name} holds values that are no numbers; encode categories and fill in what is missing first, with "
            "get_dummies, cat.codes and fillna of pandas, for example"
        )
    return host


@runtime_checkable
class _Table(Protocol):
    """What NumPy can make an array of."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any: ...


def check_detached(x: Array, name: str) -> None:
    """Raise ``TypeError`` if the array's own library records what is done with it: all steps would hang together."""
    if getattr(x, "requires_grad", False):
        raise TypeError(
            f"{name} has its library record gradients (requires_grad), and xpnet computes its own; "
            f"give {name}.detach(). To have the library differentiate, call net.forward(net.params, x)"
        )


def as_input(x: Any, backend: Backend, dtype: Any, name: str = "x", *, takes: str = "floating") -> Array:
    """x as a network takes it: a non-empty array of this backend and device, in this dtype; reads no values.

    Floating-point numbers of another dtype are converted, lists and tables of numbers too (:func:`as_array`); nothing
    is moved from one library or device to another. ``takes`` is that of the first layer: of ``"any"``, integers stay
    as they are, to be converted a batch at a time, and of ``"integers"`` nothing else is taken.

    Raises:
        TypeError: another backend, no array at all, integers, complex numbers, or an array whose library records.
        ValueError: another device, or no samples.
    """
    x = as_array(x, backend, name)
    check_same_backend(x, name, backend, "the network")
    check_detached(x, name)
    if x.dtype != dtype or takes == "integers":
        with backend.current():
            x = _converted(x, backend, dtype, name, takes)
    if x.ndim == 0 or x.shape[0] == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: there are no samples in it")
    return x


def _converted(x: Array, backend: Backend, dtype: Any, name: str, takes: str) -> Array:
    wanted = dtype_name(dtype)
    if name_of(x) is None:
        raise TypeError(
            f"{name} is {describe(x)} in {x.dtype}, expected an array of backend {backend.name!r} in {wanted}"
        )
    xp = namespace(x)
    if takes != "floating" and xp.isdtype(x.dtype, "integral"):
        return backend.computable(x)
    if takes == "integers":
        raise TypeError(
            f"{name} is {dtype_name(x.dtype)}, and the first layer takes integers; make them with "
            f"net.backend.asarray({name}, dtype='int64')"
        )
    if xp.isdtype(x.dtype, "real floating"):
        with np.errstate(over="ignore"):  # what becomes infinite is looked for afterwards
            return xp.astype(x, dtype)
    if xp.isdtype(x.dtype, ("integral", "bool")):
        raise TypeError(
            f"{name} is {dtype_name(x.dtype)}, the network computes in {wanted}; of numbers make "
            f"net.backend.asarray({name}, dtype={wanted!r}); scale images to 0..1 as well, by / 255, as "
            "xpnet.datasets.mnist(normalize=True) does, or make the first layer Rescale(1 / 255)"
        )
    raise TypeError(f"{name} is {dtype_name(x.dtype)}, expected real numbers; the network computes in {wanted}")


def as_samples(
    x: Any,
    t: Any,
    *,
    backend: Backend,
    dtype: Any,
    takes: str,
    scores_shape: Callable[[Array], tuple[int, ...]],
    check_input: Callable[[Array], None],
    loss: Loss,
    names: tuple[str, str] = ("x", "t"),
    finite: bool = False,
) -> tuple[Array, Array]:
    """``x`` and ``t`` as they can be trained on: :func:`as_input`, finite, and targets that fit.

    It reads the values, so it waits for the device. Labels are looked at here and nowhere else: some libraries wrap
    an index that is out of range instead of refusing it.

    Args:
        x, t: samples (N, ...) and targets (N, ...).
        backend, dtype: the network's.
        takes: that of its first layer; see :func:`as_input`.
        scores_shape: what gives the shape of the scores of samples.
        check_input: raises for integers that the first layer does not take.
        loss: its loss.
        names: what the two are called in messages.
        finite: whether x is known to be finite.

    Raises:
        TypeError, ValueError: what :func:`as_input` raises, NaN or infinity in x, and targets that the loss refuses.
    """
    x_name, t_name = names
    x = as_input(x, backend, dtype, x_name, takes=takes)
    t = as_array(t, backend, t_name)
    check_same_backend(t, t_name, backend, "the network")
    check_detached(t, t_name)
    for name, array in ((x_name, x), (t_name, t)):
        backend.check_sizes(array, name)
    if t.ndim == 0 or t.shape[0] != x.shape[0]:
        count = t.shape[0] if t.ndim else 1
        raise ValueError(f"{x_name} has {x.shape[0]} samples and {t_name} has {count}; expected as many")
    if name_of(t) is not None:
        xp = namespace(t)
        t = xp.astype(t, xp.uint8) if xp.isdtype(t.dtype, "bool") else backend.computable(t)
    if not traced(x):
        if not finite and namespace(x).isdtype(x.dtype, "real floating"):
            check_finite(x, x_name)
        check_input(x)
        loss.check(scores_shape(x), t, t_name)
    return x, t


def check_finite(x: Array, name: str = "x") -> None:
    """Raise ``ValueError`` if there is a NaN or an infinity in ``x``, with how many and the first sample with one."""
    xp = namespace(x)
    finite = xp.isfinite(x)
    if bool(xp.all(finite)):
        return
    bad = xp.reshape(xp.astype(~finite, xp.int32), (x.shape[0], -1))
    first = int(xp.argmax(xp.max(bad, axis=1)))
    raise ValueError(f"{name} has {int(xp.sum(bad))} values that are NaN or infinite, the first in sample {first}")
