"""Dask: arrays larger than memory, or spread over a cluster, in chunks. For forward passes, and full-batch gradients.

What is computed of samples is computed chunk by chunk, where the chunks are, when somebody reads the result.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from itertools import count
from math import isnan
from typing import Any

import numpy as np

from xpnet._typing import Array, Params
from xpnet.backends.base import Backend, SampleShape, Tree


class DaskBackend(Backend):
    name = "dask"
    packages = ("dask",)
    namespace_module = "array_api_compat.dask.array"
    install = 'pip install "xpnet[dask]"'
    trains = False
    in_chunks = True

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("cpu",)

    def check_trains(self) -> None:
        try:
            super().check_trains()
        except ValueError as error:
            raise ValueError(
                f"{error}. A minibatch would gather its rows from all chunks; net.gradient, of all samples, works, and "
                "an optimizer takes what it gives"
            ) from None

    def _asarray(self, x: Any, dtype: Any, copy: bool | None) -> Array:
        return self.xp.asarray(x, dtype=dtype, copy=copy)

    @staticmethod
    def to_host(x: Array) -> np.ndarray:
        return np.asarray(x.compute())

    @classmethod
    def by_sample(
        cls, function: Callable[[Params, Array], Array], params: Params, x: Array, shape: SampleShape
    ) -> Array:
        """A task for each chunk of samples, given them whole, and the parameters, as NumPy arrays."""
        one, da = shape(tuple(x.shape[1:])), importlib.import_module("dask.array")
        if one is None or not all(isinstance(array, da.Array) for array in (x, *params.values())):
            return function(params, x)
        x = x.rechunk(dict.fromkeys(range(1, x.ndim), -1))
        axis, given = count(x.ndim + len(one)), []
        for array in params.values():
            given += [array, tuple(next(axis) for _ in array.shape)]
        found = (0, *range(x.ndim, x.ndim + len(one)))
        return da.blockwise(
            partial(_of_chunk, function, tuple(params)),
            found,
            x,
            tuple(range(x.ndim)),
            *given,
            new_axes=dict(zip(found[1:], one, strict=True)),
            concatenate=True,
            dtype=next(iter(params.values())).dtype,
            meta=np.empty((0,) * len(found), next(iter(params.values())).dtype),
        )

    @classmethod
    def computed(cls, tree: Tree) -> Tree:
        return cls.library().persist(tree)[0]  # type: ignore[no-any-return]

    @staticmethod
    def check_sizes(x: Array, name: str) -> None:
        if any(isnan(size) for size in x.shape):
            raise ValueError(
                f"{name} has chunks of unknown sizes, shape {x.shape}, as what is selected by its values has; "
                f"{name}.compute_chunk_sizes() finds them"
            )


def _of_chunk(function: Callable[[Params, Array], Array], names: tuple[str, ...], x: Array, *arrays: Array) -> Array:
    with np.errstate(all="ignore"):
        return function(dict(zip(names, arrays, strict=True)), x)


BACKEND = DaskBackend
