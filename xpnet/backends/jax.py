"""JAX: CPU, GPU and TPU through XLA. A step is compiled, and the state it consumes is donated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.base import Backend, BackendUnavailableError, Result, Step, dtype_name


class JaxBackend(Backend):
    name = "jax"
    namespace_module = "jax.numpy"
    install = 'pip install "xpnet[jax]"'
    compiles_shapes = True

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return tuple(cls.label(d) for d in cls._devices())

    @classmethod
    def _devices(cls) -> list[Any]:
        jax = cls.library()
        try:
            found = list(jax.devices())
            if found[0].platform != "cpu":
                found += jax.devices("cpu")
        except RuntimeError as error:
            raise BackendUnavailableError(f"backend 'jax': JAX finds no device: {error}") from error
        return found

    @classmethod
    def find_device(cls, device: Any) -> Any:
        """Accept ``"cpu"``, ``"gpu"``, ``"cuda"``, ``"gpu:1"`` or a ``jax.Device``; by default JAX's own default."""
        found = cls._devices()
        if device is None or device in found:
            return found[0] if device is None else device
        kind, _, index = str(device).partition(":")
        wanted = f"{'gpu' if kind == 'cuda' else kind}:{index or 0}"
        for candidate in found:
            if cls.label(candidate) == wanted:
                return candidate
        raise ValueError(cls.no_such_device(device))

    @staticmethod
    def label(device: Any) -> str:
        return f"{device.platform}:{device.id}"

    def dtype(self, dtype: Any) -> Any:
        if dtype_name(dtype) == "float64" and not self.library().config.jax_enable_x64:
            raise ValueError(
                "JAX computes in float32 until it is told otherwise: set the environment variable JAX_ENABLE_X64=1, or "
                'call jax.config.update("jax_enable_x64", True) before any array is made; or use dtype "float32"'
            )
        return super().dtype(dtype)

    def _asarray(self, x: Any, dtype: Any, copy: bool | None) -> Array:
        if not self.library().config.jax_enable_x64:
            _refuse_to_wrap(x)
        return self.xp.asarray(x, dtype=dtype, device=self.device, copy=copy)

    @property
    def block_bytes(self) -> int:
        return 2**28  # XLA cuts the work itself

    @staticmethod
    def put(x: Array, key: Any, values: Array) -> Array:
        return x.at[key].set(values)

    @staticmethod
    def add_rows(x: Array, index: Array, rows: Array) -> Array:
        return x.at[index].add(rows)

    def jit(self, function: Callable[..., Result]) -> Callable[..., Result]:
        return self.library().jit(function)  # type: ignore[no-any-return]

    def synchronize(self) -> None:
        """Wait for every array there is: JAX promises no order in which computations end."""
        self.library().block_until_ready(self.library().live_arrays())

    def compile(self, step: Step) -> Step:
        return self.library().jit(step, donate_argnums=0)  # type: ignore[no-any-return]

    def portions(self, block: np.ndarray, masks: dict[str, np.ndarray]) -> Iterator[tuple[Any, dict[str, Any]]]:
        """As they are on the host: a compiled step takes such an array in less time than a slice on the device."""
        for i, rows in enumerate(block.astype(np.int32)):
            yield rows, {name: mask[i] for name, mask in masks.items()}

    def read_together(self, numbers: list[Array]) -> np.ndarray:
        return np.asarray(self.library().device_get(numbers))


def _refuse_to_wrap(x: Any) -> None:
    """Without its 64-bit mode JAX makes 32-bit integers of 64-bit ones, and larger values wrap around unnoticed."""
    if isinstance(x, np.ndarray) and x.dtype.name in ("int64", "uint64") and x.size:
        limits = np.iinfo(x.dtype.name.replace("64", "32"))
        if x.min() < limits.min or x.max() > limits.max:
            raise OverflowError(
                f"the integers {x.min()} to {x.max()} do not fit JAX's 32 bits; set the environment variable "
                "JAX_ENABLE_X64=1 for 64"
            )


BACKEND = JaxBackend
