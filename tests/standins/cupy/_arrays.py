"""Arrays of the stand-in, and functions of NumPy made into its own."""

import sys
import types
import typing

import numpy as np

from cupy import cuda
from cupy._addresses import address

#: What NumPy has in its namespace, or in ``linalg``, and CuPy 14 has not.
LACKED = """
    asmatrix block bmat char character clongdouble datetime64 datetime_as_string datetime_data dtypes einsum_path
    errstate flexible float128 frompyfunc geomspace getbufsize geterr geterrcall histogram_bin_edges insert isnat
    longdouble ma matrix matrix_norm matvec memmap multi_dot nanpercentile nanquantile ndenumerate nditer nested_iters
    polydiv polyder polyint rec recarray record setbufsize seterr seterrcall spacing svdvals test timedelta64 typecodes
    unstack vecdot vecmat vector_norm void
"""
#: Functions that look at shapes and dtypes alone, so that it does not matter where an array is.
UNREAD = "empty_like full_like may_share_memory ndim ones_like shape size zeros_like"
#: Functions that CuPy's cuBLAS computes, which it refuses to capture.
PRODUCTS = "dot einsum inner matmul tensordot vdot __matmul__ __rmatmul__"
#: Functions whose results have a shape that depends on values: the host waits for it.
WAITING = "argwhere compress extract flatnonzero nonzero union1d unique"
#: The methods of arrays.
METHODS = """
    all any argmax argmin argsort clip conj cumprod cumsum diagonal dot max mean min prod ravel repeat reshape round
    squeeze std sum swapaxes trace transpose var view
"""
OPERATORS = "add sub mul truediv floordiv mod pow matmul divmod and or xor lshift rshift"
#: Those with an assignment; of ``matmul`` and ``divmod`` CuPy has none.
IN_PLACE = "add sub mul truediv floordiv mod pow and or xor lshift rshift"
NUMBERS = bool | int | float | complex | np.generic


class ndarray:  # noqa: N801
    """An array on a device: memory of NumPy's that nobody gets at unasked."""

    __array_priority__ = 100
    __hash__ = None
    __slots__ = ("__weakref__", "_block", "_memory", "device")

    def __init__(self, *_, **__):
        raise NotImplementedError("the stand-in makes arrays by functions: zeros, asarray")

    dtype = property(lambda self: self._memory.dtype)
    data = property(lambda self: types.SimpleNamespace(ptr=address(self)))
    flags = property(lambda self: types.SimpleNamespace(c_contiguous=self._memory.flags.c_contiguous))
    itemsize = property(lambda self: self._memory.itemsize)
    nbytes = property(lambda self: self._memory.nbytes)
    ndim = property(lambda self: self._memory.ndim)
    size = property(lambda self: self._memory.size)
    strides = property(lambda self: self._memory.strides)
    imag = property(lambda self: call(np.imag, self))
    real = property(lambda self: call(np.real, self))
    T = property(lambda self: call(np.transpose, self))
    mT = property(lambda self: call(np.matrix_transpose, self))  # noqa: N815  (its name)

    @property
    def shape(self):
        return self._memory.shape

    @shape.setter
    def shape(self, shape):
        self._memory = self._memory.reshape(shape, copy=False)

    def __array__(self, *_, **__):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        function = getattr(sys.modules["cupy"], ufunc.__name__, None)
        if function is None or not all(isinstance(x, ndarray | np.ndarray | NUMBERS) for x in inputs):
            return NotImplemented
        return (function if method == "__call__" else getattr(function, method))(*inputs, **options)

    def __array_function__(self, function, kinds, args, options):
        ours = getattr(sys.modules["cupy"], function.__name__, None)
        return NotImplemented if ours is None else ours(*args, **options)

    def __getitem__(self, key):
        parts, arrays = index(key, self.shape)
        if not arrays:
            return made(self._memory[parts], self.device, self._block)
        return call(lambda x, *_: x[wrapped(parts)], self, *arrays)

    def __setitem__(self, key, value):
        parts, arrays = index(key, self.shape)
        if isinstance(value, np.ndarray) and value.shape:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        if not isinstance(value, ndarray | NUMBERS):
            raise TypeError(f"Unsupported type {type(value)}")
        touched = [self, *arrays, *([value] if isinstance(value, ndarray) else [])]

        target, source = self._memory, memory(value)
        launch("scatter" if arrays else "copy", lambda: target.__setitem__(wrapped(parts), source), touched)

    def __len__(self):
        return len(self._memory)

    def __iter__(self):
        return (self[i] for i in range(len(self._memory)))

    def __reduce__(self):
        return array, (self.get(),)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, _):
        with cuda.Device(self.device.id):
            return self.copy()

    def copy(self, order="C"):
        """Onto the current device, wherever it is now."""
        return call(np.ndarray.copy, self, order, anywhere=True)

    def get(self, *_, **__):
        return waited_for(self, "get").copy()

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        return self if not copy and self.dtype == dtype else call(np.ndarray.astype, self, dtype, order)

    def fill(self, value):
        self[...] = value

    def take(self, indices, axis=None, out=None):
        return take(self, indices, axis, out)

    def nonzero(self):
        return sys.modules["cupy"].nonzero(self)


def made(found, device=None, block=None):
    """What NumPy gave as CuPy gives it: on the current device, in memory of its own; or a view of a block elsewhere."""
    if isinstance(found, tuple | list):
        return (list if isinstance(found, list) else tuple)(made(each, device, block) for each in found)
    if not isinstance(found, np.ndarray | np.generic):
        return found
    x = object.__new__(ndarray)
    x._memory, x.device = np.asanyarray(found), cuda.Device(device)
    x._block = block or cuda.alloc(x._memory.nbytes)
    return x


def memory(x):
    """What NumPy computes with in the place of x."""
    if isinstance(x, ndarray):
        return x._memory
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    return type(x)(map(memory, x)) if type(x) in (tuple, list) else x


def arrays_in(tree):
    if isinstance(tree, ndarray):
        return [tree]
    return [x for each in tree for x in arrays_in(each)] if type(tree) in (tuple, list) else []


def check_here(*arrays):
    """Raise unless all are on the current device: a kernel runs there."""
    current = cuda.Device()
    for x in arrays:
        if x.device != current:
            raise ValueError(
                f"The device where the array resides ({x.device.id}) is different from the current device "
                f"({current.id}). Peer access is unavailable between these devices."
            )


def call(function, *args, anywhere=False, **options):
    """What a function of NumPy gives, on the current device; a view stays where its array is."""
    arrays, out = arrays_in([*args, *options.values()]), options.get("out")
    name, capturing = function.__name__, cuda.get_current_stream().is_capturing()
    if capturing and name in PRODUCTS.split() and all(x.dtype.kind == "f" for x in arrays):
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")

    given, named = [memory(x) for x in args], {name: memory(x) for name, x in options.items()}

    def compute():
        with np.errstate(all="ignore"):  # a GPU does not warn
            return function(*given, **named)

    if out is not None:
        launch(name, compute, arrays)
        return out
    found = compute()
    if arrays and isinstance(found, np.ndarray) and np.may_share_memory(found, arrays[0]._memory):
        return made(found, arrays[0].device, arrays[0]._block)
    if not anywhere:
        check_here(*arrays)
    results = made(found)
    mine = arrays_in(results)
    places = [x._memory for x in mine]
    if capturing:
        for place in places:
            spoil(place)
    launch(name, (lambda: fill_again(places, compute())) if capturing else _nothing, [*arrays, *mine], anywhere)
    return results


def launch(name, run, arrays, anywhere=False):
    """Have the current stream do something with these arrays."""
    if not anywhere:
        check_here(*arrays)
    cuda.get_current_stream().launch(name, run, [x._block for x in arrays])


def _nothing():
    """It was done already."""


def spoil(memory):
    """What a captured call returns has no values yet."""
    if memory.flags.writeable and memory.dtype.kind in "fciu":
        memory[...] = np.nan if memory.dtype.kind in "fc" else 77


def fill_again(places, found):
    for place, values in zip(places, found if isinstance(found, tuple | list) else [found], strict=True):
        place[...] = values


def waited_for(x, what):
    cuda.get_current_stream().wait(what)
    return x._memory


def index(key, shape):
    """A key as NumPy takes it, and the arrays in it: integers wrap around, and for masks the host waits."""
    entries = [array(k) if isinstance(k, list | np.ndarray) else k for k in (key if isinstance(key, tuple) else (key,))]
    masks = [isinstance(k, ndarray) and k.dtype == np.bool_ for k in entries]
    axes = [k.ndim if mask else int(k is not None and k is not ...) for k, mask in zip(entries, masks, strict=True)]
    parts, axis = [], 0
    for k, mask, taken in zip(entries, masks, axes, strict=True):
        if mask:
            parts.append(waited_for(k, "mask"))
        elif isinstance(k, ndarray):
            if k.dtype.kind not in "iu":
                raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {k.dtype.type})")
            parts.append(_Rows(k._memory, max(shape[axis], 1)))
        else:
            parts.append(k)
        axis += len(shape) - sum(axes) if k is ... else taken
    if not any(k is ... for k in entries):
        parts.append(...)  # a view, where NumPy would give a number
    return tuple(parts), [k for k in entries if isinstance(k, ndarray)]


class _Rows(typing.NamedTuple):
    """Integers that index an axis of this length, as they are when it is computed."""

    integers: np.ndarray
    length: int


def wrapped(parts):
    """A key with the rows of now, of which those out of range wrap around."""
    return tuple(part.integers % part.length if isinstance(part, _Rows) else part for part in parts)


def operation(form):
    """A special method: of NumPy's arrays, with what CuPy refuses."""
    function, in_place = getattr(np.ndarray, form), form[2] == "i" and form[3:-2] in IN_PLACE.split()

    def operate(self, *others):
        for other in others:
            if isinstance(other, np.ndarray):
                raise TypeError(f"Unsupported type {type(other)}")
            if not isinstance(other, ndarray | NUMBERS):
                return NotImplemented
        if not in_place:
            return call(function, self, *others)

        target, given = self._memory, [memory(x) for x in others]

        def compute():
            with np.errstate(all="ignore"):
                function(target, *given)

        launch(form, compute, [self, *arrays_in(others)])
        return self

    return operate


def converted(kind):
    """A special method that makes a number of Python's."""
    return lambda self: kind(waited_for(self, kind.__name__).item())


def read(name):
    """A method that looks at values."""
    return lambda self, *args: getattr(waited_for(self, name), name)(*args)


def method(name):
    """A method that is a function of NumPy."""
    return lambda self, *args, **options: call(getattr(np.ndarray, name), self, *args, **options)


FORMS = [f"__{form}{name}__" for name in OPERATORS.split() for form in ("", "r")]
FORMS += [f"__i{name}__" for name in IN_PLACE.split()]
FORMS += [f"__{name}__" for name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert")]
for _name in FORMS:
    setattr(ndarray, _name, operation(_name))
for _kind in (bool, int, float, complex):
    setattr(ndarray, f"__{_kind.__name__}__", converted(_kind))
for _name in ("item", "tolist", "__repr__", "__str__", "__format__"):
    setattr(ndarray, _name, read(_name))
for _name in METHODS.split():
    setattr(ndarray, _name, method(_name))


class Function:
    """A function of NumPy as one of the stand-in."""

    def __init__(self, name, function):
        self.__name__, self.function = name, function

    def __call__(self, *args, **options):
        if refused := {"device", "like"}.intersection(options):
            raise TypeError(f"{self.__name__}() got an unexpected keyword argument {refused.pop()!r}")
        if self.__name__ in WAITING.split():
            cuda.get_current_stream().wait(self.__name__)
        if self.__name__ in UNREAD.split():
            return made(self.function(*map(memory, args), **options))
        found = call(self.function, *args, **options)
        return made(np.asarray(found)) if isinstance(found, bool) and arrays_in(args) else found

    def at(self, x, key, values):
        """``ufunc.at``, which wraps indices around as well."""
        parts, arrays = index((key, ...), x.shape)
        target, given = x._memory, memory(values)
        run = lambda: self.function.at(target, wrapped(parts), given)  # noqa: E731
        launch(f"{self.__name__}.at", run, [x, *arrays, *arrays_in([values])])


def fill(namespace, source):
    """Put into a namespace what CuPy has of a module of NumPy's."""
    for name in dir(source):
        found = getattr(source, name)
        if name.startswith("_") or name in LACKED.split() or name in namespace:
            continue
        if isinstance(found, type | float | int | None):
            namespace[name] = found
        elif callable(found):
            namespace[name] = Function(name, found)


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0):
    """Onto the current device, from the host or another device."""
    if isinstance(obj, ndarray):
        if not copy and obj.device == cuda.Device() and dtype in (None, obj.dtype):
            return obj
        return call(np.array, obj, dtype=dtype, order=order, anywhere=True)
    if arrays_in(obj):
        return sys.modules["cupy"].stack([array(x, dtype) for x in obj])
    host = np.array(obj, dtype=dtype, order=order)
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    if cuda.get_current_stream().is_capturing():
        raise RuntimeError(
            "the stand-in's: CuPy would capture a copy from memory of the host that is something else by the launch"
        )
    cuda.launches["upload"] += 1
    return made(host)


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy=bool(copy), order=order or "K")


def asnumpy(a, *_, **__):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def take(a, indices, axis=None, out=None):
    def taken(a, i, out=None):
        return np.take(a, i, axis=axis, mode="wrap", out=out)

    taken.__name__ = "take"
    return call(taken, a, indices, **({} if out is None else {"out": out}))


def result_type(*args):
    return np.result_type(*(x.dtype if isinstance(x, ndarray) else x for x in args))


def can_cast(from_, to, casting="safe"):
    return np.can_cast(from_.dtype if isinstance(from_, ndarray) else from_, to, casting)
