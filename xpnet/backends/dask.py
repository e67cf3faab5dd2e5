"""Dask: arrays larger than memory, or spread over a cluster, in chunks. For forward passes."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.base import Backend


class DaskBackend(Backend):
    name = "dask"
    packages = ("dask",)
    namespace_module = "array_api_compat.dask.array"
    install = 'pip install "xpnet[dask]"'
    trains = False

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("cpu",)

    def _asarray(self, x: Any, dtype: Any, copy: bool | None) -> Array:
        return self.xp.asarray(x, dtype=dtype, copy=copy)

    @staticmethod
    def image_axes(x: Array) -> tuple[int, ...]:  # noqa: ARG004
        """Samples first, as chunks of them stay chunks only where no axis after theirs is cut."""
        return 0, 1, 2, 3

    @staticmethod
    def to_host(x: Array) -> np.ndarray:
        return np.asarray(x.compute())


BACKEND = DaskBackend
