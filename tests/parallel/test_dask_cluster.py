"""Dask: samples in chunks are predicted, evaluated and differentiated chunk by chunk, and what NumPy finds is found."""

import warnings
from importlib.util import find_spec

import numpy as np
import pytest

from xpnet import SGD, Momentum, Sequential, Trainer, TwoLayerNet
from xpnet.layers import Affine, BatchNorm, Conv2d, Dropout, Embedding, Flatten, MaxPool2d, ReLU

pytestmark = pytest.mark.skipif(find_spec("dask") is None, reason="Dask is not installed, and these are arrays of its")


@pytest.fixture
def da():
    return pytest.importorskip("dask.array")


def images():
    layers = [Conv2d(1, 4, 3), BatchNorm(4), ReLU(), MaxPool2d(2), Flatten(), Dropout(0.5), Affine(4 * 5 * 5, 3)]
    return Sequential(layers, seed=0, dtype="float64"), np.random.default_rng(1).normal(size=(50, 1, 12, 12))


def dense():
    return TwoLayerNet(20, 30, 3, seed=0, dtype="float64"), np.random.default_rng(1).normal(size=(50, 20))


def words():
    net = Sequential([Embedding(9, 4), Flatten(), Affine(5 * 4, 3)], seed=0, dtype="float64")
    return net, np.random.default_rng(1).integers(0, 9, (50, 5))


CASES = {
    "rows": (dense, (13, 20)),
    "features": (dense, (13, 7)),
    "images": (images, (13, 1, 12, 12)),
    "parts of images": (images, (13, 1, 5, 12)),
    "words": (words, (13, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_chunks_come_out_as_the_whole(da, case):
    make, chunks = CASES[case]
    net, host = make()
    labels, spread = np.arange(50) % 3, net.to("dask")
    x, t = da.from_array(host, chunks=chunks), da.from_array(labels, chunks=17)
    scores = spread.predict(x)
    assert scores.chunks[0] == x.chunks[0], "samples stay where they are"
    np.testing.assert_allclose(scores.compute(), net.predict(host), rtol=1e-12, atol=1e-13)
    assert float(spread.loss(x, t)) == pytest.approx(float(net.loss(host, labels)), rel=1e-12)
    assert spread.accuracy(x, t) == net.accuracy(host, labels)
    if case != "words":  # whose gradients are added row by row, which takes Dask minutes
        found = spread.gradient(x, t)
        for name, expected in net.gradient(host, labels).items():
            np.testing.assert_allclose(found[name].compute(), expected, rtol=1e-9, atol=1e-13)


def test_nothing_is_computed_before_somebody_reads(da):
    def refuse(block):
        raise RuntimeError("computed")

    x = da.from_array(np.zeros((40, 20)), chunks=(10, 20)).map_blocks(refuse, dtype="float64", meta=np.empty((0, 0)))
    scores = dense()[0].to("dask").predict(x)
    assert scores.shape == (40, 3)
    with pytest.raises(RuntimeError, match="computed"):
        scores.compute()


def test_weights_are_sent_once_and_not_with_each_chunk(da):
    dask = pytest.importorskip("dask")
    net = TwoLayerNet(20, 3000, 3, seed=0).to("dask")
    scores = net.predict(da.zeros((400, 20), chunks=(10, 20), dtype="float32"))
    (optimized,) = dask.optimize(scores)
    held = [task for task in dict(optimized.__dask_graph__()).values() if getattr(task, "nbytes", 0) > 1000]
    assert sum(array.nbytes for array in held) <= sum(array.nbytes for array in net.params.values())


def test_unknown_sizes_are_named_where_they_matter(da):
    net, host = dense()
    spread, x, t = net.to("dask"), da.from_array(host, chunks=(13, 20)), da.from_array(np.arange(50) % 3, chunks=13)
    some = x[x[:, 0] > 0]
    np.testing.assert_allclose(
        spread.predict(some).compute(), net.predict(host[host[:, 0] > 0]), rtol=1e-12, atol=1e-13
    )
    with pytest.raises(ValueError, match=r"x has chunks of unknown sizes.*x.compute_chunk_sizes"):
        spread.loss(some, t[x[:, 0] > 0])


def test_a_trainer_says_what_dask_is_for():
    with pytest.raises(ValueError, match=r"for forward passes only.*net.gradient, of all samples, works"):
        Trainer(dense()[0].to("dask"), SGD(0.1))


def test_gradient_descent_on_all_samples(da):
    dask = pytest.importorskip("dask")
    (net, host), labels = dense(), np.arange(50) % 3
    other = net.to("numpy")
    x, t = da.from_array(host, chunks=(13, 20)), da.from_array(labels, chunks=13)
    rules = Momentum(lr=0.5), Momentum(lr=0.5)
    for _ in range(20):
        spread = net.to("dask")
        loss, grads = dask.compute(*spread.value_and_grad(spread.params, x, t))
        rules[0].update(net.params, grads)
        rules[1].update(other.params, other.gradient(host, labels))
    assert float(loss) < 0.9
    for name, value in other.params.items():
        np.testing.assert_allclose(net.params[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_a_cluster_looks_at_more_than_its_memory_holds(da):
    """Two processes of 300 MB look at 1.2 GB, and take a small part of it at a time."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed: no cluster")
    resource = pytest.importorskip("resource")

    def peak(client):  # nothing of this file goes to workers, which cannot import it
        return max(used.ru_maxrss for used in client.run(resource.getrusage, resource.RUSAGE_SELF).values()) * 1024

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Dask warns of while it starts and ends is not ours
        with (
            distributed.LocalCluster(memory_limit="300MB", **options) as cluster,
            distributed.Client(cluster) as client,
        ):
            x = da.full((300_000, 1000), 0.5, chunks=(5000, 1000), dtype="float32")
            t = da.arange(300_000, chunks=5000, dtype="int64") % 3
            net = TwoLayerNet(1000, 20, 3, seed=0)
            spread, few = net.to("dask"), np.full((3, 1000), 0.5, "float32")
            before = peak(client)
            loss, accuracy = spread.evaluate(spread.params, x, t)
            scores = spread.predict(x).sum(axis=0).compute()
            found = distributed.get_client().compute(spread.value_and_grad(spread.params, x, t)[1]["W1"]).result()
            used = peak(client) - before
    assert accuracy == pytest.approx(1 / 3)
    assert loss == pytest.approx(float(net.loss(few, np.arange(3))), rel=1e-4)
    np.testing.assert_allclose(scores / 300_000, net.predict(few)[0], rtol=1e-3)
    np.testing.assert_allclose(
        found, net.gradient(few, np.arange(3))["W1"], rtol=0, atol=1e-4 * abs(found).max() + 1e-6
    )
    assert used < 200e6 < x.nbytes / 5
