"""Networks of convolutions: PyTorch's losses and gradients, the book's names, files, trainings and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import (
    Adam,
    DeepConvNet,
    ResNet,
    Sequential,
    SimpleConvNet,
    Trainer,
    check_gradient,
    load_network,
    make_step,
)
from xpnet.backends.base import Block, PlainStep
from xpnet.errors import CheckpointError
from xpnet.layers import Affine
from xpnet.optimizers import Momentum
from xpnet.serialization import network as files

SMALL_SIMPLE = {"input_dim": (1, 8, 9), "conv_param": {"filter_num": 3, "filter_size": 3}, "hidden_size": 6}
FEW = {f"conv_param_{i}": {"filter_num": 2 + i} for i in range(1, 7)}
#: Each network, small: what makes it, and the shape of an image.
SMALL = {
    "SimpleConvNet": (lambda **options: SimpleConvNet(**SMALL_SIMPLE, weight_init_std=0.3, **options), (1, 8, 9)),
    "DeepConvNet": (lambda **options: DeepConvNet((1, 8, 8), **FEW, hidden_size=6, **options), (1, 8, 8)),
    "ResNet": (lambda **options: ResNet((3, 8, 8), (4, 6), 2, 4, **options), (3, 8, 8)),
}


@pytest.fixture(params=SMALL)
def small(request):
    return SMALL[request.param]


def batch(shape, n=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *shape)), rng.integers(0, 4, n)


def test_simple_convnet_is_the_books():
    net = SimpleConvNet(
        input_dim=(1, 28, 28),
        conv_param={"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1},
        hidden_size=100,
        output_size=10,
        weight_init_std=0.01,
        seed=0,
        backend="numpy",
    )
    shapes = {name: p.shape for name, p in net.params.items()}
    assert shapes == {
        "W1": (30, 1, 5, 5), "b1": (30,), "W2": (4320, 100), "b2": (100,), "W3": (100, 10), "b3": (10,),
    }  # fmt: skip
    pool = list(net.layers)[2]
    assert list(net.layers) == ["Conv1", "Relu1", pool, "Affine1", "Relu2", "Affine2"]
    assert "Pool1" in pool
    usual = SimpleConvNet(seed=0, backend="numpy")
    assert repr(usual) == repr(net)
    for name, p in net.params.items():
        np.testing.assert_array_equal(usual.params[name], p)
        if name.startswith("W"):
            assert p.std() == pytest.approx(0.01, rel=0.1)
        else:
            assert not p.any()


def test_deep_convnet_is_the_books():
    net = DeepConvNet(seed=0, backend="numpy")
    shapes = {name: p.shape for name, p in net.params.items() if name.startswith("W")}
    assert list(shapes.values()) == [
        (16, 1, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3),
        (64 * 4 * 4, 50), (50, 10),
    ]  # fmt: skip
    # He's standard deviations, by the nodes that the book counts before each
    nodes = [1 * 9, 16 * 9, 16 * 9, 32 * 9, 32 * 9, 64 * 9, 64 * 4 * 4, 50]
    for name, n in zip(shapes, nodes, strict=True):
        assert net.params[name].std() == pytest.approx(np.sqrt(2 / n), rel=0.15)
    block = ["Conv", "Relu", "Conv", "Relu", "Pool"]
    expected = [*block * 3, "Affine", "Relu", "Dropout", "Affine", "Dropout"]
    assert [name.rstrip("0123456789").replace("MaxPool", "Pool") for name in net.layers] == expected
    assert net.layers["Dropout1"].rate == 0.5
    assert net.layers["Conv4"].padding in (2, (2, 2))
    assert net.output_shape((1, 28, 28)) == (10,)


def test_resnet_20_has_the_papers_weights():
    """He et al. (2016), table 6: 0.27 million in the ResNet of 20 layers; ours has two convolutions of 1 by 1 more."""
    net = ResNet((3, 32, 32), blocks=3, seed=0, backend="numpy")
    beside = 16 * 32 + 32 + 32 * 64 + 64 + 2 * (32 + 64)
    biases = 16 + 6 * 16 + 6 * 32 + 6 * 64  # which the paper leaves to batch normalization
    assert sum(p.size for p in net.params.values()) - beside - biases == pytest.approx(270_000, rel=0.02)
    assert net.output_shape((3, 32, 32)) == (10,)
    assert [name for name in net.layers if not name.startswith("Relu")] == [
        "Conv1", "BatchNorm1", "Residual1", "Residual2", "Residual3", "Add1", "Residual4", "Residual5", "Add2",
        "Residual6", "Residual7", "GlobalAvgPool1", "Affine1",
    ]  # fmt: skip


def torch_scores(net, params, x, masks, torch):
    """What PyTorch makes of images, with the parameters of a network by name."""
    f = torch.nn.functional
    layers, drawn = list(net.layers.values()), iter(masks.values())

    def run(layers, names, x):
        for name, layer in zip(names, layers, strict=True):
            kind = type(layer).__name__
            if kind == "Conv2d":
                x = f.conv2d(x, next(weights), next(weights), layer.stride, layer.padding)
            elif kind == "BatchNorm":
                x = f.batch_norm(x, None, None, next(weights), next(weights), training=True, eps=layer.eps)
            elif kind == "Affine":
                x = x.reshape(x.shape[0], -1) @ next(weights) + next(weights)
            elif kind == "ReLU":
                x = torch.relu(x)
            elif kind == "MaxPool2d":
                x = f.max_pool2d(x, 2)
            elif kind == "GlobalAvgPool2d":
                x = x.mean((2, 3))
            elif kind == "Dropout":
                x = x * torch.as_tensor(next(drawn)) / (1 - layer.rate)
            elif kind == "Residual":
                x = x + run(layer.inner.layers, [part.name for part in layer.inner.parts], x)
            else:
                assert kind == "Add", name
                x = sum(run(chain.layers, [part.name for part in chain.parts], x) for chain in layer.layers)
        return x

    weights = iter(params.values())
    return run(layers, list(net.layers), x)


def test_loss_and_gradients_of_a_training_step_are_torchs(small, training_backend, array):
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    make, shape = small
    net = make(seed=3, dtype="float64", backend=training_backend)
    host, t = batch(shape)
    masks = net.draws(np.random.default_rng(1), host.shape)
    moved = {name: training_backend.asarray(m) for name, m in masks.items()}
    loss, grads, _ = net.training_value_and_grad(net.params | moved, array(host), array(t))
    theirs = {
        name: torch.tensor(training_backend.to_numpy(p).copy(), requires_grad=True) for name, p in net.params.items()
    }
    found = torch.nn.functional.cross_entropy(
        torch_scores(net, theirs, torch.as_tensor(host), masks, torch), torch.as_tensor(t)
    )
    found.backward()
    assert float(loss) == pytest.approx(found.item(), rel=1e-12)
    for name, p in theirs.items():
        ours, size = training_backend.to_numpy(grads[name]), float(p.grad.abs().max())
        # the bias before a batch normalization has no gradient but rounding
        np.testing.assert_allclose(ours, p.grad.numpy(), rtol=1e-9, atol=1e-10 * max(size, 1), err_msg=name)


@pytest.mark.parametrize("name", ["SimpleConvNet", "DeepConvNet"])
def test_backpropagation_passes_the_gradient_check(name, training_backend, array):
    if training_backend.name == "jax":
        pytest.skip("every shape would be compiled")
    make, shape = SMALL[name]
    net = make(seed=3, dtype="float64", backend=training_backend)
    x, t = batch(shape, n=2)
    report = check_gradient(net, array(x), array(t), mode="directional")
    assert report.passed, str(report)


@pytest.mark.slow
def test_it_learns_and_goes_on_from_a_checkpoint_to_the_last_bit(small, training_backend, array, tmp_path):
    make, shape = small
    x, t = batch(shape, n=20)
    data = array(x, "float32"), array(t)
    whole = Trainer(make(seed=1, backend=training_backend), Adam(0.01), batch_size=5, seed=2)
    whole.fit(*data, iterations=30, progress=False)
    part = Trainer(make(seed=1, backend=training_backend), Adam(0.01), batch_size=5, seed=2)
    part.fit(*data, iterations=11, progress=False)
    part.save(tmp_path / "checkpoint")
    rest = Trainer.load(tmp_path / "checkpoint", backend=training_backend)
    assert type(rest.net) is type(whole.net)
    rest.fit(*data, iterations=19, progress=False)
    assert rest.history.losses == whole.history.losses
    for arrays, theirs in ((whole.net.params, rest.net.params), (whole.net.buffers, rest.net.buffers)):
        for name, p in arrays.items():
            np.testing.assert_array_equal(training_backend.to_numpy(theirs[name]), training_backend.to_numpy(p))
    assert np.mean(whole.history.losses[-4:]) < np.mean(whole.history.losses[:4])


@pytest.mark.slow
def test_losses_are_the_same_on_every_backend(small, training_backend, array):
    make, shape = small
    x, t = batch(shape, n=20)
    losses = []
    for backend, data in (("numpy", (x, t)), (training_backend, (array(x), array(t)))):
        net = make(seed=1, dtype="float64", backend=backend)
        trainer = Trainer(net, Momentum(0.01), batch_size=5, seed=2)
        losses.append(trainer.fit(*data, iterations=12, progress=False).losses)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)


def test_replayed_steps_compute_what_eager_ones_do(small):
    make, shape = small
    x, t = batch(shape, n=20)
    results = []
    for replayed in (True, False):
        net = make(seed=1, dtype="float64", backend="numpy")
        optimizer = Adam(0.01)
        step = make_step(net, optimizer)
        compiled = net.backend.compile(step) if replayed else PlainStep(step, net.backend)
        state = {
            "params": dict(net.params),
            "buffers": dict(net.buffers),
            "optimizer": optimizer.init(net.params),
            "transforms": {},
        }
        rng = np.random.default_rng(5)
        rows = rng.integers(0, 20, (8, 5))
        drawn = [net.draws(rng, (5, *shape)) for _ in rows]
        draws = {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}
        state, losses = compiled.run(state, {"x": x.copy(), "t": t}, Block(rows, draws))
        results.append((np.array(losses), {name: np.array(p) for name, p in state["params"].items()}))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-10)
    for name, p in results[1][1].items():
        np.testing.assert_allclose(results[0][1][name], p, rtol=1e-7, atol=1e-9, err_msg=name)


def test_it_comes_back_from_a_file(small, backend, array, tmp_path):
    make, shape = small
    net = make(seed=1, backend=backend)
    net.save(tmp_path / "net")
    found = load_network(tmp_path / "net", backend=backend)
    assert (type(found), repr(found)) == (type(net), repr(net))
    x = array(batch(shape)[0], "float32")
    np.testing.assert_array_equal(backend.to_numpy(found.predict(x)), backend.to_numpy(net.predict(x)))


def test_a_summary_counts_what_is_in_it(small):
    make, shape = small
    net = make(seed=1, backend="numpy")
    total = next(line for line in net.summary(shape).splitlines() if line.startswith("total"))
    assert str(sum(p.size for p in net.params.values())) in total.split()


def test_a_summary_shows_the_shapes_that_the_network_was_made_for(small, tmp_path):
    make, shape = small
    net = make(seed=1, backend="numpy")
    assert net.input_shape == shape
    text = net.summary()
    assert text == net.summary(shape)
    assert "?" not in text
    assert "?" not in net._repr_html_()
    net.save(tmp_path / "net")
    found = load_network(tmp_path / "net", backend="numpy")
    assert (found.input_shape, found.summary()) == (shape, text)


def test_a_summary_says_what_it_does_not_know(small):
    make, shape = small
    net = Sequential([*make(seed=1, backend="numpy").layers.values()], backend="numpy")
    *_, note = net.summary().splitlines()
    assert note.startswith("?: not known without the shape of a sample")
    assert note in net._repr_html_()
    assert "?" not in net.summary(shape)


def test_a_summary_says_which_layers_do_not_tell_their_shape():
    class Doubled(Affine):
        def output_shape(self, shape):
            return None

    *_, note = Sequential([Doubled(3, 2)], backend="numpy").summary((3,)).splitlines()
    assert "a method output_shape(shape)" in note


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1, 3, 3], "does not fit"),
        ([28, 28], "does not fit"),
        ([1, 0, 28], r"its input_shape\[1\] is 0"),
        ("28", "its input_shape is '28'"),
    ],
)
def test_a_shape_in_a_file_is_looked_at(found, message, tmp_path, monkeypatch):
    describe = files.network_description
    monkeypatch.setattr(files, "network_description", lambda net: describe(net) | {"input_shape": found})
    SimpleConvNet(seed=0, backend="numpy").save(tmp_path / "net")
    with pytest.raises(CheckpointError, match=message):
        load_network(tmp_path / "net", backend="numpy")


def test_a_file_that_was_written_before_shapes_were_is_read(tmp_path, monkeypatch):
    describe = files.network_description
    net = SimpleConvNet(seed=0, backend="numpy")
    monkeypatch.setattr(files, "network_description", lambda net: describe(net) | {"input_shape": None})
    net.save(tmp_path / "net")
    found = load_network(tmp_path / "net", backend="numpy")
    assert (found.input_shape, found.chain) == (None, net.chain)


def test_images_go_through_in_chunks_that_are_not_large(monkeypatch):
    """SimpleConvNet makes 17,280 numbers of an image: 10,000 at once would take a gigabyte, time and again."""
    net = SimpleConvNet(seed=0, backend="numpy")
    assert 1 <= net.chunk((1, 28, 28)) * 30 * 24 * 24 <= 2**23
    x, t = np.random.default_rng(0).random((7, 1, 28, 28), "float32"), np.arange(7)
    whole = net.evaluate(net.params, x, t)
    monkeypatch.setattr("xpnet.models.network.CHUNK_NUMBERS", 2 * 30 * 24 * 24)
    assert net.chunk((1, 28, 28)) == 2
    assert net.evaluate(net.params, x, t) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SimpleConvNet((28, 28)), ValueError, r"input_dim is \(28, 28\), expected the shape of an image"),
        (lambda: SimpleConvNet(784), ValueError, "input_dim is 784, expected the shape of an image"),
        (lambda: SimpleConvNet((1, 4, 4)), ValueError, "the kernel of 5 by 5 does not fit into an image of 4 by 4"),
        (lambda: SimpleConvNet(conv_param={"filters": 3}), ValueError, r"conv_param is .*filter_num, filter_size, pad"),
        (lambda: SimpleConvNet(conv_param=3), ValueError, "conv_param is 3, expected a dict"),
        (lambda: SimpleConvNet(conv_param={"filter_num": 0}), ValueError, "out_channels is 0"),
        (lambda: DeepConvNet(conv_param_3={"kernel": 1}), ValueError, "conv_param_3 is .*expected a dict"),
        (lambda: DeepConvNet((1, 1, 1)), ValueError, "the kernel of 2 by 2 does not fit into an image of 1 by 1"),
        (lambda: DeepConvNet(dropout=1), ValueError, "Dropout: rate is 1"),
        (lambda: DeepConvNet(hidden_size=0), ValueError, "n_out is 0"),
        (lambda: ResNet(channels=16), TypeError, "channels is 16, expected a number for each part"),
        (lambda: ResNet(channels=[]), ValueError, "channels is empty"),
        (lambda: ResNet(blocks=0), ValueError, "blocks is 0, expected a whole number, 1 or more"),
        (lambda: ResNet((0, 8, 8)), ValueError, r"input_dim\[0\] is 0"),
    ],
)
def test_what_cannot_be_made_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


CALLS = {
    "predict": lambda net, x, t: net.predict(x),
    "gradient": lambda net, x, t: net.gradient(x, t),
    "fit": lambda net, x, t: Trainer(net, Adam(), batch_size=2).fit(x, t, iterations=1, progress=False),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 8, 9), r"Conv1: .*\(.*8, 9\).*images without an axis of channels get it with x\[:, None\]"),
        ((4, 8, 9, 1), r"Conv1: .*its last axis looks like that of the channels"),
        ((4, 3, 8, 9), r"Conv1: .*\(3, 8, 9\), with 3 channels; expected 1 channel"),
        ((4, 72), r"Conv1: .*expected .*\(.*1, H, W\)"),
        ((4, 1, 1, 8, 9), r"Conv1: .*expected .*\(.*1, H, W\)"),
        ((4, 1, 2, 2), "Conv1: the kernel of 3 by 3 does not fit into an image of 2 by 2"),
        ((4, 1, 12, 12), r"Affine1: .*\(3, 5, 5\).*elements.*expected 27"),
    ],
)
def test_images_that_do_not_fit_are_refused_by_the_layer(call, shape, message):
    net, x, t = SimpleConvNet(**SMALL_SIMPLE, seed=0, backend="numpy"), np.zeros(shape, "float32"), np.zeros(4, int)
    with pytest.raises(ValueError, match=message):
        CALLS[call](net, x, t)


def test_a_minibatch_of_one_place_has_no_variance():
    net = ResNet((1, 1, 1), [2], seed=0, backend="numpy")
    with pytest.raises(ValueError, match=r"BatchNorm1: a minibatch .*one value a feature.*take larger minibatches"):
        Trainer(net, Adam(), batch_size=1).fit(
            np.ones((3, 1, 1, 1), "float32"), np.zeros(3, int), iterations=1, progress=False
        )
