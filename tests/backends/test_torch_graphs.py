"""Steps as CUDA graphs: those that run call by call, to the last bit. Without a GPU graphs are the stand-in's."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import SGD, Adam, Momentum, Sequential, Trainer, TwoLayerNet, get_backend, make_step, namespace
from xpnet.backends.base import Block, PlainStep
from xpnet.errors import CompileWarning
from xpnet.layers import (
    GELU,
    Affine,
    BatchNorm,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    MaxPool2d,
    ReLU,
    Rescale,
    Residual,
    Sigmoid,
    Softplus,
)
from xpnet.layers.activations import Activation
from xpnet.optimizers import OPTIMIZERS, Accumulate, ClipByNorm, ClipByValue, LossScaling
from xpnet.schedules import Cosine, Warmup
from xpnet.training import init_state

torch = pytest.importorskip("torch")
import cuda_graphs  # noqa: E402  (it is made of PyTorch)

from xpnet.backends import torch_graph  # noqa: E402
from xpnet.backends.torch_graph import CapturedStep  # noqa: E402

LAYERS = {
    "plain": ([Affine(8, 6), ReLU(), Affine(6, 3)], (8,)),
    "bytes": ([Rescale(1 / 255), Affine(8, 6), Sigmoid(), Affine(6, 3)], (8,)),
    "images": (
        [
            Conv2d(1, 3, 3, padding=1),
            BatchNorm(3),
            ReLU(),
            MaxPool2d(2),
            Residual(Conv2d(3, 3, 1)),
            Flatten(),
            Affine(12, 3),
        ],
        (1, 4, 4),
    ),
    "draws": ([Dropout(0.2), Affine(8, 6), LayerNorm(6), GELU(), Dropout(0.5), Affine(6, 3), Softplus()], (8,)),
    "integers": ([Embedding(9, 4), Flatten(), Affine(32, 3)], (8,)),
}


@pytest.fixture
def torch_cpu():
    return get_backend("torch", "cpu")


@pytest.fixture(autouse=True)
def quiet_log():
    cuda_graphs.LOG.clear()


def prepared(name, backend, optimizer, transforms=(), dtype="float32", compute_dtype=None, weight=False):
    layers, shape = LAYERS[name]
    rng = np.random.default_rng(1)
    net = Sequential(layers, seed=0, dtype=dtype, backend=backend)
    x = rng.integers(0, 9, (40, *shape)) if name in ("bytes", "integers") else rng.normal(size=(40, *shape))
    data = {"x": backend.asarray(x.astype({"bytes": "uint8", "integers": "int64"}.get(name, dtype)))}
    data["t"] = backend.asarray(rng.integers(0, 3, 40))
    if weight:
        data["weight"] = backend.asarray(rng.random(40).astype(dtype))
    step = make_step(net, optimizer, transforms=transforms, compute_dtype=compute_dtype)
    return net, step, init_state(net, optimizer, transforms), data


def blocks(net, sizes, batch=6, seed=2):
    rng, shape = np.random.default_rng(seed), LAYERS["images"][1] if "Conv1" in net.layers else (8,)
    for size in sizes:
        draws = [net.draws(rng, (batch, *shape)) for _ in range(size)]
        yield Block(rng.integers(0, 40, (size, batch)), {k: np.stack([d[k] for d in draws]) for k in draws[0]})


def flat(tree):
    return {(k, *j): v for k, b in tree.items() for j, v in (flat(b) if isinstance(b, dict) else {(): b}).items()}


def assert_same(state, other):
    state, other = flat(state), flat(other)
    assert list(state) == list(other)
    for name, a in state.items():
        np.testing.assert_array_equal(a.numpy(), other[name].numpy(), err_msg=str(name))


CASES = {
    "schedule": ("plain", Adam(Warmup(3, Cosine(0.01, 20)), weight_decay=0.01), (), {}),
    "bytes, weights": ("bytes", Momentum(0.1, clip_norm=0.5), (), {"weight": True}),
    "images": ("images", Adam(0.01), (ClipByValue(0.1),), {}),
    "draws, accumulation": ("draws", Adam(0.01), (Accumulate(3), ClipByNorm(0.3)), {"dtype": "float64"}),
    "integers": ("integers", SGD(0.1), (), {}),
    "float16": ("images", Adam(0.01), (LossScaling(2.0**30), ClipByNorm(1.0)), {"compute_dtype": "float16"}),
    "bfloat16": ("draws", Adam(0.01), (), {"compute_dtype": "bfloat16"}),
}


@pytest.mark.parametrize("case", CASES)
def test_captured_steps_are_the_steps_to_the_last_bit(case, torch_cpu, monkeypatch):
    """In blocks of every length, less and more than are uploaded together, and of two sizes of batches."""
    monkeypatch.setattr(torch_graph, "CAPACITY", 4)
    name, optimizer, transforms, options = CASES[case]
    net, step, state, data = prepared(name, torch_cpu, optimizer, transforms, **options)
    _, _, other, _ = prepared(name, torch_cpu, optimizer, transforms, **options)
    plain, captured = PlainStep(step, torch_cpu), CapturedStep(step, torch_cpu, cuda_graphs)
    taken = [*blocks(net, (1, 3, 4, 9)), *blocks(net, (2,), batch=5), *blocks(net, (3,), seed=4)]
    for block in taken:
        state, expected = plain.run(state, data, block)
        other, losses = captured.run(other, data, block)
        np.testing.assert_array_equal(losses, expected)
        assert_same(other, state)
    assert not captured.failed
    assert sorted(g.graph.replays for g in captured.graphs.values()) == [2, 20]
    if case == "float16":
        assert int(state["transforms"]["0"]["skipped"]) > 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_captured(name, torch_cpu):
    optimizer = OPTIMIZERS[name](lr=0.05)
    net, step, state, data = prepared("plain", torch_cpu, optimizer)
    _, _, other, _ = prepared("plain", torch_cpu, optimizer)
    captured = CapturedStep(step, torch_cpu, cuda_graphs)
    for block in blocks(net, (2, 3)):
        state, expected = PlainStep(step, torch_cpu).run(state, data, block)
        other, losses = captured.run(other, data, block)
        np.testing.assert_array_equal(losses, expected)
    assert not captured.failed
    assert_same(other, state)


def test_other_data_are_read_where_they_are(torch_cpu):
    net, step, _, data = prepared("plain", torch_cpu, SGD(0.1))
    (block,), captured = blocks(net, (3,)), CapturedStep(step, torch_cpu, cuda_graphs)
    for factor in (1, 2, 3):
        other = data | {"x": data["x"] * factor}
        expected = PlainStep(step, torch_cpu).run(init_state(net, SGD(0.1)), other, block)[1]
        np.testing.assert_array_equal(captured.run(init_state(net, SGD(0.1)), other, block)[1], expected)
    assert len(captured.graphs) == 3


def test_a_graph_keeps_to_the_tf32_of_its_time(torch_cpu, monkeypatch):
    net, step, state, data = prepared("plain", torch_cpu, SGD(0.1))
    (block,), captured = blocks(net, (1,)), CapturedStep(step, torch_cpu, cuda_graphs)
    for on in (False, True, False):
        monkeypatch.setattr(type(torch_cpu), "tf32", property(lambda self, on=on: on))
        state, _ = captured.run(state, data, block)
    assert [graph.graph.replays for graph in captured.graphs.values()] == [1, 2]


def test_arrays_that_were_handed_out_are_the_callers(torch_cpu):
    """A second training with the same step writes into none of the first."""
    net, step, first, data = prepared("plain", torch_cpu, SGD(0.1))
    (block,), captured = blocks(net, (3,)), CapturedStep(step, torch_cpu, cuda_graphs)
    first, _ = captured.run(first, data, block)
    kept = {name: a.clone() for name, a in first["params"].items()}
    captured.run(init_state(net, SGD(0.1)), data, block)
    for name, a in first["params"].items():
        assert torch.equal(a, kept[name])


def test_it_warms_up_on_another_stream_and_captures_there(torch_cpu):
    net, step, state, data = prepared("plain", torch_cpu, SGD(0.1))
    (block,) = blocks(net, (2,))
    CapturedStep(step, torch_cpu, cuda_graphs).run(state, data, block)
    assert cuda_graphs.LOG == [
        "side waits for main",
        "on side",
        "main waits for side",
        "capture on side in pool, thread_local",
    ]


def test_a_block_is_read_once(torch_cpu, monkeypatch):
    net, step, state, data = prepared("plain", torch_cpu, SGD(0.1))
    captured, reads = CapturedStep(step, torch_cpu, cuda_graphs), []
    first, second = blocks(net, (1, 7))
    state, _ = captured.run(state, data, first)
    original = type(torch_cpu).to_host
    monkeypatch.setattr(type(torch_cpu), "to_host", staticmethod(lambda x: reads.append(x.shape) or original(x)))
    captured.run(state, data, second)
    assert reads == [(7,)]


class Peeking(Activation):
    """y = x, after a look at a value."""

    def forward(self, params, x):
        return x * (1.0 if float(x[0, 0]) < 1e9 else 0.0), None

    def gradient(self, residuals, dy):
        return dy


class FromTheHost(Activation):
    """y = 2 x, with an array that comes from the host in each step."""

    def forward(self, params, x):
        return x * namespace(x).asarray([2.0], dtype=x.dtype), None

    def gradient(self, residuals, dy):
        return 2 * dy


@pytest.mark.parametrize(
    ("layer", "why"), [(Peeking(), "a value is read"), (FromTheHost(), "an array comes from the host")]
)
def test_what_cannot_be_captured_runs_as_it_is(layer, why, torch_cpu, monkeypatch):
    monkeypatch.setitem(LAYERS, "own", ([Affine(8, 6), layer, Affine(6, 3)], (8,)))
    net, step, state, data = prepared("own", torch_cpu, SGD(0.1))
    expected = PlainStep(step, torch_cpu)
    other, captured = init_state(net, SGD(0.1)), CapturedStep(step, torch_cpu, cuda_graphs)
    first, second = blocks(net, (2, 3))
    with pytest.warns(CompileWarning, match=f"could not be captured as a CUDA graph, RuntimeError: .*{why}"):
        other, losses = captured.run(other, data, first)
    state, wanted = expected.run(state, data, first)
    np.testing.assert_array_equal(losses, wanted)
    other, losses = captured.run(other, data, second)  # without another warning
    state, wanted = expected.run(state, data, second)
    np.testing.assert_array_equal(losses, wanted)
    assert_same(other, state)


def test_a_step_whose_state_changes_its_shape_is_refused(torch_cpu):
    net, step, state, data = prepared("plain", torch_cpu, SGD(0.1))

    def growing(state, data, rows, draws):
        after, loss = step(state, data, rows, draws)
        return after | {"more": {"a": loss}}, loss

    (block,) = blocks(net, (1,))
    with pytest.warns(CompileWarning, match="other names, shapes or dtypes"):
        CapturedStep(growing, torch_cpu, cuda_graphs).run(state, data, block)


def test_states_that_trade_places_do_so(torch_cpu):
    """What one array becomes may lie where another one lay."""
    state = {"a": torch.tensor([1.0]), "b": torch.tensor([2.0])}
    block = Block(np.zeros((3, 1), "int64"), {})

    def swap(state, data, rows, draws):
        return {"a": state["b"], "b": state["a"]}, state["a"][0] + 0

    state, losses = CapturedStep(swap, torch_cpu, cuda_graphs).run(state, {"x": torch.zeros(1)}, block)
    assert losses.tolist() == [1, 2, 1]
    assert (state["a"].item(), state["b"].item()) == (2, 1)


def test_only_so_many_graphs_are_kept(torch_cpu, monkeypatch):
    monkeypatch.setattr(torch_graph, "MOST_GRAPHS", 2)
    net, step, state, data = prepared("plain", torch_cpu, SGD(0.1))
    captured = CapturedStep(step, torch_cpu, cuda_graphs)
    for batch in (3, 4, 5):
        (block,) = blocks(net, (1,), batch=batch)
        state, _ = captured.run(state, data, block)
    assert len(captured.graphs) == 2


def test_a_training_on_cuda_has_its_steps_captured(torch_cpu, monkeypatch, rng):
    """The whole way from ``Trainer(compile=True)``: two calls of fit, a last minibatch that is smaller, dropout."""
    x, t = torch.from_numpy(rng.normal(size=(20, 8)).astype("float32")), torch.from_numpy(rng.integers(0, 3, 20))
    found, made = [], []

    def compile_captured(self, step):
        made.append(CapturedStep(step, self, cuda_graphs))
        return made[-1]

    for compiles in (False, True):
        if compiles:
            monkeypatch.setattr(type(torch_cpu), "compile", compile_captured)
            monkeypatch.setattr(type(torch_cpu), "compile_function", lambda self, function: function)
        net = Sequential([Affine(8, 6), ReLU(), Dropout(0.3), Affine(6, 3)], seed=0, backend=torch_cpu)
        trainer = Trainer(net, Adam(0.01), batch_size=6, seed=1, compile=compiles)
        history = trainer.fit(x, t, epochs=3, progress=False)
        first = {name: p.clone() for name, p in net.params.items()}
        handed = dict(net.params)
        trainer.fit(x, t, epochs=2, progress=False)
        assert all(torch.equal(handed[name], p) for name, p in first.items())
        found.append((history.losses, net.params))
    assert made
    assert not made[0].failed
    assert found[0][0] == found[1][0]
    for name, p in found[0][1].items():
        assert torch.equal(p, found[1][1][name])


def test_on_cuda_compiling_is_capturing():
    """Which a device that is not there can be asked for."""
    from xpnet.backends.torch import TorchBackend

    backend = object.__new__(TorchBackend)
    backend.device = torch.device("cuda:0")
    assert type(backend.compile(lambda: None)) is CapturedStep
    function = TwoLayerNet.predict
    assert backend.compile_function(function) is function


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_on_a_gpu_captured_steps_are_the_steps():
    backend = get_backend("torch", "cuda")
    for name, optimizer, transforms, options in CASES.values():
        net, step, state, data = prepared(name, backend, optimizer, transforms, **options)
        _, _, other, _ = prepared(name, backend, optimizer, transforms, **options)
        captured = CapturedStep(step, backend)
        for block in blocks(net, (1, 3, 30)):
            state, expected = PlainStep(step, backend).run(state, data, block)
            other, losses = captured.run(other, data, block)
            np.testing.assert_allclose(losses, expected, rtol=1e-4)  # sums into one place have no order there
        assert not captured.failed
