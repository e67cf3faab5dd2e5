"""PyTorch: CPU, CUDA and MPS. Its autograd is not used; gradients are xpnet's own."""

from __future__ import annotations

import functools
import importlib
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from xpnet._typing import Array, Params, State
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
    Step,
    dtype_name,
)
from xpnet.backends.threads import Threads
from xpnet.backends.torch_graph import CapturedStep
from xpnet.backends.trees import check_alike, leaves, names, rebuilt
from xpnet.errors import CompileWarning
from xpnet.streams import warn

#: How many programs are kept: those of the sizes of batches that were used last.
MOST_PROGRAMS = 16

#: Arrays in the order of :func:`leaves`: of the state, the data, the rows, the draws -> of the state, and the loss.
Program = Callable[..., list[Array]]


#: It keeps a number of threads for each thread that calls it.
_here = threading.local()


#: Functions of the host that graphs call.
_called: list[Callable[[np.ndarray], np.ndarray]] = []


@functools.cache
def _host_operation() -> Any:
    """The operation by which a graph calls one of these functions."""
    library = TorchBackend.library().library

    def on_host(x: Array, number: int) -> Array:
        if getattr(_here, "tries", False):  # whoever else is called by the function does not try
            return x.clone()
        return TorchBackend.on_host(_called[number], x).clone()

    made = library.custom_op("xpnet::on_host", on_host, mutates_args=(), schema="(Tensor x, int number) -> Tensor")
    made.register_fake(lambda x, _: TorchBackend.library().empty_like(x))
    return made


class _Pool:
    """PyTorch's threads."""

    def get_num_threads(self) -> int:
        return int(importlib.import_module("torch").get_num_threads())

    def set_num_threads(self, num_threads: int) -> None:
        importlib.import_module("torch").set_num_threads(num_threads)


class TorchBackend(Backend):
    name = "torch"
    packages = ("torch",)
    namespace_module = "array_api_compat.torch"
    install = 'pip install "xpnet[torch]"'
    special_module = "torch.special"
    compiles_by_default = False  # it takes many seconds
    half_dtypes = HALF_DTYPES

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        torch = cls.library()
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            found.append("mps:0")
        return tuple(found)

    @classmethod
    def find_device(cls, device: Any) -> Any:
        """Accept what ``torch.device`` accepts; by default torch's own default device."""
        torch = cls.library()
        try:
            wanted = torch.get_default_device() if device is None else torch.device(device)
        except RuntimeError as error:  # not a device's name at all
            raise ValueError(cls.no_such_device(device)) from error
        full = wanted if wanted.type == "cpu" or wanted.index is not None else torch.device(wanted.type, 0)
        if str(full) not in cls.devices():
            if full.type == "cuda" and not torch.cuda.is_available():
                why = "is built without CUDA" if torch.version.cuda is None else "finds no CUDA GPU or driver"
                raise BackendUnavailableError(f"{cls.no_such_device(device)} (torch {torch.__version__} {why})")
            raise ValueError(cls.no_such_device(device))
        return full

    def dtype(self, dtype: Any) -> Any:
        found = super().dtype(dtype)
        if self.device.type == "mps" and found == self.xp.float64:
            raise ValueError("torch has no float64 on mps; use dtype 'float32' or device 'cpu'")
        return found

    @property
    def tf32(self) -> bool | str | None:
        """PyTorch's own choice is not to in products, and to in convolutions."""
        torch = self.library()
        if self.device.type != "cuda" or torch.cuda.get_device_capability(self.device) < (8, 0):
            return None
        overall = getattr(torch.backends, "fp32_precision", None)
        values = [(getattr(s.part, s.name), s.on) for s in _switches()]
        products, convolutions = ((overall if value == "none" else value) == on for value, on in values)
        return products if products == convolutions else "products" if products else "convolutions"

    @contextmanager
    def with_tf32(self, on: bool | None) -> Iterator[None]:
        if on is None or self.tf32 is None:
            yield
            return
        switches = _switches()
        before = [getattr(s.part, s.name) for s in switches]
        try:
            for s in switches:
                setattr(s.part, s.name, s.on if on else s.off)
            yield
        finally:
            for s, value in zip(switches, before, strict=True):
                setattr(s.part, s.name, value)

    def _asarray(self, x: Any, dtype: Any, copy: bool | None) -> Array:
        if isinstance(x, np.ndarray):
            if any(stride < 0 for stride in x.strides):
                x = x.copy()
            elif not x.flags.writeable:
                copy = True  # torch has no read-only tensors and warns when it would have to share one
        return self.xp.asarray(x, dtype=dtype, device=self.device, copy=copy)

    def computable(self, x: Array) -> Array:
        wider = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}.get(dtype_name(x.dtype))
        return x if wider is None else self.xp.astype(x, getattr(self.xp, wider))

    @staticmethod
    def to_host(x: Array) -> np.ndarray:
        x = x.detach().cpu()
        return (x.float() if dtype_name(x.dtype) == "bfloat16" else x).numpy()  # type: ignore[no-any-return]

    @staticmethod
    def add_at(x: Array, index: Array, rows: Array) -> Array:
        return x.index_add_(0, index, rows)

    @classmethod
    def on_host(cls, function: Callable[[np.ndarray], np.ndarray], x: Array) -> Array:
        if type(x) is cls.library().Tensor:
            return super().on_host(function, x)
        if function not in _called:  # a graph is being traced, which names it by its number
            _called.append(function)
        return _host_operation()(x, _called.index(function))

    @staticmethod
    def image_axes(x: Array) -> tuple[int, ...]:  # noqa: ARG004
        return 0, 2, 3, 1

    @property
    def threads(self) -> Threads | None:
        if self.device.type != "cpu":
            return None
        if not hasattr(_here, "threads"):
            _here.threads = Threads(lambda: [_Pool()])
        return _here.threads  # type: ignore[no-any-return]

    @staticmethod
    def convolution(x: Array, W: Array, b: Array, geometry: Geometry) -> Array | None:
        options = geometry.stride, geometry.padding, geometry.dilation, geometry.groups
        return TorchBackend.library().conv2d(_channels_last(x), _channels_last(W), b, *options)

    @staticmethod
    def convolution_gradients(
        x: Array, W: Array, dy: Array, geometry: Geometry, wanted: bool
    ) -> tuple[Array | None, Array, Array]:
        found: tuple[Array | None, Array, Array] = TorchBackend.library().ops.aten.convolution_backward(
            _channels_last(dy),
            _channels_last(x),
            _channels_last(W),
            [W.shape[0]],
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            False,
            (0, 0),
            geometry.groups,
            (wanted, True, True),
        )
        return found

    @staticmethod
    def max_pool(x: Array, size: Pair, geometry: Geometry) -> tuple[Array, Any] | None:
        x = _channels_last(x)
        pool = TorchBackend.library().ops.aten.max_pool2d_with_indices
        y, places = pool(x, size, geometry.stride, geometry.padding)
        return y, (x, places)

    @staticmethod
    def max_pool_gradient(kept: Any, dy: Array, size: Pair, geometry: Geometry) -> Array:
        x, places = kept
        back = TorchBackend.library().ops.aten.max_pool2d_with_indices_backward
        return back(_channels_last(dy), x, size, geometry.stride, geometry.padding, (1, 1), False, places)

    def synchronize(self) -> None:
        if self.device.type != "cpu":
            getattr(self.library(), self.device.type).synchronize()

    def copy(self, x: Array) -> Array:
        return x.clone(memory_format=self.library().contiguous_format)

    @property
    def captures(self) -> bool:
        return bool(self.device.type == "cuda")

    def compile(self, step: Step) -> CompiledStep:
        return CapturedStep(step, self) if self.captures else TorchStep(step, self)

    def compile_function(self, function: Callable[..., dict[str, Array]]) -> Callable[..., dict[str, Array]]:
        if self.captures:
            return function  # evaluations have few launches, and compiling takes as long as many of them
        return TorchFunction(function, self)


class TorchStep(CompiledStep):
    """One step as one graph that ``torch.compile`` makes a program of, for each size of a batch.

    The graph is traced with arrays that have no values, by their operations rather than by the lines of Python, so
    a failing compilation leaves the state as it was: one :class:`CompileWarning` says why, and steps run as they are.
    """

    def __init__(self, step: Step, backend: TorchBackend) -> None:
        self.step, self.backend, self.failed = step, backend, False
        self.programs: dict[Any, Program] = {}

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        steps = list(self.backend.portions(block))
        program = self.program(state, data, *steps[0])
        if program is None:
            return PlainStep(self.step, self.backend).run(state, data, block)
        flat, samples, losses = leaves(state), leaves(data), []
        for rows, draws in steps:
            *flat, loss = program(*flat, *samples, rows, *leaves(draws))
            losses.append(loss)
        return rebuilt(state, iter(flat)), self.backend.read_together(losses)

    def program(self, state: State, data: Data, rows: Array, draws: Params) -> Program | None:
        """The program for arrays of these shapes; None if there can be none."""
        if self.failed:
            return None
        tree = {"state": state, "data": data, "rows": rows, "draws": draws}
        key = tuple((tuple(a.shape), a.dtype, a.device) for a in leaves(tree)), names(tree)
        if key not in self.programs:
            try:
                self.programs[key] = self._compiled(tree)
            except Exception as error:  # whatever goes wrong in a compiler, training can go on without it
                self.failed = True
                warn(_uncompiled(error), CompileWarning, stacklevel=2)
                return None
            if len(self.programs) > MOST_PROGRAMS:
                del self.programs[next(iter(self.programs))]
        self.programs[key] = self.programs.pop(key)  # the last one used is the last one
        return self.programs[key]

    def _compiled(self, tree: dict[str, Any]) -> Program:
        arrays, count = leaves(tree), len(leaves(tree["state"]))

        def flat_step(*arrays: Array) -> list[Array]:
            given = rebuilt(tree, iter(arrays))
            after, loss = self.step(given["state"], given["data"], given["rows"], given["draws"])
            check_alike(tree["state"], after)
            return [*leaves(after), loss]

        # it is tried on copies, so that whatever fails has not touched the state
        return compiled(flat_step, arrays, [*(a.clone() for a in arrays[:count]), *arrays[count:]])

    def another(self) -> TorchStep:
        return self  # it keeps no arrays


class TorchFunction:
    """A pure function of arrays and dicts of them, which returns a dict of arrays; a program for each form of them.

    Where none can be made it is called as it is: steps of the same layers say why.
    """

    def __init__(self, function: Callable[..., dict[str, Array]], backend: TorchBackend) -> None:
        self.function, self.backend, self.failed = function, backend, False
        self.programs: dict[Any, tuple[Program, list[str]]] = {}

    def __call__(self, *arguments: Any) -> dict[str, Array]:
        tree = dict(enumerate(arguments))
        arrays = leaves(tree)
        key = tuple((tuple(a.shape), a.dtype, a.device) for a in arrays), names(tree)
        if not self.failed and key not in self.programs:
            try:
                self.programs[key] = self._compiled(tree, arrays)
            except Exception:  # whatever goes wrong in a compiler, there are the right numbers without it
                self.failed = True
            if len(self.programs) > MOST_PROGRAMS:
                del self.programs[next(iter(self.programs))]
        if self.failed:
            return self.function(*arguments)
        program, found = self.programs[key]
        return dict(zip(found, program(*arrays), strict=True))

    def _compiled(self, tree: dict[int, Any], arrays: list[Array]) -> tuple[Program, list[str]]:
        found: list[str] = []

        def flat(*arrays: Array) -> list[Array]:
            result = self.function(*rebuilt(tree, iter(arrays)).values())
            found[:] = result
            return list(result.values())

        return compiled(flat, arrays, arrays), found


def compiled(flat: Program, arrays: list[Array], trial: list[Array]) -> Program:
    """What ``torch.compile`` makes of a function of such arrays; it is compiled when it is called, here on a trial."""
    make_fx = importlib.import_module("torch.fx.experimental.proxy_tensor").make_fx
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are of torch's own workings, for those who work on it
        graph = make_fx(flat, tracing_mode="fake")(*arrays)
        program: Program = TorchBackend.library().compile(graph, fullgraph=True, dynamic=False)
        _here.tries = True
        try:
            program(*trial)
        finally:
            _here.tries = False
    return program


class _Switch(NamedTuple):
    """Where PyTorch is told how to multiply float32 on CUDA, and what turns TF32 on and off."""

    part: Any
    name: str
    on: Any
    off: Any


def _switches() -> tuple[_Switch, ...]:
    """That for products and that for convolutions; PyTorch 2.9 has named them anew, and refuses to read old ones."""
    backends = TorchBackend.library().backends
    if hasattr(backends, "fp32_precision"):
        return tuple(_Switch(p, "fp32_precision", "tf32", "ieee") for p in (backends.cuda.matmul, backends.cudnn.conv))
    return tuple(_Switch(p, "allow_tf32", True, False) for p in (backends.cuda.matmul, backends.cudnn))


def _channels_last(x: Array) -> Array:
    """x (N, C, H, W) with channels innermost in memory, and strides that say so also where there is but one."""
    x = x.contiguous(memory_format=TorchBackend.library().channels_last)
    return x.as_strided(x.shape, (x.stride(0), 1, *x.stride()[2:])) if x.shape[1] == 1 else x


def _uncompiled(error: Exception) -> str:
    what = (str(error).strip() or "no message").splitlines()[0]
    return (
        f"torch.compile failed with {type(error).__name__}: {what}; steps run uncompiled. It needs a C++ compiler, and "
        "operations that it knows; Trainer(..., compile=False) does not ask for it"
    )


BACKEND = TorchBackend
