"""Training on all devices of JAX: those of this process, and of all processes that ``jax.distributed`` joined.

Every device has the state and the data whole, takes its share of the rows of each minibatch, and one reduction a step
gives all of them the same gradients (:mod:`xpnet.backends.jax_mesh`). It is the step's only difference: what a Trainer
hands out and takes back are arrays of the network's one device, which are the part of the others' that is there.
"""

from __future__ import annotations

import atexit
import copy
import functools
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any

import numpy as np

from xpnet._typing import Array, State
from xpnet.backends.base import Backend, Block, CompiledStep, Data, Step, backend_class
from xpnet.backends.jax_mesh import on_all, row_by_row, shared_out
from xpnet.parallel.base import Judge, Parallel, ParallelError
from xpnet.streams import Quiet, warn

#: How many bytes of a note go with the first message; longer ones need a second.
SHORT = 1024


@functools.cache
def join() -> Parallel:
    """All devices that JAX has here, or has brought together."""
    backend_class("jax").library()
    found = JaxParallel()
    if found.size > 1:
        _end_with_an_error(found)
    return found


class JaxParallel(Parallel):
    """The devices of one or several processes; a process is one of those that ``jax.distributed.initialize`` joined."""

    name = "jax"
    divides = False

    def __init__(self) -> None:
        self.jax = import_module("jax")
        self.rank, self.size = self.jax.process_index(), self.jax.process_count()

    def admit(self, backend: Backend) -> None:
        if backend.name != "jax":
            raise ValueError(
                f"parallel='jax' is for networks of JAX, and this one is on backend {backend.name!r}; "
                "make it with backend='jax', or net.to('jax')"
            )
        if hasattr(backend.device, "mesh"):
            raise ValueError(
                f"the network is on several devices already ({backend.device_name}), and trains on all of them without "
                "parallel='jax'"
            )
        if len(self._devices(backend)) == 1:
            warn(
                "parallel='jax' trains on one device, as JAX has no more here; on a CPU "
                "XLA_FLAGS=--xla_force_host_platform_device_count=4 makes four of it, and jax.distributed.initialize() "
                "brings several processes together",
                stacklevel=4,
            )

    def compile(self, backend: Backend, step: Step, compiles: bool) -> CompiledStep:
        if not compiles:
            raise ValueError(
                "parallel='jax' needs compiled steps, which XLA divides over the devices; if layers, losses and "
                "optimizers of your own are pure, say so by compile=True"
            )
        return SpreadStep(step, backend, on_all(self._devices(backend)), self)

    def compile_function(self, backend: Backend, function: Judge) -> Judge:
        """On the devices of this process, as the processes look at different samples."""
        here = on_all([each for each in self._devices(backend) if each.process_index == self.rank])
        judged = backend.compile_function(lambda params, *data: function(params, *shared_out(data, here)))
        return lambda params, *data: judged(*self.jax.device_put((params, *data), here))

    def _devices(self, backend: Backend) -> list[Any]:
        """All of the kind that the network is on."""
        return self.jax.devices(backend.device.platform)  # type: ignore[no-any-return]

    def all_reduce(self, part: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        parts = self._gathered(np.ascontiguousarray(part).reshape(-1).view(np.uint8))
        total = np.sum([np.ascontiguousarray(each).view(part.dtype) for each in parts], axis=0, dtype=part.dtype)
        return super().all_reduce(total.reshape(part.shape), out)

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        flat = self._gathered(np.ascontiguousarray(array).reshape(-1).view(np.uint8))[0]
        return np.ascontiguousarray(flat).view(array.dtype).reshape(array.shape)

    def exchange(self, value: Any) -> list[Any]:
        return [value] if self.size == 1 else [pickle.loads(note) for note in self._notes(pickle.dumps(value))]

    def abort(self, error: BaseException) -> None:
        """The others find the connection closed; JAX's own end would wait for them, who do not come to it."""
        if self.size > 1:
            self.tell(error)
            _leave()

    def tell(self, error: BaseException) -> None:
        """What is said of an error that ends this process, and with it all others."""
        text = "" if isinstance(error, KeyboardInterrupt) else "".join(traceback.format_exception(error))
        Quiet(sys.stderr).write(f"{text}process {self.rank} of {self.size} ends\n")

    def lost(self, error: Exception) -> None:
        """Raise ``ParallelError`` where there are other processes: one of them is gone, as far as is seen from here."""
        if self.size == 1:
            return
        atexit.register(_leave)  # JAX would wait at its end for a process that does not come
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ParallelError(
            f"process {self.rank} of {self.size} cannot go on: most often another process has ended, and says why. "
            f"The last checkpoint is whole. JAX says: {reason}"
        ) from error

    def __reduce__(self) -> tuple[Callable[[], Parallel], tuple[()]]:
        return join, ()

    def _notes(self, note: bytes) -> list[bytes]:
        """The notes of all processes, by rank."""
        first = np.zeros(8 + SHORT, np.uint8)
        first[:8] = np.asarray([len(note)], np.int64).view(np.uint8)
        first[8 : 8 + min(len(note), SHORT)] = np.frombuffer(note[:SHORT], np.uint8)
        found = [np.ascontiguousarray(each) for each in self._gathered(first)]
        lengths = [int(each[:8].view(np.int64)[0]) for each in found]
        texts = [each[8:] for each in found]
        if max(lengths) > SHORT:
            whole = np.zeros(1 << (max(lengths) - 1).bit_length(), np.uint8)  # each length is compiled once
            whole[: len(note)] = np.frombuffer(note, np.uint8)
            texts = self._gathered(whole)
        return [text[:length].tobytes() for text, length in zip(texts, lengths, strict=True)]

    def _gathered(self, part: np.ndarray) -> list[np.ndarray]:
        """The bytes of all processes, as many from each."""
        jax, shared = self.jax, self._places[0]
        here = jax.device_put(part[None, :], shared.mesh.devices[self.rank])
        try:
            everywhere = jax.make_array_from_single_device_arrays((self.size, part.size), shared, [here])
            return list(np.asarray(self._spread(everywhere)))
        except Exception as error:  # JAX has several kinds for a connection that is closed
            self.lost(error)
            raise

    @functools.cached_property
    def _places(self) -> tuple[Any, Any]:
        """Arrays with a row on the first device of each process, and whole on each of these."""
        first = [next(each for each in self.jax.devices() if each.process_index == rank) for rank in range(self.size)]
        whole = on_all(first)
        return row_by_row(whole), whole

    @functools.cached_property
    def _spread(self) -> Callable[[Array], Array]:
        return self.jax.jit(lambda x: x, out_shardings=self._places[1])  # type: ignore[no-any-return]


class SpreadStep(CompiledStep):
    """A step on several devices, of a state and data that their owner has on one of them.

    What it returns is the part of the new state that is on that device. The whole is kept for when that comes back, so
    that nothing is moved between blocks.
    """

    def __init__(self, step: Step, backend: Backend, device: Any, parallel: JaxParallel) -> None:
        self.parallel, self.device = parallel, device
        self.step = type(backend)(device).compile(step)
        self.owner = backend.device
        self.kept: dict[int, tuple[Array, Array]] = {}
        self.data: dict[int, tuple[Array, Array]] = {}

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        jax = self.parallel.jax
        leaves, structure = jax.tree.flatten(state)
        wide = structure.unflatten([self._wide(leaf, self.kept) for leaf in leaves])
        samples = {name: self._wide(array, self.data) for name, array in data.items()}
        self.data = {id(array): (array, samples[name]) for name, array in data.items()}
        self.kept = {}  # they are consumed
        try:
            wide, losses = self.step.run(wide, samples, block)
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            if "Gloo" in str(error) or not isinstance(error, ValueError):
                self.parallel.lost(error)
            raise
        everywhere = jax.tree.leaves(wide)
        here = [next(s.data for s in leaf.addressable_shards if s.device == self.owner) for leaf in everywhere]
        self.kept = {id(x): (x, leaf) for x, leaf in zip(here, everywhere, strict=True)}
        return jax.tree.unflatten(jax.tree.structure(wide), here), losses

    def _wide(self, x: Array, known: dict[int, tuple[Array, Array]]) -> Array:
        """An array whole on all devices: known already, or copied to those of this process that it is not on."""
        if id(x) in known:
            return known[id(x)][1]
        jax = self.parallel.jax
        parts = [jax.device_put(x, each) for each in self.device.addressable_devices]
        return jax.make_array_from_single_device_arrays(x.shape, self.device, parts)

    def release(self) -> None:
        self.kept, self.data = {}, {}
        self.step.release()

    def another(self) -> SpreadStep:
        found = copy.copy(self)
        found.release()
        return found


def _leave() -> None:
    """End this process, and wait for no other."""
    with suppress(Exception):
        sys.stdout.flush()
    Quiet(sys.stderr).flush()
    os._exit(1)


def _end_with_an_error(parallel: JaxParallel) -> None:
    """An exception that nobody catches ends all processes, who would wait for this one for minutes."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):  # all have it
            before(kind, error, trace)
            return
        parallel.tell(error)
        _leave()

    sys.excepthook = hook
