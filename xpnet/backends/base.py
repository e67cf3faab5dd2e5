"""What a backend is: where arrays are made, moved to the host, waited for, and how a training step is run on them.

It is long because it is the whole of what a backend may answer otherwise, in one place for whoever writes one.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from xpnet._typing import Array, Params, State
from xpnet.backends.registry import OURS, origin, others
from xpnet.backends.threads import WORTH_SHARING, Threads

#: Arrays of all samples by name: ``{"x": ..., "t": ...}``, and ``"weight"`` where samples have one.
Data = dict[str, Array]

#: ``step(state, data, rows, draws) -> (state, loss)``: one update on the samples ``rows`` of the data, with what its
#: layers draw by name.
Step = Callable[[State, Data, Array, Params], tuple[State, Array]]

DTYPES = ("float32", "float64")
#: What networks of float32 can be trained in, beside it: mixed precision.
HALF_DTYPES = ("bfloat16", "float16")

_NOTHING = nullcontext()

#: For height and width.
Pair = tuple[int, int]

#: The shape of what comes of a sample of a shape; None where that is not known.
SampleShape = Callable[[tuple[int, ...]], tuple[int, ...] | None]

Item = TypeVar("Item")
Result = TypeVar("Result")
Tree = TypeVar("Tree")


@dataclass(frozen=True)
class Geometry:
    """How windows move over images."""

    stride: Pair
    padding: Pair
    dilation: Pair = (1, 1)
    groups: int = 1


class BackendUnavailableError(RuntimeError):
    """A backend was asked for that cannot be used here; the message says why and what to install."""


class Block(NamedTuple):
    """What K steps in a row are taken on, on the host: the samples of each (K, B), and draws (K, B, ...) by name."""

    rows: np.ndarray
    draws: dict[str, np.ndarray]


class CompiledStep(ABC):
    """What :meth:`Backend.compile` makes of a step: it takes a block of them at once."""

    @abstractmethod
    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        """Take one step for each row of the block, and read the losses back together.

        Args:
            state: consumed; go on with the one that is returned.
            data: all samples, on the backend.
            block: K minibatches.

        Returns:
            The state after K steps, and K losses as a NumPy array; (K, E) where a step trains E networks.
        """

    def release(self) -> None:  # noqa: B027  (most keep none)
        """Let go of the arrays of the last run; what was compiled stays."""

    def another(self) -> CompiledStep | None:
        """The same for another training with an equal step, at the same time perhaps, that need not compile it again.

        None where nothing can be shared.
        """
        return None


@dataclass(frozen=True)
class Status:
    """What ``xpnet backends`` tells of one backend."""

    name: str
    version: str | None
    devices: tuple[str, ...]
    problem: str | None


def name_of(x: Any) -> str | None:
    """The name of the backend that an array belongs to, or None for anything else."""
    return _name_of_type(type(x))  # type: ignore[arg-type]  # a type is hashable


@functools.cache
def _name_of_type(kind: type) -> str | None:
    if stands_for := getattr(kind, "__xpnet_backend__", None):
        return str(stands_for)
    roots = {cls.__module__.partition(".")[0] for cls in kind.__mro__} - {"builtins", "xpnet"}
    if not roots:
        return None
    ours = next((name for name in OURS if roots.intersection(backend_class(name).packages)), None)
    if ours or not (hasattr(kind, "__array_namespace__") or (hasattr(kind, "shape") and hasattr(kind, "dtype"))):
        return ours
    loaded = {name: _loaded(name) for name in others()}
    return next((name for name, b in loaded.items() if not isinstance(b, str) and roots.intersection(b.packages)), None)


def dtype_name(dtype: Any) -> str:
    """The plain name of a dtype of any library: ``"float32"`` for ``np.float32``, ``torch.float32``, ``"float32"``."""
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        return str(dtype).rpartition(".")[2]


def plain_host(x: np.ndarray) -> np.ndarray:
    """x in this machine's byte order, and in a dtype of NumPy's own: bfloat16 and its kin become float32."""
    if x.dtype.isbuiltin == 2:
        return x.astype(np.float32)
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


class Backend(ABC):
    """One array library on one device.

    A library that follows the standard needs ``name``, ``packages`` and :meth:`devices`, and often :meth:`to_host`; the
    rest is for those that differ, or can do something faster. :mod:`xpnet.backends.registry` says how xpnet finds it.

    Attributes:
        name: how the backend is selected, ``"numpy"`` for example.
        packages: the packages that the types of its arrays come from, and no other backend's; the first is the library.
        namespace_module: the module of the standard's functions; by default the library itself.
        install: how to install the library, for messages; by default by pip.
        device: the device that new arrays are put on, as the library itself writes it.
        xp: the library's namespace of the Array API standard.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    namespace_module: ClassVar[str] = ""
    install: ClassVar[str] = ""
    #: Whether rows that are not there are refused where rows are taken, and negative ones added to from behind.
    checks_rows: ClassVar[bool] = False
    #: Where the library has its special functions, such as ``erf``.
    special_module: ClassVar[str] = "scipy.special"
    #: Whether whole training steps run on it, or forward passes only.
    trains: ClassVar[bool] = True
    #: Whether each new shape costs a compilation, so that leaving work out costs more than doing it.
    compiles_shapes: ClassVar[bool] = False
    #: Whether arrays lie in chunks, so that work on all samples need not be cut into parts.
    in_chunks: ClassVar[bool] = False
    #: Whether a Trainer has its steps compiled unless it is told otherwise: where that takes no time worth speaking of.
    compiles_by_default: ClassVar[bool] = True

    #: How many times as long as elsewhere a block of steps may take, where each costs something of its own.
    longer_blocks: ClassVar[int] = 1

    #: Multiplications of a product from which on compiled steps take several threads unless somebody says otherwise.
    worth_sharing: ClassVar[int] = WORTH_SHARING

    #: The dtypes of 16 bits that networks may be trained in.
    half_dtypes: ClassVar[tuple[str, ...]] = ()
    #: Whether products of them are computed in float32, from numbers that are rounded: where the library is slow in 16.
    emulates_half: ClassVar[bool] = False

    #: Whether arrays can be written to where they lie, which layers do to what they have made themselves.
    in_place: ClassVar[bool] = False
    #: Whether parts of arrays that lie row after row can be, also in compiled steps, and :meth:`host_writes` is there.
    views: ClassVar[bool] = False

    device: Any
    xp: ModuleType

    def __init__(self, device: Any = None) -> None:
        self.library()
        self.device = self.find_device(device)
        self.xp = self.namespace()

    @classmethod
    def namespace(cls) -> ModuleType:
        """The library's functions as the standard has them, for arrays on any of its devices."""
        return importlib.import_module(cls.namespace_module or cls.packages[0])

    @classmethod
    def library(cls) -> ModuleType:
        """Import the array library, or raise :class:`BackendUnavailableError` saying what is missing."""
        package, advice = cls.packages[0], cls.install or f"pip install {cls.packages[0]}"
        try:
            library = importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise BackendUnavailableError(
                f"backend {cls.name!r} needs {error.name}, which is not installed; {advice}"
            ) from error
        except Exception as error:  # a broken install may raise anything: a missing shared library, a wrong version
            raise BackendUnavailableError(
                f"backend {cls.name!r}: importing {package} failed with {type(error).__name__}: {error}; {advice}"
            ) from error
        if getattr(library, "__file__", "") is None:  # any folder of that name on the path is an empty package
            raise BackendUnavailableError(
                f"backend {cls.name!r}: {package} is not installed, only a folder of that name was found: "
                f"{', '.join(library.__path__)}; {advice}"
            )
        return library

    @classmethod
    @abstractmethod
    def devices(cls) -> tuple[str, ...]:
        """The devices that can be used here, the default first; raises :class:`BackendUnavailableError` if none."""

    @classmethod
    def find_device(cls, device: Any) -> Any:
        """Turn what a user wrote into the library's device, or raise ``ValueError`` with those that exist."""
        known = cls.devices()
        if device is None:
            return known[0]
        if str(device) not in known:
            raise ValueError(cls.no_such_device(device))
        return str(device)

    @classmethod
    def no_such_device(cls, device: Any) -> str:
        """What to say of a device that is not here."""
        return f"backend {cls.name!r} has no device {str(device)!r} here; it has: {', '.join(cls.devices())}"

    @classmethod
    def status(cls) -> Status:
        """Say whether the backend can be used here, and if not, why not."""
        version = None
        try:
            version = str(getattr(cls.library(), "__version__", "unknown"))
            return Status(cls.name, version, cls.devices(), None)
        except BackendUnavailableError as error:
            return Status(cls.name, version, (), str(error))

    @staticmethod
    def device_of(x: Array) -> Any:
        """The device of an array of this library; None while the library traces."""
        return x.device

    @staticmethod
    def label(device: Any) -> str:
        """How a device is written by :meth:`devices`, and by a user who asks for it."""
        return str(device)

    def current(self) -> AbstractContextManager[Any]:
        """Whatever is computed in this block is computed on this device.

        It is for libraries in which each thread has a device that is current, where results and new arrays are, rather
        than where the operands are. It is entered wherever a network computes.
        """
        return _NOTHING

    def here(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """``function``, in which this device is current; itself where there is none that is."""
        return function

    @staticmethod
    def beside(x: Array) -> AbstractContextManager[Any]:  # noqa: ARG004  (for those that have)
        """:meth:`current`, on the device of an array."""
        return _NOTHING

    @property
    def tf32(self) -> bool | str | None:
        """Whether this device multiplies float32 in TF32 now, which keeps three digits of each factor.

        ``"products"`` or ``"convolutions"`` if it does so in these alone; None where it cannot.
        """
        return None

    def with_tf32(self, on: bool | None) -> AbstractContextManager[Any]:
        """In this block float32 is multiplied in TF32, or is not; None leaves that as it is."""
        return _NOTHING

    def regained(self, tree: State) -> State:
        """Nested dicts of arrays that were on this device, and came out of a pickle perhaps on another."""
        return tree

    def check_trains(self) -> None:
        """Raise ``ValueError`` if gradients and training steps do not run on this backend."""
        if not self.trains:
            raise ValueError(f"backend {self.name!r} is for forward passes only; use another, and net.to() it")

    @property
    def device_name(self) -> str:
        """The device as text that selects it again: ``"cpu"``, ``"cuda:0"``."""
        return self.label(self.device)

    def dtype(self, dtype: Any) -> Any:
        """The library's dtype for ``"float32"`` or ``"float64"``; raises ``ValueError`` for any other."""
        name = dtype_name(dtype)
        if name not in DTYPES:
            raise ValueError(f"unknown dtype {name!r}; a network computes in one of: {', '.join(DTYPES)}")
        return getattr(self.xp, name)

    def half_dtype(self, dtype: Any) -> Any:
        """The library's dtype for ``"bfloat16"`` or ``"float16"``; raises ``ValueError`` if there is none."""
        name = dtype_name(dtype)
        if name in self.half_dtypes:
            return getattr(self.xp, name)
        if name not in HALF_DTYPES:
            raise ValueError(f"unknown compute_dtype {name!r}; expected one of: {', '.join(HALF_DTYPES)}")
        others = f"it has {', '.join(self.half_dtypes)}" if self.half_dtypes else "it computes in no 16 bits"
        raise ValueError(
            f"backend {self.name!r} does not train in {name}, {others}; net.to() another, to torch or jax for example"
        )

    def asarray(self, x: Any, dtype: Any = None, *, copy: bool | None = None) -> Array:
        """Put an array of any backend, a list or a number on this backend's device.

        This is the call that moves data: nothing else in xpnet moves an array from one library or device to another.

        Args:
            x: array of any installed backend, nested sequence or scalar.
            dtype: the name of a dtype, ``"float32"`` for example; by default that of ``x``.
            copy: True for memory of its own; by default memory is shared with ``x`` where the library can.
        """
        other = name_of(x)
        if other not in (None, "numpy", self.name):
            x = backend_class(other).to_host(x)
        elif other is None and hasattr(x, "__array__"):  # a table, for example, which not every library takes
            x = np.asarray(x)
        if isinstance(x, np.ndarray):
            x = plain_host(x)
        dtype = None if dtype is None else getattr(self.xp, dtype_name(dtype))
        return self._asarray(x, dtype, copy)

    def _asarray(self, x: Any, dtype: Any, copy: bool | None) -> Array:
        return self.xp.asarray(x, dtype=dtype, device=self.device, copy=copy)

    def computable(self, x: Array) -> Array:
        """x, in a wider integer dtype where the library stores its own, but computes little in it."""
        return x

    @staticmethod
    def to_host(x: Array) -> np.ndarray:
        """Copy an array of this library from whatever device it is on to a NumPy array."""
        return np.asarray(x)

    def to_numpy(self, x: Array) -> np.ndarray:
        """The values of ``x`` as a NumPy array, which may share memory with it and may be read-only."""
        if name_of(x) != self.name:
            raise TypeError(f"to_numpy of backend {self.name!r} was given {describe(x)}")
        return self.to_host(x)

    def synchronize(self) -> None:  # noqa: B027  (most have nothing to wait for)
        """Wait until everything asked of the device is done; at once where calls return finished work."""

    @property
    def captures(self) -> bool:
        """Whether compiled steps are CUDA graphs, in whose middle the host is not asked."""
        return False

    @property
    def tile_bytes(self) -> int:
        """How much memory work that can be cut into blocks should take at a time: enough to keep the device busy."""
        return 2**23 if self.device_name.startswith("cpu") else 2**28

    def jit(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """``function`` of arrays, compiled where that makes many calls with arrays of the same shapes fast."""
        return function

    @property
    def threads(self) -> Threads | None:
        """Those that the library multiplies on; None where their number cannot be changed while it runs."""
        return None

    @property
    def workers(self) -> int:
        """How many calls :meth:`map` has running at a time."""
        return 1

    @staticmethod
    def put(x: Array, key: Any, values: Array) -> Array:
        """x after ``x[key] = values``, where key is made of integers and slices; x is consumed."""
        x[key] = values
        return x

    @staticmethod
    def add_rows(x: Array, index: Array, rows: Array) -> Array:
        """x after ``x[index, ...] += rows``, where no index comes twice; x is consumed."""
        x[index, ...] += rows
        return x

    @staticmethod
    def add_at(x: Array, index: Array, rows: Array) -> Array:
        """x after ``x[index[k], ...] += rows[k, ...]`` for each k, so that an index may come twice; x is consumed."""
        for k in range(index.shape[0]):  # the standard has no assignment to rows by an array of indices
            x[int(index[k]), ...] += rows[k, ...]
        return x

    @staticmethod
    def image_axes(x: Array) -> tuple[int, ...]:  # noqa: ARG004  (for those whose arrays say how they lie)
        """The axes of images (N, C, H, W) in the order in which they lie in memory, or had best."""
        return 2, 1, 3, 0

    @staticmethod
    def windows(x: Array, length: int, step: int, count: int) -> Array | None:  # noqa: ARG004  (for those that have)
        """A view of x (..., H, K, M) as (..., count, length K, M): each ``step`` rows, ``length`` rows as a matrix.

        None where a library has no such view of this array; then its rows are copied.
        """
        return None

    @staticmethod
    def convolution(x: Array, W: Array, b: Array, geometry: Geometry) -> Array | None:  # noqa: ARG004
        """x (N, C, H, W) convolved with W (F, C / groups, kh, kw), and b (F,) added: (N, F, H', W').

        None where the layer's own way is as fast.
        """
        return None

    @staticmethod
    def convolution_gradients(
        x: Array,
        W: Array,
        dy: Array,
        geometry: Geometry,
        wanted: bool,
    ) -> tuple[Array | None, Array, Array]:
        """What :meth:`convolution` has to go with it: dx, or None if it is not wanted, dW and db."""
        raise NotImplementedError

    @staticmethod
    def max_pool(x: Array, size: Pair, geometry: Geometry) -> tuple[Array, Any] | None:  # noqa: ARG004
        """The largest entries of windows of x (N, C, H, W), and what :meth:`max_pool_gradient` needs; or None."""
        return None

    @staticmethod
    def max_pool_gradient(kept: Any, dy: Array, size: Pair, geometry: Geometry) -> Array:
        """dx of :meth:`max_pool`: dy goes to the first of the largest entries."""
        raise NotImplementedError

    @classmethod
    def on_host(cls, function: Callable[[np.ndarray], np.ndarray], x: Array) -> Array:
        """What a function of the host makes of x: an array of its shape and dtype. It is called anew in each step.

        The function is given a contiguous array, which it leaves as it is, and perhaps ``out``, where its result goes.
        """
        found = function(np.ascontiguousarray(cls.to_host(x)))
        return cls.namespace().asarray(found, device=cls.device_of(x))

    @staticmethod
    def host_writes(
        made: Callable[[list[np.ndarray], list[np.ndarray]], Callable[[], None]], read: list[Array], into: list[Array]
    ) -> None:
        """Call what ``made(read, into)`` returns, which writes into some arrays where they lie; anew in each step."""
        raise NotImplementedError

    def map(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        workers: int | None = None,
    ) -> Iterator[Result]:
        """``function`` of each item, in their order; where one call leaves cores idle, several at a time.

        At most so many as ``workers`` says, which is never more than there are, and by default all.
        """
        return map(function, items)

    def compile(self, step: Step) -> CompiledStep:
        """Make ``step`` fast for many calls."""
        return PlainStep(step, self)

    def compile_function(self, function: Callable[..., dict[str, Array]]) -> Callable[..., dict[str, Array]]:
        """A pure function of arrays and dicts of them, which returns a dict of arrays, compiled where steps are."""
        return self.jit(function)

    def portions(self, block: Block) -> Iterator[tuple[Array, Params]]:
        """The rows and the draws of one step after the other, moved to the device once a block."""
        rows, moved = self.asarray(block.rows), {name: self.asarray(drawn) for name, drawn in block.draws.items()}
        for i in range(block.rows.shape[0]):
            yield rows[i, ...], {name: drawn[i, ...] for name, drawn in moved.items()}

    def copy(self, x: Array) -> Array:
        """x in memory of its own, row after row where the library lets one choose."""
        return self.xp.asarray(x, copy=True)

    @staticmethod
    def computed(tree: Tree) -> Tree:
        """Arrays in nested lists and dicts, computed together where a library waits until they are read."""
        return tree

    @classmethod
    def by_sample(
        cls,
        function: Callable[[Params, Array], Array],
        params: Params,
        x: Array,
        shape: SampleShape,  # noqa: ARG003  (for those that have to know before)
    ) -> Array:
        """``function(params, x)``, where each sample of x (N, ...) is by itself; ``shape`` says what comes of one."""
        return function(params, x)

    @staticmethod  # noqa: B027  (most always know)
    def check_sizes(x: Array, name: str) -> None:
        """Raise ``ValueError`` if a library does not know yet how many samples an array has."""

    def read_together(self, numbers: list[Array]) -> np.ndarray:
        """Arrays of one shape, numbers above all, as one NumPy array; the device is waited for once."""
        return self.to_numpy(self.xp.stack(numbers))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Backend) and (self.name, self.device) == (other.name, other.device)

    def __hash__(self) -> int:
        return hash((self.name, self.device_name))

    def __reduce__(self) -> tuple[type[Backend], tuple[str]]:
        return type(self), (self.device_name,)  # so that a network can be copied and pickled

    def __repr__(self) -> str:
        return f"<xpnet backend {self.name!r} on {self.device_name}>"


@dataclass(frozen=True)
class PlainStep(CompiledStep):
    """A step that runs as it is, call by call."""

    step: Step
    backend: Backend

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        losses = []
        with self.backend.current():
            for rows, draws in self.backend.portions(block):
                state, loss = self.step(state, data, rows, draws)
                losses.append(loss)
            return state, self.backend.read_together(losses)


def describe(x: Any) -> str:
    """How messages speak of a value: ``a torch array``, ``of type list``."""
    name = name_of(x)
    return f"a {name} array" if name else f"of type {type(x).__name__}"


def backend_class(name: str) -> type[Backend]:
    """The class of a backend by its name: of ours from the one file that is allowed to know its library.

    Raises:
        BackendUnavailableError: one of others that cannot be loaded, or is no backend; the message says why.
    """
    if name in OURS:
        found: type[Backend] | str = importlib.import_module(f"xpnet.backends.{name}").BACKEND
    else:
        found = _loaded(name)
    if isinstance(found, str):
        raise BackendUnavailableError(f"backend {name!r}: {found}")
    return found


@functools.cache
def _loaded(name: str) -> type[Backend] | str:
    """The class that an entry point leads to, or what is wrong with it."""
    entry, *more = others()[name]
    if more:
        return f"several have this name, {', '.join(map(origin, (entry, *more)))}; uninstall all but one"
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:  # it is the code of others
        return f"{origin(entry)} cannot be loaded: {type(error).__name__}: {error}"
    problem = _misfit(found, name)
    return f"{origin(entry)} {problem}" if problem else found


def _misfit(found: Any, name: str) -> str | None:
    """Why it is not the class of a backend of this name."""
    if not (isinstance(found, type) and issubclass(found, Backend)):
        return f"is {found!r:.80}, expected a class that derives from xpnet.backends.base.Backend"
    if inspect.isabstract(found):
        return f"does not define {', '.join(sorted(found.__abstractmethods__))}"
    if getattr(found, "name", None) != name:
        return f"has the name {getattr(found, 'name', None)!r}, expected that of its entry point"
    packages = getattr(found, "packages", None)
    if not packages or not isinstance(packages, tuple) or not all(isinstance(each, str) for each in packages):
        return f"has packages {packages!r}, expected a tuple of the names that its arrays' types come from"
    taken = next((ours for ours in OURS if set(packages).intersection(backend_class(ours).packages)), None)
    return f"has packages {packages!r}, but arrays of these are backend {taken!r}'s" if taken else None
