"""Everything follows X: which library and device it is on, and what comes from elsewhere brought there."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import get_config

from xpnet._typing import Array
from xpnet.backends.dispatch import Backend, backend_of, get_backend, name_of


def place_of(X: Any) -> Backend:
    """Where X is, if scikit-learn is told to dispatch (``array_api_dispatch``); else NumPy, which it makes of X."""
    if get_config()["array_api_dispatch"] and name_of(X) not in (None, "numpy"):
        return backend_of(X)
    return get_backend("numpy")


def on_host(values: Any) -> Any:
    """Labels, targets and weights of any library, and lists of them, as NumPy's; tables and all else as they are."""
    if isinstance(values, list | tuple):
        return np.asarray(values)
    return values if name_of(values) in (None, "numpy") else backend_of(values).to_numpy(values)


def from_host(place: Backend, values: np.ndarray) -> Array:
    """An array where X is; what only NumPy can hold, such as strings, stays with NumPy."""
    return place.asarray(values) if values.dtype.kind in "biuf" else values


def check_same_place(estimator: Any, fitted: Backend, X: Any, method: str) -> None:
    """Raise ``ValueError`` unless X is where the X of ``fit`` was: nothing is moved behind the user's back."""
    given = place_of(X)
    if given != fitted:
        off = "" if get_config()["array_api_dispatch"] else "; array_api_dispatch is off, so all input is made NumPy's"
        raise ValueError(
            f"Inputs passed to {type(estimator).__name__}.{method}() must use the same namespace and the same device "
            f"as those passed to fit(): this is {given.name} on {given.device_name}, and fit() was given "
            f"{fitted.name} on {fitted.device_name}; move it there{off}"
        )
