"""CuPy on any of its devices, without hidden waits: on GPUs, or on the stand-in of ``tests/standins``, which counts."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from xpnet import (
    Adam,
    Sequential,
    SimpleConvNet,
    Trainer,
    TwoLayerNet,
    book,
    check_gradient,
    get_backend,
    gradient_descent,
    graph,
    half,
    load_network,
    metrics,
    namespace,
    numerical_gradient,
)
from xpnet._checks import check_count
from xpnet.backends.base import Block, PlainStep
from xpnet.backends.cupy_namespace import CREATION
from xpnet.backends.dispatch import backend_status
from xpnet.layers import Affine, BatchNorm, Chain, Dropout, Embedding, Flatten, LayerNorm, ReLU, Residual, Softmax
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss
from xpnet.optimizers import OPTIMIZERS, Accumulate, ClipByNorm, ClipByValue, ScaleGradients, WeightDecay
from xpnet.testing import check_backend
from xpnet.throughput import matrix_rate
from xpnet.training import init_state, make_step

if problem := backend_status("cupy").problem:
    pytest.skip(problem, allow_module_level=True)
cuda = get_backend("cupy").library().cuda
counts_waits = pytest.mark.skipif(not hasattr(cuda, "waits"), reason="CuPy does not count them, the stand-in does")
two_devices = pytest.mark.skipif(len(backend_status("cupy").devices) < 2, reason="there is one device")

TRANSFORMS = {
    "no transform": (),
    "clip_value": (ClipByValue(0.1),),
    "clip_norm": (ClipByNorm(0.1),),
    "weight decay": (WeightDecay(1e-2),),
    "accumulation": (ScaleGradients(0.5), Accumulate(2)),
}
NETWORKS = {
    "images": lambda b: SimpleConvNet((1, 8, 8), {"filter_num": 3, "filter_size": 3}, 6, 3, seed=0, backend=b),
    "normalized": lambda b: Sequential(
        [Affine(64, 6), BatchNorm(6), Residual(Chain(LayerNorm(6), Dropout(0.2), Affine(6, 6))), Affine(6, 3)],
        seed=0,
        backend=b,
    ),
    "words": lambda b: Sequential([Embedding(9, 4), Flatten(), Affine(256, 3)], seed=0, backend=b),
    "activations": lambda b: Sequential([Affine(64, 5), ReLU(), Affine(5, 4), Softmax(), Affine(4, 3)], backend=b),
}


@pytest.fixture(params=["cuda:0", pytest.param("cuda:1", marks=two_devices)])
def b(request):
    """A backend on each device, of which the first is the current one."""
    with cuda.Device(0):
        yield get_backend("cupy", request.param)
        assert cuda.Device() == cuda.Device(0)


def block(rng, n=64, steps=4, draws=None):
    return Block(rng.integers(0, n, (steps, 8)), draws or {})


def samples(backend, rng, shape=(64, 5)):
    x, t = rng.normal(size=shape).astype("float32"), rng.integers(0, 3, shape[0])
    return backend.asarray(x), backend.asarray(t)


@counts_waits
@pytest.mark.parametrize("transforms", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_block_of_steps_waits_once_for_its_losses(name, transforms, b, rng):
    net, (x, t) = TwoLayerNet(5, 4, 3, seed=0, backend=b), samples(b, rng)
    optimizer = OPTIMIZERS[name](lr=0.1)
    step, state = make_step(net, optimizer, transforms=transforms), init_state(net, optimizer, transforms)
    cuda.waits.clear()
    _, losses = PlainStep(step, b).run(state, {"x": x, "t": t}, block(rng))
    assert cuda.waits == {"get": 1}
    assert np.isfinite(losses).all()


@counts_waits
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SigmoidWithLoss(), MeanSquaredError()], ids=repr)
def test_no_layer_and_no_loss_waits(kind, loss, b, rng):
    net = NETWORKS[kind](b)
    net.loss_layer, optimizer = loss, Adam(0.1)
    shape = (64, 1, 8, 8) if kind == "images" else (64, 64)
    x = rng.integers(0, 9, shape) if kind == "words" else rng.normal(size=shape).astype("float32")
    t = np.eye(3, dtype="float32")[rng.integers(0, 3, 64)]
    drawn = [net.draws(rng, (8, *shape[1:])) for _ in range(4)]
    taken = block(rng, draws={name: np.stack([each[name] for each in drawn]) for name in drawn[0]})
    state, ones = init_state(net, optimizer), np.ones(64, "float32")
    data = {name: b.asarray(a) for name, a in {"x": x, "t": t, "weight": ones}.items()}
    cuda.waits.clear()
    PlainStep(make_step(net, optimizer), b).run(state, data, taken)
    assert cuda.waits == {"get": 1}


@counts_waits
def test_what_is_predicted_and_differentiated_is_not_waited_for(b, rng):
    net, (x, _) = TwoLayerNet(5, 4, 3, seed=0, backend=b), samples(b, rng)
    with b.current():
        v = graph.variable(x)
    cuda.waits.clear()
    net.predict(x)
    graph.grad(lambda v: namespace(v).sum(namespace(v).clip(abs(v), 0.5, 1.0) * namespace(v).sign(v)))(x)
    with b.current():
        namespace(v).sum(abs(v)).backward()
    assert not cuda.waits


def on(b, *arrays):
    return all(a.device == b.device for a in arrays)


def test_networks_compute_where_they_are(b, rng, tmp_path):
    net, (x, t), weight = TwoLayerNet(5, 4, 3, seed=0, backend=b), samples(b, rng), b.asarray(np.ones(64))
    assert on(b, *net.params.values(), net.predict(x), net.predict(x[0, ...]), net.loss(x, t, weight))
    assert on(b, net.forward(net.params, x), *net.value_and_grad(net.params, x, t)[1].values())
    assert on(b, *net.gradient(x, t, weight).values(), half(net).predict(x))
    assert on(b, *net.numerical_gradient(x[:3, ...], t[:3], progress=False).values())
    assert net.accuracy(x, t) == half(net).accuracy(x, t)
    assert net.evaluate(net.params, x, t)[0] == pytest.approx(float(net.loss(x, t)))
    for training in (False, True):
        assert check_gradient(net, x[:4, ...], t[:4], training=training, progress=False).passed
    net.save(tmp_path / "net")
    other = load_network(tmp_path / "net", backend=b)
    for each in (other, net.to("numpy").to(b), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert on(b, *each.params.values())
        np.testing.assert_array_equal(b.to_numpy(each.predict(x)), b.to_numpy(net.predict(x)))
    wide = b.asarray(rng.normal(size=(4, 5)))
    net.params["W1"] = b.asarray(rng.normal(size=(5, 4)))
    assert on(b, net.predict(wide), net.loss(wide, t[:4]), *net.gradient(wide, t[:4]).values())
    simple = book.simpleNet(b.asarray(np.ones((2, 3))))
    assert on(b, simple.gradient([0.6, 0.9], [0, 0, 1]), simple.predict([0.6, 0.9]))


def test_steps_of_ones_own_are_taken_where_the_network_is(b, rng):
    net, (x, t), optimizer = TwoLayerNet(5, 4, 3, seed=0, backend=b), samples(b, rng), Adam(0.1)
    step, state = make_step(net, optimizer), init_state(net, optimizer)
    for rows in block(rng).rows:
        state, loss = step(state, {"x": x, "t": t}, b.asarray(rows), {})
    assert on(b, loss, *state["params"].values())
    net.training_value_and_grad(state["params"], x, t)


def test_trainers_compute_where_their_networks_are(b, rng, tmp_path):
    x, t = samples(b, rng)
    options = {"validation": (x[:9, ...], t[:9]), "epochs": 2, "progress": False}
    for transforms in TRANSFORMS.values():
        net = TwoLayerNet(5, 4, 3, seed=0, backend=b)
        trainer = Trainer(net, Adam(0.1), transforms=transforms, batch_size=8, seed=0)
        assert on(b, *trainer.optimizer_state["slots"]["W1"].values())
        seen = []
        trainer.fit(x, t, callbacks=[lambda _, net=net, seen=seen: seen.append(net.loss(x, t))], **options)
        assert on(b, *seen, *net.params.values())
        trainer.evaluate(x, t)
        trainer.save(tmp_path / "run")
        for other in (Trainer.load(tmp_path / "run", backend=b), pickle.loads(pickle.dumps(trainer))):
            other.fit(x, t, **options)
            assert on(b, *other.net.params.values(), *other.optimizer_state["slots"]["W1"].values())
            assert other.history.losses[:16] == trainer.history.losses
        trainer.net.params["W1"] = b.asarray(np.ones((5, 4), "float32"))
        trainer.fit(x, t, **options)


class Plain:
    """An optimizer of somebody's own, which computes where it makes its state."""

    def init(self, params):
        return {"sum": {name: w * 0 for name, w in params.items()}}

    def step(self, params, grads, state):
        total = {name: state["sum"][name] + g for name, g in grads.items()}
        return {name: w - 0.1 * grads[name] for name, w in params.items()}, {"sum": total}


def test_optimizers_of_ones_own_compute_where_the_network_is(b, rng):
    x, t = samples(b, rng)
    trainer = Trainer(TwoLayerNet(5, 4, 3, seed=0, backend=b), Plain(), batch_size=8, seed=0)
    trainer.fit(x, t, epochs=1, progress=False)
    assert on(
        b, *trainer.optimizer_state["sum"].values(), *init_state(trainer.net, Plain())["optimizer"]["sum"].values()
    )


def test_functions_of_users_are_called_where_the_arrays_are(b, rng):
    x = b.asarray(rng.normal(size=4))
    matrix = b.asarray(rng.normal(size=(4, 4)))

    def f(x):
        return namespace(x).sum(namespace(x).matmul(matrix, x) ** 2)

    found = [numerical_gradient(f, x), graph.grad(f)(x), graph.jacobian(f)(x), graph.hvp(f)(x, x)]
    found += [graph.vjp(f, x)[0], graph.jvp(f, (x,), (x,))[1], gradient_descent(f, x, lr=1e-3, steps=3).x]
    assert on(b, *found, graph.hessian(f)(x), graph.elementwise_grad(lambda x: x * x)(x))
    np.testing.assert_allclose(b.to_numpy(found[0]), b.to_numpy(found[1]), rtol=1e-6)
    assert check_gradient(Affine(4, 3), b.asarray(rng.normal(size=(5, 4)))).passed
    assert check_gradient(SoftmaxWithLoss(), b.asarray(rng.normal(size=(5, 4))), b.asarray([0, 1, 2, 3, 0])).passed


def test_metrics_compute_where_the_arrays_are(b, rng):
    y, t = b.asarray(rng.normal(size=(20, 3))), b.asarray(rng.integers(0, 3, 20))
    matrix = metrics.confusion_matrix(y, t)
    assert on(b, matrix, *(metric(matrix) for metric in (metrics.precision, metrics.recall, metrics.f1)))
    assert 0 <= metrics.accuracy(y, t) <= metrics.top_k_accuracy(y, t, k=2) <= 1
    assert metrics.report(y, t).accuracy == metrics.accuracy(y, t)
    assert metrics.multilabel_report(y, b.asarray(np.eye(3)[rng.integers(0, 3, 20)])).support
    assert metrics.r2(y, y) == 1


def test_the_checks_of_a_backend_pass_on_any_device(b):
    assert check_backend(b) == []
    assert matrix_rate(b, seconds=1e-3) > 0


@two_devices
def test_threads_have_each_their_device(rng):
    nets = [TwoLayerNet(5, 4, 3, seed=0, backend="cupy", device=device) for device in ("cuda:0", "cuda:1")]
    x = rng.normal(size=(64, 5)).astype("float32")
    given = [net.backend.asarray(x) for net in nets]
    wanted = nets[0].backend.to_numpy(nets[0].predict(given[0]))

    def predicted(i):
        return nets[i % 2].backend.to_numpy(nets[i % 2].predict(given[i % 2]))

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(predicted, range(100)):
            np.testing.assert_array_equal(found, wanted)


@two_devices
def test_a_thread_goes_back_to_the_device_that_it_came_from():
    """A device of CuPy's notes on itself which one was current before: one that two threads enter mixes them up."""
    b, entered, left, found = get_backend("cupy", "cuda:1"), threading.Event(), threading.Event(), []

    def second():
        with cuda.Device(1):
            with b.current():
                entered.set()
                left.wait(60)
            found.append(cuda.Device().id)

    with cuda.Device(0):
        with b.current():
            thread = threading.Thread(target=second)
            thread.start()
            entered.wait(60)
        found.append(cuda.Device().id)
        left.set()
        thread.join()
    assert found == [0, 1]


@two_devices
def test_an_error_leaves_the_device_that_was_current():
    net = TwoLayerNet(5, 4, 3, seed=0, backend="cupy", device="cuda:1")
    with cuda.Device(0), pytest.raises(ValueError, match="x has 6 columns"):
        net.predict(net.backend.asarray(np.ones((2, 6), "float32")))
    assert cuda.Device() == cuda.Device(0)


@two_devices
def test_by_default_it_is_the_current_device():
    for index in (0, 1):
        with cuda.Device(index):
            for given in (None, "cuda"):
                assert get_backend("cupy", given).device_name == f"cuda:{index}"
            assert get_backend("cupy", 1).device_name == get_backend("cupy", cuda.Device(1)).device_name == "cuda:1"


def test_new_arrays_are_where_they_are_asked_for(b):
    xp, x = b.xp, b.asarray(np.ones((2, 3), "float32"))
    first = {"arange": (3,), "eye": (3,), "full": ((2, 3), 7), "full_like": (x, 7), "linspace": (0, 1, 5)}
    first["asarray"] = ([1.0],)
    for name in CREATION.split():
        given = first.get(name, (x,) if name.endswith("_like") else ((2, 3),))
        assert on(b, getattr(xp, name)(*given, device=b.device)), name
        if name.endswith("_like"):
            assert on(b, getattr(xp, name)(*given)), name
    assert on(b, xp.asarray(x), xp.asarray(x, copy=True), b.copy(x), b.asarray(x))
    assert b.copy(x) is not x
    assert xp.zeros(3).device == cuda.Device()


NUMBERS = np.asarray([-np.inf, -2.0, -0.5, -0.0, 0.0, 0.5, 2.0, np.inf, np.nan])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "complex128"])
def test_sign_and_clip_are_numpys(dtype, at_first):
    numbers = NUMBERS if dtype.startswith("float") else np.asarray([0, 1, 2, 100, 200]) - 2 * (dtype == "int32")
    host = numbers.astype(dtype) * (1 - 2j if dtype == "complex128" else 1)
    b = at_first
    x = b.asarray(host)
    np.testing.assert_allclose(b.to_numpy(b.xp.sign(x)), np.sign(host), rtol=1e-15)
    if dtype == "complex128":
        return
    limits = [(None, None), (1, None), (None, 1), (-1, 1), (0, 300), (1, 0), (np.float64(0), np.int64(2))]
    limits += [(0.25, 0.75), (float("nan"), 1.0)] if dtype.startswith("float") else []
    for low, high in limits:
        found = b.xp.clip(x, low, high)
        assert found is not x
        assert found.dtype == host.dtype
        wanted = host if low is high is None else np.clip(host.astype("float64"), low, high).astype(dtype)
        np.testing.assert_array_equal(b.to_numpy(found), wanted, err_msg=f"{low} {high}")
    low = np.asarray([[0], [1]], "float64")
    np.testing.assert_array_equal(b.to_numpy(b.xp.clip(x, b.asarray(low))), np.maximum(host, low.astype(dtype)))


@pytest.fixture
def at_first():
    backend = get_backend("cupy", "cuda:0")
    with backend.current():
        yield backend


def test_numbers_without_axes_are_whole_numbers(at_first):
    b = at_first
    i = b.xp.argmax(b.asarray([0, 5, 1]))
    with pytest.raises(TypeError):
        [1, 2][i]  # which is why they need looking after
    v = graph.variable(b.asarray([1.0, 2.0, 3.0]))
    assert float(v[i]) == float(v[(i,)]) == 2
    assert v[i:].shape == (2,)
    assert [0, 1, 2][graph.constant(i)] == 1
    assert check_count(i, "steps") == 1
    assert namespace(v).repeat(v, i).shape == (3,)
    with pytest.raises(ValueError, match="expected a whole number"):
        check_count(b.asarray(1.5), "steps")
    with pytest.raises(ValueError, match="expected a whole number"):
        check_count(b.asarray([1, 2]), "steps")
