"""What networks are given: made fit where that is plain, else refused with what was given, expected and to be done."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import SGD, Adam, Momentum, Sequential, Trainer, TwoLayerNet, book, namespace, use_backend
from xpnet.layers import Affine, ReLU, Rescale
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss, SumSquaredError

X = np.random.default_rng(3).normal(size=(12, 4))
T = np.arange(12) % 3


class Table:
    """As much of a DataFrame or a Series as is looked at."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def swapped(a):
    return np.asarray(a, a.dtype.newbyteorder())


FORMS = {
    "float64": lambda x, array: array(x),
    "float16": lambda x, array: array(x.astype("float16").astype("float32")),
    "list": lambda x, array: x.tolist(),
    "tuple of rows": lambda x, array: tuple(map(tuple, x)),
    "list of rows": lambda x, array: list(x),
    "table": lambda x, array: Table(x),
    "table of objects": lambda x, array: Table(x.astype(object)),
}
TARGETS = {
    "list": lambda t, array: t.tolist(),
    "tuple": lambda t, array: tuple(t.tolist()),
    "series": lambda t, array: Table(t),
    "series of objects": lambda t, array: Table(t.astype(object)),
    "uint16": lambda t, array: array(t, "uint16"),
    "uint32": lambda t, array: array(t, "uint32"),
    "uint64": lambda t, array: array(t, "uint64"),
    "bool one-hot": lambda t, array: array(np.eye(3)[t], "bool"),
    "uint16 one-hot": lambda t, array: array(np.eye(3)[t], "uint16"),
    "one-hot list": lambda t, array: np.eye(3)[t].tolist(),
}


def trained(backend, x, t, dtype="float32", first=()):
    layers = [*first, Affine(4, 5), ReLU(), Affine(5, 3)]
    net = Sequential(layers, weight_init=0.5, seed=0, dtype=dtype, backend=backend)
    history = Trainer(net, SGD(lr=0.1), batch_size=4, seed=0).fit(x, t, epochs=2, progress=False, validation=(x, t))
    return net, history


@pytest.mark.parametrize("form", FORMS)
def test_samples_are_converted_to_the_dtype_of_the_network(form, training_backend, array):
    x = X.astype("float16").astype("float64") if form == "float16" else X
    net, expected = trained(training_backend, array(x, "float32"), array(T))
    other, found = trained(training_backend, FORMS[form](x, array), array(T))
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-6)
    assert all(p.dtype == net.dtype for p in other.params.values())
    given = FORMS[form](x, array)
    for name in ("predict", "loss", "accuracy", "gradient"):
        rest = () if name == "predict" else (array(T),)
        ours, theirs = getattr(net, name)(given, *rest), getattr(net, name)(array(x, "float32"), *rest)
        if name == "gradient":
            assert all(g.dtype == net.dtype for g in ours.values())
            ours, theirs = ours["W1"], theirs["W1"]
        if name == "accuracy":
            assert ours == theirs
        else:
            assert ours.dtype == training_backend.xp.float32
            np.testing.assert_allclose(training_backend.to_numpy(ours), training_backend.to_numpy(theirs), rtol=1e-6)


@pytest.mark.parametrize("form", TARGETS)
def test_targets_in_any_plain_form(form, training_backend, array):
    _, expected = trained(training_backend, array(X, "float32"), array(T))
    net, found = trained(training_backend, array(X, "float32"), TARGETS[form](T, array))
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-6)
    for method in (net.loss, net.accuracy, net.gradient):
        method(array(X, "float32"), TARGETS[form](T, array))


def test_one_sample_with_an_int_for_a_label(training_backend, array):
    net = TwoLayerNet(4, 5, 3, seed=0, backend=training_backend)
    expected = float(net.loss(array(X[:1], "float32"), array(T[:1])))
    for x, t in (
        (array(X[0], "float32"), int(T[0])),
        (X[0].tolist(), array(T[0])),
        (array(X[0]), array(np.eye(3)[T[0]])),
    ):
        assert float(net.loss(x, t)) == pytest.approx(expected)


HOST = {
    "big-endian": lambda a: swapped(a),
    "little-endian": lambda a: np.asarray(a, a.dtype.newbyteorder("<")),
    "backwards": lambda a: a[::-1].copy()[::-1],
    "columns backwards": lambda a: a[..., ::-1].copy()[..., ::-1],
    "every second": lambda a: np.repeat(a, 2, axis=0)[::2],
    "column by column": lambda a: np.asarray(a, order="F"),
    "read-only": lambda a: np.broadcast_to(a, a.shape),
    "memory-mapped": lambda a: a.view(np.memmap),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int16", "uint64", "bool"])
@pytest.mark.parametrize("form", HOST)
def test_arrays_of_any_layout_are_put_on_every_backend(form, dtype, backend, rng):
    host = (rng.normal(size=(6, 4)) * 50).astype(dtype) if dtype != "bool" else rng.random((6, 4)) < 0.5
    given = HOST[form](host)
    moved = backend.asarray(given)
    np.testing.assert_array_equal(backend.to_numpy(moved), host)
    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(given, "float32")), host.astype("float32"))
    assert backend.to_numpy(moved).dtype == host.dtype


@pytest.mark.parametrize("form", HOST)
def test_numpy_trains_on_arrays_of_any_layout(form):
    x, t = X.astype("float32"), T.astype("int32")
    expected = trained("numpy", x, t)[1].losses
    given = HOST[form](x)
    assert np.array_equal(trained("numpy", given, HOST[form](t))[1].losses, expected)
    images = (np.abs(X) * 50).astype("uint16")
    expected = trained("numpy", images, t, first=[Rescale(1 / 255)])[1].losses
    assert np.array_equal(
        trained("numpy", HOST[form](images), HOST[form](t), first=[Rescale(1 / 255)])[1].losses, expected
    )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
def test_images_of_any_integer_dtype(dtype, training_backend, array):
    images = (np.abs(X) * 50).clip(0, 100).astype("uint8")
    expected = trained(training_backend, array(images), array(T), first=[Rescale(1 / 255)])[1].losses
    found = trained(training_backend, array(images, dtype), array(T), first=[Rescale(1 / 255)])[1].losses
    np.testing.assert_allclose(found, expected, rtol=1e-6)


BAD = {
    "integers": (
        lambda a: a(X, "int64"),
        TypeError,
        r"x is int64, .*net\.backend\.asarray\(x, dtype='float32'\).*Rescale\(1 / 255\)",
    ),
    "a list of integers": (lambda a: [[0, 1, 0, 1]] * 12, TypeError, r"x is int64, .*asarray\(x, dtype='float32'\)"),
    "booleans": (lambda a: a(X > 0), TypeError, r"x is bool, the network computes in float32"),
    "complex numbers": (lambda a: a(X * 1j), TypeError, "x is complex128, expected real numbers"),
    "rows of two lengths": (lambda a: [[1.0], [1.0, 2.0]], ValueError, "x is no rectangular array of numbers"),
    "texts": (lambda a: [["a", "b"]], TypeError, r"x holds .* that are no numbers; encode categories"),
    "objects": (lambda a: Table([[1.0, None], ["x", 2.0]]), TypeError, "x holds .* that are no numbers"),
    "a number": (lambda a: 1.0, TypeError, r"x is of type float.*asarray\(x\)"),
    "None": (lambda a: None, TypeError, r"x is of type NoneType"),
    "a text": (lambda a: "x", TypeError, r"x is of type str"),
    "nothing": (lambda a: [], ValueError, "no samples"),
    "too large for float32": (
        lambda a: a(np.full((12, 4), 1e300)),
        ValueError,
        "x has 48 values that are NaN or infinite",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_samples_that_are_refused(case, training_backend, array):
    make, error, message = BAD[case]
    net = TwoLayerNet(4, 5, 3, seed=0, backend=training_backend)
    with pytest.raises(error, match=message):
        net.loss(make(array), array(T))
    with pytest.raises(error, match=message):
        Trainer(net, SGD(lr=0.1), batch_size=2).fit(make(array), array(T), epochs=1, progress=False)


@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SigmoidWithLoss(), SumSquaredError(), MeanSquaredError()], ids=str)
def test_targets_that_are_refused(loss, training_backend, array):
    net = Sequential([Affine(4, 3)], loss, seed=0, backend=training_backend)
    for t, error, message in (
        (array(np.eye(3)[T] * 1j), TypeError, "t is complex128, expected real numbers"),
        ("cat", TypeError, "t is of type str"),
        (["cat"] * 12, TypeError, "t holds .* that are no numbers; encode categories"),
    ):
        with pytest.raises(error, match=message):
            net.loss(array(X, "float32"), t)


def test_a_list_of_arrays_of_a_device_is_not_moved(backend, array):
    net = TwoLayerNet(4, 5, 3, seed=0, backend=backend)
    rows = [array(row, "float32") for row in X]
    if backend.name == "numpy":
        assert net.predict(rows).shape == (12, 3)
    else:
        with pytest.raises(TypeError, match=rf"x is a list of arrays \(a {backend.name} array\).*xp\.stack\(x\)"):
            net.predict(rows)


def test_arrays_of_a_library_that_is_no_backend(backend):
    """ndonnx's and others': of the standard, and not those of the network."""

    class Foreign:
        dtype, shape, ndim = "Float32", (2, 4), 2

        def __array_namespace__(self, **_):
            raise AssertionError("not asked")

    net = TwoLayerNet(4, 5, 3, seed=0, backend=backend)
    with pytest.raises(
        TypeError, match=rf"x is of type Foreign in Float32, expected an array of backend '{backend.name}'"
    ):
        net.predict(Foreign())


@pytest.mark.parametrize("where", ["x", "t", "validation x", "W1"])
def test_arrays_whose_gradients_torch_records_are_refused(where):
    torch = pytest.importorskip("torch", reason="torch is not installed, and it is its autograd that is looked for")
    net = TwoLayerNet(4, 5, 3, seed=0, backend="torch")
    x, t = torch.asarray(X, dtype=torch.float32), torch.asarray(np.eye(3)[T], dtype=torch.float32)
    trainer = Trainer(net, SGD(lr=0.1), batch_size=4, seed=0)
    data = {"x": x, "t": t, "validation x": x.clone()}
    if where == "W1":
        net.params["W1"] = net.params["W1"].clone().requires_grad_()
    else:
        data[where].requires_grad_()
    name = {"W1": r"net\.params\['W1'\]"}.get(where, where)
    with pytest.raises(TypeError, match=rf"{name} has its library record gradients.*give {name}\.detach\(\)"):
        trainer.fit(data["x"], data["t"], validation=(data["validation x"], t), epochs=1, progress=False)
    assert trainer.iteration == 0
    if where == "x":
        for call in (lambda: net.predict(x), lambda: net.gradient(x, t)):
            with pytest.raises(TypeError, match="requires_grad"):
                call()


@pytest.mark.parametrize("optimizer", [SGD(0.1), Momentum(0.1), Adam(0.01)], ids=str)
def test_assigned_weights_are_trained_in_the_dtype_of_the_network(optimizer, training_backend, array):
    """``net.params["W1"] = 0.01 * np.random.randn(784, 50)``, which is float64."""
    b, W = training_backend, np.random.default_rng(0).normal(size=(4, 5))
    found = []
    for dtype in ("float32", "float64"):
        for before in (True, False):
            net = TwoLayerNet(4, 5, 3, seed=0, backend=b)
            trainer = Trainer(net, optimizer, batch_size=4, seed=0) if before else None
            net.params["W1"] = array(W, dtype)
            trainer = trainer or Trainer(net, optimizer, batch_size=4, seed=0)
            trainer.fit(array(X, "float32"), array(T), epochs=1, progress=False)
            assert all(p.dtype == net.dtype for p in net.params.values())
            found.append(b.to_numpy(net.params["W1"]))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("W1", np.zeros((5, 4)), r"net\.params\['W1'\] is \(5, 4\) of float64, expected \(4, 5\) of float32"),
        ("b1", np.zeros(5, "int64"), r"net\.params\['b1'\] is \(5,\) of int64, expected \(5,\) of float32"),
        ("W3", np.zeros(5), r"the network has parameters .*'W3'.*, expected \['W1', 'b1', 'W2', 'b2'\]"),
    ],
)
def test_assigned_weights_that_do_not_fit(name, value, message, training_backend, array):
    net = TwoLayerNet(4, 5, 3, seed=0, backend=training_backend)
    trainer = Trainer(net, SGD(lr=0.1), batch_size=4)
    net.params[name] = array(value)
    with pytest.raises(ValueError, match=message):
        trainer.fit(array(X, "float32"), array(T), epochs=1, progress=False)


class Widening(ReLU):
    """What a number of NumPy among the fields of a layer does on NumPy."""

    def forward(self, params, x):
        y, residuals = super().forward(params, x)
        return namespace(y).astype(y, namespace(y).float64), residuals


def test_a_layer_that_changes_the_dtype_is_named(training_backend, array):
    net = Sequential([Affine(4, 5), Widening(), Affine(5, 3)], seed=0, backend=training_backend)
    with pytest.raises(TypeError, match=r"Widening1 returned float64, and the network computes in float32"):
        Trainer(net, SGD(lr=0.1), batch_size=4).fit(array(X, "float32"), array(T), epochs=1, progress=False)


@pytest.mark.usefixtures("at_home")
def test_the_books_loss_takes_one_sample_and_lists(backend, array):
    """The figures of the tutorial on softmax: 0.3057 is -log 0.7366."""
    scores, probabilities = [0.3, 2.9, 4.0], np.asarray([0.01821127, 0.24519181, 0.73659691])
    expected = probabilities - [0, 0, 1]
    for x, t in (
        (array(scores), array([0, 0, 1])),
        (array(scores), [0, 0, 1]),
        (array(scores), 2),
        (array(scores), array(2)),
        (array([scores]), [2]),
        (array([scores]), array([[0, 0, 1]])),
    ):
        layer = book.SoftmaxWithLoss()
        assert float(layer.forward(x, t)) == pytest.approx(0.30571446, rel=1e-7)
        dx = layer.backward()
        assert dx.shape == x.shape == layer.y.shape
        np.testing.assert_allclose(backend.to_numpy(dx), expected if x.ndim == 1 else [expected], atol=1e-8)
    for x, t, message in (
        (scores, 2, "expected an array of the Array API standard, but this is of type list"),
        (array(scores), None, "t is of type NoneType, expected an array"),
        (array(scores), 2.0, "t is of type float, expected an array"),
        (array([scores]), 2, "t is of type int, expected an array"),
    ):
        with pytest.raises(TypeError, match=message):
            book.SoftmaxWithLoss().forward(x, t)


def test_the_books_simple_net_takes_lists(backend):
    with use_backend(backend):
        net = book.simpleNet(seed=0)
    x, t = backend.asarray([0.6, 0.9]), backend.asarray([0, 0, 1])
    for given in ((x, t), ([0.6, 0.9], [0, 0, 1]), ([0.6, 0.9], 2), ((0.6, 0.9), t), ([[0.6, 0.9]], [2])):
        assert float(net.loss(*given)) == pytest.approx(float(net.loss(x, t)))
        np.testing.assert_allclose(backend.to_numpy(net.gradient(*given)), backend.to_numpy(net.gradient(x, t)))
    assert net.predict([0.6, 0.9]).shape == (3,)


@pytest.mark.parametrize("method", ["predict", "loss", "accuracy", "gradient", "numerical_gradient"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("b1", np.zeros((5, 3)), r"net\.params\['b1'\] is \(5, 3\) of float64, expected \(5,\) of float32"),
        ("b1", np.zeros(1), r"net\.params\['b1'\] is \(1,\)"),
        ("b1", np.zeros(5, "int64"), r"net\.params\['b1'\] is \(5,\) of int64"),
        ("b1", None, r"net\.params\['b1'\] is of type NoneType, expected an array"),
        ("b1", [0.0] * 5, r"net\.params\['b1'\] is of type list, expected an array"),
        ("V", np.zeros(1), r"the network has parameters .*'V'"),
    ],
)
def test_parameters_that_do_not_fit_are_named(method, name, value, message, training_backend, array):
    net = TwoLayerNet(4, 5, 3, seed=0, backend=training_backend)
    net.params[name] = array(value) if isinstance(value, np.ndarray) else value
    with pytest.raises((TypeError, ValueError), match=message):
        getattr(net, method)(array(X, "float32"), *([] if method == "predict" else [array(T)]))


def test_parameters_of_another_dtype_compute_in_that_of_the_network(training_backend, array):
    net, other = (TwoLayerNet(4, 5, 3, seed=0, backend=training_backend) for _ in range(2))
    other.params = {name: array(training_backend.to_numpy(p), "float64") for name, p in net.params.items()}
    found, expected = other.predict(array(X)), net.predict(array(X))
    assert found.dtype == expected.dtype == net.dtype
    np.testing.assert_array_equal(training_backend.to_numpy(found), training_backend.to_numpy(expected))


def test_a_label_of_numpy_is_a_label_everywhere(training_backend, array):
    net = TwoLayerNet(4, 5, 3, seed=0, backend=training_backend)
    expected = float(net.loss(array(X[0]), 2))
    for label in (np.int64(2), np.uint8(2)):
        assert float(net.loss(array(X[0]), label)) == expected
    for label in (3, -1, 2**70):
        with pytest.raises(ValueError, match="3 classes, so labels go from 0 to 2"):
            net.loss(array(X[0]), label)


def test_bfloat16_of_other_libraries_is_put_on_every_backend(backend):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="it comes with JAX, and brings bfloat16 to NumPy")
    host = np.asarray([1.5, -2.0, 3.0]).astype(ml_dtypes.bfloat16)
    assert backend.to_numpy(backend.asarray(host)).tolist() == [1.5, -2.0, 3.0]
    net = TwoLayerNet(3, 5, 3, seed=0, backend=backend)
    if backend.name == "numpy":
        np.testing.assert_array_equal(net.predict(host), net.predict(host.astype("float32")))
