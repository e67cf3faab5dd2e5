"""Is a backend right? How arrays come and go, what xpnet computes with them, and that it trains as NumPy does."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np

from xpnet.backends.base import name_of
from xpnet.backends.dispatch import (
    Backend,
    backend_of,
    device,
    dtype_name,
    get_backend,
    namespace,
    quiet,
    traced,
)
from xpnet.layers import (
    GELU,
    Add,
    Affine,
    BatchNorm,
    Chain,
    Dropout,
    Embedding,
    Layer,
    LeakyReLU,
    Residual,
    Softmax,
    Tanh,
)
from xpnet.models import Sequential
from xpnet.optimizers import Adam, Momentum
from xpnet.testing.found import TOLERANCES, Checked, dtypes_of
from xpnet.testing.layers import check_layer
from xpnet.testing.optimizers import check_optimizer
from xpnet.training import Trainer

#: Layers that between them call what xpnet's code calls: with the shape of an input, and how many integers it takes.
LAYERS: tuple[tuple[Layer, tuple[int, ...], int | None], ...] = (
    (Affine(6, 2), (3, 2, 3), None),
    (LeakyReLU(0.1), (3, 4), None),
    (GELU(), (3, 4), None),
    (Softmax(), (3, 4), None),
    (BatchNorm(2), (3, 2, 2), None),
    (Embedding(5, 2), (3, 4), 5),
    (Residual(Chain(Affine(3, 4), Tanh(), Dropout(0.3), Affine(4, 3))), (4, 3), None),
)
DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")
SHAPES = ((), (3,), (2, 3), (0, 4))


@quiet
def check_backend(backend: str | Backend, *, seed: int = 0) -> list[str]:
    """Check all that xpnet asks of a backend; for tests of a backend of one's own.

    - It is found by its name, on its devices, and by its arrays; it is pickled and copied.
    - Arrays of all dtypes and orders in memory come and go unchanged, and copies are copies.
    - What it may replace for speed does what xpnet's own does: ``put``, ``add_rows``, ``add_at``, ``map``, ``jit``.
    - Layers, an optimizer and a training compute on it what they do on NumPy; where it only predicts, layers do.

    Args:
        backend: its name, or the backend itself on one of its devices.
        seed: of what is drawn.

    Returns:
        What could not be checked, a line each.

    Raises:
        AssertionError: something is wrong; the message says what, with numbers.
        ValueError, BackendUnavailableError: there is no such backend, or it cannot be used here.

    >>> check_backend("numpy")
    []
    """
    b = get_backend(backend)
    with b.current():
        return _checked(b, seed)


def _checked(b: Backend, seed: int) -> list[str]:
    """What :func:`check_backend` returns."""
    checked = Checked(b)
    check_identity(checked, b)
    check_transport(checked, b, seed)
    check_parts(checked, b, seed)
    numpy_alone = {"acts_on", "copies", "files", "gradients", "graph"}  # of layers of xpnet, known to be right
    for layer, shape, integers in LAYERS:
        try:
            notes = check_layer(
                layer, shape, backends=[b], integers=integers, seed=seed, without=sorted(numpy_alone | {"steps"})
            )
        except AssertionError as error:
            raise checked.fail(f"a layer does not compute on it as on NumPy: {error}") from error
        checked.notes.extend(notes)
    if not b.trains:
        checked.notes.append("no steps were taken, as the backend is for forward passes only")
        return checked.notes
    try:
        check_optimizer(Adam(0.01), backends=[b], seed=seed, without=["copies", "descent", "files", "steps"])
    except AssertionError as error:
        raise checked.fail(f"an optimizer does not compute on it as on NumPy: {error}") from error
    check_training(checked, b, seed)
    return checked.notes


def check_identity(checked: Checked, b: Backend) -> None:
    """A backend is known by its name, its device and its arrays."""
    kind = type(b)
    if not isinstance(b.packages, tuple) or not b.packages:
        raise checked.fail(f"packages is {b.packages!r}, expected a tuple of names: ('library',)")
    devices = checked.call("devices", kind.devices)
    if not devices or b.device_name not in devices:
        raise checked.fail(f"devices are {devices}, and it is on {b.device_name!r}; the default comes first")
    if not checked.call("find_device", kind, b.device_name) == b:
        raise checked.fail(f"{b.name} on {b.device_name!r} is another backend than this; look at find_device and label")
    if problem := kind.status().problem:
        raise checked.fail(f"status() says {problem!r}, and yet it was made")
    try:
        found = get_backend(b.name, b.device_name)
    except ValueError as error:
        raise checked.fail(f"it is not found by its name: {error}") from error
    if found != b or hash(found) != hash(b):
        raise checked.fail(f"get_backend({b.name!r}, {b.device_name!r}) is {found!r}, which is not equal to it")
    for name, other in {"pickle": pickle.loads(pickle.dumps(b)), "copy.deepcopy": copy.deepcopy(b)}.items():
        if other != b:
            raise checked.fail(f"a copy by {name} is not equal to it")
    x = checked.call("asarray", b.asarray, [1.0, 2.0])
    told = name_of(x)
    if told != b.name:
        raise checked.fail(f"an array of it is taken for one of {told!r}; packages names the modules of its types")
    if traced(x) or device(x) != b.device:
        raise checked.fail(f"an array of it is on {device(x)!r}, expected {b.device!r}")
    if backend_of(x) != b:
        raise checked.fail(f"an array of it belongs to {backend_of(x)!r}")
    if namespace(x) is not b.xp:
        raise checked.fail(f"namespace(x) of an array is {namespace(x)!r}, and xp is {b.xp!r}")


def check_transport(checked: Checked, b: Backend, seed: int) -> None:
    """Arrays come and go as they were."""
    rng = np.random.default_rng(seed)
    known = set(dtypes_of(b)) | {"int32", "int64", "uint8", "bool"}
    for dtype in (name for name in DTYPES if name in known):
        for shape in SHAPES:
            _back(checked, b, np.asarray(10 * rng.normal(size=shape)).astype("int8").astype(dtype))
    plain = np.arange(6, dtype="float32").reshape(2, 3)
    for what, host in {
        "an array in the order of Fortran": np.asfortranarray(plain),
        "an array read backwards": plain[::-1, ::-1],
        "every second column": plain[:, ::2],
        "an array of the other byte order": plain.astype(plain.dtype.newbyteorder()),
    }.items():
        _back(checked, b, host, what)
    locked = plain.copy()
    locked.setflags(write=False)
    _back(checked, b, locked, "a locked array")
    mine = plain.copy()
    there = b.asarray(mine, copy=True)
    mine += 1
    if not np.array_equal(b.to_numpy(there), plain):
        raise checked.fail("asarray(x, copy=True) shares memory with x, and changes with it")
    made = b.asarray([[1.0, 2.0]], "float32")
    if dtype_name(made.dtype) != "float32" or tuple(made.shape) != (1, 2):
        raise checked.fail(f"asarray([[1.0, 2.0]], 'float32') is {tuple(made.shape)} of {dtype_name(made.dtype)}")
    checked.same(
        b.to_numpy(b.asarray(made)), np.asarray([[1.0, 2.0]], "float32"), 0, "asarray of its own array", "it was"
    )
    try:
        b.to_numpy(get_backend("strict" if b.name == "numpy" else "numpy").asarray([1.0]))
    except TypeError:
        pass
    except Exception as error:
        raise checked.fail(f"to_numpy of another library's array raises {error!r}, expected TypeError") from error
    else:
        raise checked.fail("to_numpy takes arrays of another library, expected TypeError")


def _back(checked: Checked, b: Backend, host: np.ndarray, what: str = "") -> None:
    what = what or f"an array {host.shape} of {host.dtype}"
    back = b.to_numpy(checked.call(f"asarray of {what}", b.asarray, host))
    if not isinstance(back, np.ndarray):
        raise checked.fail(f"to_numpy of {what} returns {type(back).__name__}, expected a NumPy array")
    if back.dtype != host.dtype.newbyteorder("="):
        raise checked.fail(f"{what} comes back in {back.dtype}")
    checked.same(back, host, 0, f"{what}, there and back,", "it was")


def check_parts(checked: Checked, b: Backend, seed: int) -> None:
    """What a backend may do in its own way, against NumPy."""
    rng = np.random.default_rng(seed)
    x, rows = rng.normal(size=(5, 2)).astype("float32"), rng.normal(size=(3, 2)).astype("float32")

    def there(a: Any) -> Any:
        return b.asarray(np.asarray(a), copy=True)

    if b.trains:
        wanted = x.copy()
        wanted[1:4] = rows
        found = checked.call("put", b.put, there(x), (slice(1, 4), ...), there(rows))
        checked.same(b.to_numpy(found), wanted, 0, "put(x, 1:4, rows)", "x[1:4] = rows gives")
        wanted = x.copy()
        wanted[[4, 0, 2]] += rows
        found = checked.call("add_rows", b.add_rows, there(x), there([4, 0, 2]), there(rows))
        checked.same(b.to_numpy(found), wanted, 0, "add_rows(x, [4, 0, 2], rows)", "x[[4, 0, 2]] += rows gives")
        wanted = x.copy()
        np.add.at(wanted, [3, 0, 3], rows)
        found = checked.call("add_at", b.add_at, there(x), there([3, 0, 3]), there(rows))
        checked.same(
            b.to_numpy(found), wanted, 1e-6, "add_at(x, [3, 0, 3], rows), where a row comes twice,", "it gives"
        )
    doubled = checked.call("jit", b.jit(lambda a: a * 2), there(x))
    checked.same(b.to_numpy(doubled), x * 2, 0, "a function after jit", "before it gives")
    if list(b.map(lambda n: n * n, range(20))) != [n * n for n in range(20)]:
        raise checked.fail("map does not give the results in the order of the items")
    numbers = [b.xp.sum(there(x[i])) for i in range(3)]
    checked.same(b.read_together(numbers), x[:3].sum(axis=1), 1e-6, "read_together of sums", "one by one they are")
    checked.call("synchronize", b.synchronize)


def check_training(checked: Checked, b: Backend, seed: int) -> None:
    """A training with all kinds of arrays takes the course that it takes on NumPy, plain and compiled."""
    rng, dtype = np.random.default_rng(seed), dtypes_of(b)[0]
    x, t = rng.normal(size=(20, 4)).astype(dtype), rng.integers(0, 3, 20)
    courses = {}
    for place, compiled in ((get_backend("numpy"), False), (b, False), (b, b.compiles_by_default)):
        block = Chain(Affine(6, 6), BatchNorm(6), Tanh(), Dropout(0.2))
        layers = [Add(Affine(4, 6), Affine(4, 6)), Residual(block), Affine(6, 3)]
        net = Sequential(layers, seed=seed, dtype=dtype, backend=place)
        trainer = Trainer(net, Momentum(0.05), batch_size=8, seed=seed, compile=compiled)
        data = place.asarray(x), place.asarray(t)
        checked.call("a training", lambda fit=trainer.fit, data=data: fit(*data, epochs=2, progress=False))
        arrays = net.params | net.buffers
        values = {f"the value of {name!r}": place.to_numpy(a).copy() for name, a in arrays.items()}
        courses[place is b, compiled] = {"the losses": np.asarray(trainer.history.losses), **values}
    wanted = courses.pop((False, False), None) or courses[True, False]
    for (_, compiled), found in courses.items():
        how = "compiled" if compiled else "plain"
        for name, a in found.items():
            what = f"{name} after a training of {how} steps"
            checked.same(a, wanted[name], TOLERANCES[dtype], what, "on NumPy it is", 1.0)
