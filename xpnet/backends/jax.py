"""JAX: CPU, GPU and TPU through XLA. Many steps are one compiled loop, and the state they consume is donated.

Several devices may be one device; :mod:`xpnet.backends.jax_mesh` says how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import numpy as np

from xpnet._typing import Array, Params, State
from xpnet.backends import jax_convolution, jax_pooling
from xpnet.backends.base import (
    HALF_DTYPES,
    Backend,
    BackendUnavailableError,
    Block,
    CompiledStep,
    Data,
    Geometry,
    Pair,
    PlainStep,
    Result,
    Step,
    dtype_name,
)
from xpnet.backends.jax_mesh import devices_of, everywhere, on_all, with_shared_rows
from xpnet.backends.jax_products import with_turned_products
from xpnet.errors import CompileWarning
from xpnet.streams import warn

#: The most steps that one dispatch takes: as many as the longest block of a training loop.
CAPACITY = 256
#: How many sizes of batches keep their programs.
MOST_SIZES = 16
#: How much memory the minibatches and draws of one dispatch may take. They are padded to one size, so that blocks of
#: every length run the same program, and padding that is never read has to be moved to the device all the same.
DISPATCH_BYTES = 2**22
#: The names of JAX for products in which float32 keeps its digits.
SINGLE = ("float32", "highest", "F32_F32_F32")


class JaxBackend(Backend):
    name = "jax"
    packages = ("jax", "jaxlib")
    namespace_module = "jax.numpy"
    install = 'pip install "xpnet[jax]"'
    special_module = "jax.scipy.special"
    compiles_shapes = True
    half_dtypes = HALF_DTYPES
    #: Each dispatch has the system give it new memory page by page, which can cost as much as half of a step.
    longer_blocks = 5

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return tuple(cls.label(d) for d in cls._devices())

    @classmethod
    def _devices(cls) -> list[Any]:
        """Those of this process: of several processes none can reach those of the others."""
        jax = cls.library()
        try:
            found = list(jax.local_devices())
            if found[0].platform != "cpu":
                found += jax.local_devices(backend="cpu")
        except RuntimeError as error:
            raise BackendUnavailableError(f"backend 'jax': JAX finds no device: {error}") from error
        return found

    @classmethod
    def find_device(cls, device: Any) -> Any:
        """Accept ``"cpu"``, ``"gpu"``, ``"gpu:1"``, several as ``"gpu:0,gpu:1"``, or a ``jax.Device``."""
        found = cls._devices()
        if device is None or device in found or hasattr(device, "device_set"):
            return found[0] if device is None else device
        if "," in str(device):
            return on_all([cls.find_device(each) for each in str(device).split(",")])
        kind, _, index = str(device).partition(":")
        wanted = f"{'gpu' if kind == 'cuda' else kind}:{index or 0}"
        for candidate in found:
            if cls.label(candidate) == wanted:
                return candidate
        raise ValueError(cls.no_such_device(device))

    @staticmethod
    def device_of(x: Array) -> Any:
        """Of an array that is spread over devices, in whatever way: all of them, on which others may stand whole."""
        where = getattr(x, "device", None)  # what is traced has none
        return where if where is None or not hasattr(where, "mesh") else everywhere(where.mesh)

    @staticmethod
    def label(device: Any) -> str:
        return ",".join(f"{each.platform}:{each.id}" for each in devices_of(device))

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
    def tf32(self) -> bool | str | None:
        """JAX's own choice is to, on GPUs that can."""
        first = devices_of(self.device)[0]  # all are of one kind
        major = str(getattr(first, "compute_capability", "")).partition(".")[0]
        if first.platform != "gpu" or not major.isdigit() or int(major) < 8:
            return None
        return self.library().config.jax_default_matmul_precision not in SINGLE

    def with_tf32(self, on: bool | None) -> AbstractContextManager[Any]:
        if on is None or self.tf32 is None:
            return nullcontext()
        return self.library().default_matmul_precision("tensorfloat32" if on else "float32")  # type: ignore[no-any-return]

    @property
    def tile_bytes(self) -> int:
        return 2**28  # XLA cuts the work itself

    @staticmethod
    def put(x: Array, key: Any, values: Array) -> Array:
        return x.at[key].set(values)

    @staticmethod
    def add_rows(x: Array, index: Array, rows: Array) -> Array:
        return x.at[index].add(rows)

    add_at = add_rows

    @staticmethod
    def image_axes(x: Array) -> tuple[int, ...]:
        return jax_convolution.ROWS if jax_convolution.on_cpu() else Backend.image_axes(x)

    @staticmethod
    def convolution(x: Array, W: Array, b: Array, geometry: Geometry) -> Array | None:
        return jax_convolution.convolution(x, W, b, geometry)

    @staticmethod
    def convolution_gradients(
        x: Array, W: Array, dy: Array, geometry: Geometry, wanted: bool
    ) -> tuple[Array | None, Array, Array]:
        return jax_convolution.gradients(x, W, dy, geometry, wanted)

    @staticmethod
    def max_pool(x: Array, size: Pair, geometry: Geometry) -> tuple[Array, Any] | None:
        if geometry.stride != size or geometry.padding != (0, 0) or size == (1, 1):
            return None
        return jax_pooling.max_pool(x, size)

    @staticmethod
    def max_pool_gradient(kept: Any, dy: Array, size: Pair, geometry: Geometry) -> Array:  # noqa: ARG004
        return jax_pooling.gradient(kept, dy, size)

    @classmethod
    def on_host(cls, function: Callable[[np.ndarray], np.ndarray], x: Array) -> Array:
        jax = cls.library()
        if not isinstance(x, jax.core.Tracer):
            return super().on_host(function, x)

        def called(x: Any) -> np.ndarray:
            return function(np.ascontiguousarray(x))

        return import_module("jax.experimental").io_callback(
            called, jax.ShapeDtypeStruct(x.shape, x.dtype), x, ordered=True
        )

    def jit(self, function: Callable[..., Result]) -> Callable[..., Result]:
        return self.library().jit(function)  # type: ignore[no-any-return]

    def regained(self, tree: State) -> State:
        """JAX takes them out of a pickle on its default device, and puts a dict there in another order."""
        put = self.library().device_put
        return {k: self.regained(v) if isinstance(v, dict) else put(v, self.device) for k, v in tree.items()}

    def synchronize(self) -> None:
        """Wait for every array there is: JAX promises no order in which computations end."""
        self.library().block_until_ready(self.library().live_arrays())

    def compile(self, step: Step) -> CompiledStep:
        return JaxStep(step, self)

    def compile_function(self, function: Callable[..., dict[str, Array]]) -> Callable[..., dict[str, Array]]:
        jitted, untraceable = self.jit(function), (TypeError, self.library().errors.JAXIndexError)
        plainly = False

        def called(*arguments: Any) -> dict[str, Array]:
            nonlocal plainly
            if not plainly:
                try:
                    return jitted(*arguments)
                except untraceable:  # steps of the same layers have told, or will; what is wrong otherwise comes again
                    plainly = True
            return function(*arguments)

        return called

    def portions(self, block: Block) -> Iterator[tuple[Array, Params]]:
        """Rows as they are on the host, which costs less than a slice on the device; draws as arrays of JAX."""
        for i, rows in enumerate(block.rows.astype(np.int32)):
            yield rows, {name: self.asarray(drawn[i]) for name, drawn in block.draws.items()}

    def read_together(self, numbers: list[Array]) -> np.ndarray:
        return np.asarray(self.library().device_get(numbers))


class JaxStep(CompiledStep):
    """As many steps as there is room for, compiled as a loop.

    ``many(state, data, rows, draws, count)``, with rows (K, B) and draws (K, B, ...), takes ``count`` of the K steps
    and returns the state and losses (K, ...), of which the first ``count`` are set. Each batch size B is compiled once.
    What JAX cannot trace runs as it is, after one warning.
    """

    def __init__(self, step: Step, backend: JaxBackend) -> None:
        self.plain, self.failed = PlainStep(step, backend), False
        self.sizes: set[int] = set()
        self.jax = jax = backend.library()
        first, *others = devices_of(backend.device)
        turned = with_turned_products(step, jax) if first.platform == "cpu" else step
        shared = with_shared_rows(turned, backend.device) if others else turned
        self.body = jax.jit(shared, inline=True)  # for its cache: asked for the loss's dtype, it is traced once
        self.many = jax.jit(self._many, donate_argnums=0)

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        if self.failed:
            return self.plain.run(state, data, block)
        try:
            return self._dispatched(state, data, block)
        except (TypeError, self.jax.errors.JAXIndexError) as error:  # before anything was computed
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        result = self.plain.run(state, data, block)
        self.failed = True
        warn(f"JAX cannot compile the training step, which runs call by call: {reason}", CompileWarning, stacklevel=2)
        return result

    def another(self) -> JaxStep:
        return self  # it keeps no arrays

    def _dispatched(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        """As many steps at once as there is room for in a dispatch."""
        self.sizes.add(block.rows.shape[1])
        if len(self.sizes) > MOST_SIZES:  # JAX keeps the programs of all
            self.many.clear_cache()
            self.body.clear_cache()
            self.sizes = {block.rows.shape[1]}
        rows, losses = block.rows.astype(np.int32), []
        for start in range(0, len(rows), capacity := steps_a_dispatch(Block(rows, block.draws))):
            count = min(capacity, len(rows) - start)
            here = slice(start, start + count)
            draws = {name: padded(drawn[here], capacity) for name, drawn in block.draws.items()}
            state, found = self.many(state, data, padded(rows[here], capacity), draws, np.int32(count))
            losses.append((found, count))
        return state, np.concatenate([np.asarray(found)[:count] for found, count in losses])

    def _many(self, state: State, data: Data, rows: Array, draws: Params, count: Array) -> tuple[State, Array]:
        lax = self.jax.lax

        def take(i: Array) -> tuple[Array, Params]:
            return self.jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, keepdims=False), (rows, draws))  # type: ignore[no-any-return]

        def one(i: Array, carried: tuple[State, Array]) -> tuple[State, Array]:
            state, losses = carried
            state, loss = self.body(state, data, *take(i))
            return state, lax.dynamic_update_index_in_dim(losses, loss, i, 0)

        _, loss = self.jax.eval_shape(self.body, state, data, *take(np.int32(0)))
        losses = self.jax.numpy.zeros((rows.shape[0], *loss.shape), loss.dtype)
        return lax.fori_loop(0, count, one, (state, losses))  # type: ignore[no-any-return]


def steps_a_dispatch(block: Block) -> int:
    """How many steps there is room for; it depends on the shapes of one step alone, so a program serves all blocks."""
    a_step: int = block.rows[0].nbytes + sum(drawn[0].nbytes for drawn in block.draws.values())
    return max(1, min(CAPACITY, DISPATCH_BYTES // a_step))


def padded(a: np.ndarray, length: int) -> np.ndarray:
    """a (k, ...) as (length, ...), with zeros at the end, which are not read."""
    if len(a) == length:
        return a
    wide = np.zeros((length, *a.shape[1:]), a.dtype)
    wide[: len(a)] = a
    return wide


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
