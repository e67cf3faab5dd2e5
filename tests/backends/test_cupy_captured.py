"""Steps of CuPy as CUDA graphs: they are the steps, to the last bit, and ask the device once a step.

On a GPU the same tests run, but for what the stand-in counts. There a product may be another kernel of cuBLAS than
CuPy's own, which has memory of its own to choose by: then these say by how much they differ.
"""

from __future__ import annotations

import gc
import warnings
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from capturing import assert_same, block_of, compared, graph_of, on_device

from xpnet import Adam, CompileWarning, Sequential, SimpleConvNet, TwoLayerNet, get_backend, make_step, namespace
from xpnet.backends.base import Block, PlainStep
from xpnet.backends.captured import blas
from xpnet.backends.captured import step as captured_step
from xpnet.backends.dispatch import backend_status
from xpnet.layers import (
    Affine,
    AvgPool2d,
    BatchNorm,
    Chain,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    MaxPool2d,
    ReLU,
    Rescale,
    Residual,
    Sigmoid,
    Softmax,
    Tanh,
)
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss
from xpnet.optimizers import OPTIMIZERS, SGD, Accumulate, ClipByNorm, ClipByValue, ScaleGradients, WeightDecay
from xpnet.schedules import Cosine, ReduceOnPlateau
from xpnet.training import init_state

if problem := backend_status("cupy").problem:
    pytest.skip(problem, allow_module_level=True)
cuda = get_backend("cupy").library().cuda
counts = pytest.mark.skipif(not hasattr(cuda, "launches"), reason="CuPy does not count them, the stand-in does")
DEVICES = backend_status("cupy").devices


@pytest.fixture
def b():
    """A backend on the last device; the first is the current one."""
    with cuda.Device(0):
        yield get_backend("cupy", DEVICES[-1])


def samples(shape=(6,), dtype="float32", classes=3):
    rng = np.random.default_rng(1)
    return {"x": rng.normal(size=(64, *shape)).astype(dtype), "t": rng.integers(0, classes, 64)}


def small(b, dtype="float32"):
    return TwoLayerNet(6, 4, 3, seed=0, dtype=dtype, backend=b)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name, b):
    assert_same(b, compared(small(b), OPTIMIZERS[name](lr=0.05), samples())[0])
    optimizer = OPTIMIZERS[name](Cosine(0.05, steps=9, final=0.01), weight_decay=0.01, clip_norm=0.4, clip_value=0.1)
    assert_same(b, compared(small(b, "float64"), optimizer, samples(dtype="float64"))[0])


TRANSFORMS = {
    "clip_value": (ClipByValue(0.1),),
    "clip_norm": (ClipByNorm(0.1),),
    "weight decay": (WeightDecay(1e-2, biases=False),),
    "accumulation": (ScaleGradients(0.5), Accumulate(2)),
}


@pytest.mark.parametrize("transforms", TRANSFORMS.values(), ids=TRANSFORMS)
def test_every_transform(transforms, b):
    assert_same(b, compared(small(b), Adam(ReduceOnPlateau(0.05)), samples(), transforms=transforms)[0])


NETWORKS = {
    "dropout and batch norm": ((6,), lambda: [Affine(6, 5), BatchNorm(5), ReLU(), Dropout(0.3), Affine(5, 3)]),
    "residual and layer norm": (
        (6,),
        lambda: [Affine(6, 6), Residual(Chain(LayerNorm(6), Dropout(0.2), Affine(6, 6))), Affine(6, 3)],
    ),
    "activations": ((6,), lambda: [Affine(6, 5), Tanh(), Affine(5, 5), Sigmoid(), Softmax(), Affine(5, 3)]),
    "convolutions": (
        (2, 8, 8),
        lambda: [Conv2d(2, 3, 3, padding=1), BatchNorm(3), ReLU(), MaxPool2d(2), Flatten(), Affine(48, 3)],
    ),
    "groups and strides": (
        (2, 8, 8),
        lambda: [Conv2d(2, 4, 3, stride=2, padding=1, groups=2), ReLU(), AvgPool2d(2), Flatten(), Affine(16, 3)],
    ),
    "columns of kernels": ((4, 6, 6), lambda: [Conv2d(4, 2, 3, padding=1), ReLU(), Flatten(), Affine(72, 3)]),
    "more parts than CuPy copies": ((1, 7, 11), lambda: [Conv2d(1, 2, (1, 9)), Flatten(), Affine(42, 3)]),
    "deep": ((6,), lambda: [layer for _ in range(6) for layer in (Affine(6, 6), ReLU())] + [Affine(6, 3)]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_layer(kind, dtype, b):
    shape, layers = NETWORKS[kind]
    net = Sequential(layers(), seed=0, dtype=dtype, backend=b)
    assert_same(b, compared(net, Adam(0.05), samples(shape, dtype))[0])


def test_words_bytes_and_the_books_network(b):
    rng, t = np.random.default_rng(1), samples()["t"]
    words = Sequential([Embedding(9, 4), Flatten(), Affine(20, 3)], seed=0, backend=b)
    assert_same(b, compared(words, Adam(0.05), {"x": rng.integers(0, 9, (64, 5)), "t": t})[0])
    numbers = Sequential([Rescale(1 / 255), Affine(6, 3)], seed=0, backend=b)
    assert_same(b, compared(numbers, Adam(0.05), {"x": rng.integers(0, 256, (64, 6)).astype("uint8"), "t": t})[0])
    images = SimpleConvNet((1, 8, 8), {"filter_num": 3, "filter_size": 3}, 6, 3, seed=0, backend=b)
    assert_same(b, compared(images, Adam(0.05), samples((1, 8, 8)))[0])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SigmoidWithLoss(), MeanSquaredError()], ids=repr)
def test_every_loss(loss, weighted, b):
    net, data = small(b), samples()
    net.loss_layer = loss
    data["t"] = np.eye(3, dtype="float32")[data["t"]]
    data |= {"weight": np.random.default_rng(2).random(64).astype("float32")} if weighted else {}
    assert_same(b, compared(net, Adam(0.05), data)[0])


def test_sums_and_products_in_half_precision(b):
    """With weights in single, as mixed precision has it, and a loss that is scaled."""

    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        x = xp.astype(xp.take(data["x"], rows, axis=0), xp.float16)
        w = xp.astype(state["w"], xp.float16)
        y = xp.tanh(xp.matmul(x, w) + xp.astype(state["b"], xp.float16)) * 0.1
        dy = xp.where(y > 0.05, y * 2, 0.25) * 64
        state["w"] -= 0.1 * xp.astype(xp.matmul(xp.matrix_transpose(x), dy), xp.float32) / 64
        state["b"] -= 0.1 * xp.sum(xp.astype(dy, xp.float32), axis=0) / 64
        return state, xp.mean(xp.astype(y, xp.float32) ** 2)

    rng = np.random.default_rng(0)
    data = on_device(b, {"x": rng.normal(size=(20, 6)).astype("float32")})
    states = [{"w": np.full((6, 4), 0.1, "float32"), "b": np.zeros(4, "float32")} for _ in range(2)]
    block, captured = Block(rng.integers(0, 20, (5, 8)), {}), b.compile(step)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        found = [
            each.run(on_device(b, state), data, block)
            for each, state in zip((PlainStep(step, b), captured), states, strict=True)
        ]
    assert_same(b, found)


@counts
def test_a_step_is_one_launch_and_a_block_one_upload_and_one_wait(b):
    for optimizer in (SGD(0.1), Adam(0.1)):
        found, captured = compared(small(b), optimizer, samples())
        nodes = [name for name, *_ in graph_of(captured).nodes]
        kinds = {name: nodes.count(name) for name in dict.fromkeys(nodes)}
        # the minibatch and its labels by rows of a block, five products, kernels, and the loss to its place
        assert kinds == {"take": 3, "gemm": 5, "kernel": 11, "max": 1, "sum": 4, "scatter": 1}, optimizer
        state, data = found[1][0], on_device(b, samples())
        captured.run(state, data, Block(np.zeros((5, 8), int), {}))  # captured for these arrays
        cuda.waits.clear()
        cuda.launches.clear()
        captured.run(state, data, Block(np.zeros((7, 8), int), {}))
        assert cuda.waits == {"get": 1}
        # the rows are moved, the counter is set to 0
        assert cuda.launches == {"upload": 1, "copy": 2, "graph": 7}


@counts
def test_eager_steps_take_more_launches(b):
    net, optimizer = small(b), Adam(0.1)
    step, state, data = make_step(net, optimizer), init_state(net, optimizer), on_device(b, samples())
    cuda.launches.clear()
    PlainStep(step, b).run(state, data, Block(np.zeros((1, 8), int), {}))
    assert 90 < cuda.launches.total() < 100


@counts
def test_draws_of_a_block_are_moved_together(b):
    net, optimizer = Sequential([Dropout(0.2), Affine(6, 3)], seed=0, backend=b), SGD(0.1)
    step, state, data = b.compile(make_step(net, optimizer)), init_state(net, optimizer), on_device(b, samples())
    for steps in (1, 5):
        block = block_of(net, (6,), np.random.default_rng(0), samples=64, steps=steps)
        cuda.launches.clear()
        cuda.waits.clear()
        step.run(state, data, block)
    assert cuda.waits == {"get": 1}
    assert cuda.launches == {"upload": 2, "copy": 3, "graph": 5}


def test_blocks_that_are_too_long_go_in_parts(b, monkeypatch):
    monkeypatch.setattr(captured_step, "STEPS", 4)
    net = Sequential([Dropout(0.2), Affine(6, 3)], seed=0, backend=b)
    for steps in (3, 4, 5, 9):
        assert_same(b, compared(net, Adam(0.1), samples(), steps=steps)[0])
    monkeypatch.setattr(captured_step, "DRAW_BYTES", 8 * (6 + 8) * 4)  # of two steps
    assert_same(b, compared(net, Adam(0.1), samples(), steps=5)[0])


def test_blocks_of_one_step_after_the_other(b):
    """The counter starts again; the state is where it was."""
    net, optimizer, rng = small(b), Adam(0.1), np.random.default_rng(0)
    step, data = make_step(net, optimizer), on_device(b, samples())
    captured, states = b.compile(step), [init_state(net, optimizer) for _ in range(2)]
    for steps in (1, 3, 2, 5):
        block = Block(rng.integers(0, 64, (steps, 8)), {})
        found = [PlainStep(step, b).run(states[0], data, block), captured.run(states[1], data, block)]
        assert_same(b, found)
        states = [state for state, _ in found]


def test_what_a_user_computes_on_a_stream_of_his_own(b):
    with b.current(), cuda.Stream(non_blocking=True):
        assert_same(b, compared(small(b), Adam(0.1), samples())[0])


@counts
def test_products_are_as_exact_as_cupys(b, monkeypatch):
    """What is chosen after a step was captured counts as well: it is captured anew."""
    chosen, asked = SimpleNamespace(get_compute_type=lambda dtype: 7 if dtype == np.float32 else 1), []
    net, data = small(b), on_device(b, samples())
    step, state = b.compile(make_step(net, SGD(0.1))), init_state(net, SGD(0.1))
    step.run(state, data, Block(np.zeros((2, 8), int), {}))
    usual = blas.cublas().cublasGemmEx
    monkeypatch.setattr(blas.cublas(), "cublasGemmEx", lambda *args: asked.append(args[-2]) or usual(*args))
    monkeypatch.setattr(b.library(), "_core", chosen, raising=False)
    for _ in range(2):
        step.run(state, data, Block(np.zeros((2, 8), int), {}))
    assert asked == [77] * 5, "CUBLAS_COMPUTE_32F_FAST_TF32"


def test_rows_that_wrap_around_do_so_in_a_graph(b):
    net, optimizer = small(b), SGD(0.1)
    step, data = make_step(net, optimizer), on_device(b, samples())
    block = Block(np.asarray([[-1, 64, 0], [3, -64, 65]]), {})
    found = [each.run(init_state(net, optimizer), data, block) for each in (PlainStep(step, b), b.compile(step))]
    assert_same(b, found)


@dataclass(frozen=True)
class Cumulative(Layer):
    """A layer of a function that takes memory for what it returns."""

    def forward(self, params, x):
        return namespace(x).cumulative_sum(x, axis=1), None

    def backward(self, params, residuals, dy):
        xp = namespace(dy)
        return xp.flip(xp.cumulative_sum(xp.flip(dy, axis=1), axis=1), axis=1), {}

    def output_shape(self, shape):
        return shape


def test_memory_of_functions_is_kept_as_long_as_the_graph(b):
    """A pool gives all that is free to the device when that has none left, whatever a graph computes in."""
    net, data = Sequential([Affine(6, 4), Cumulative(), Affine(4, 3)], seed=0, backend=b), on_device(b, samples())
    step, block = make_step(net, SGD(0.1)), Block(np.arange(16).reshape(2, 8), {})
    captured, states = b.compile(step), [init_state(net, SGD(0.1)) for _ in range(2)]
    for _ in range(2):
        found = [PlainStep(step, b).run(states[0], data, block), captured.run(states[1], data, block)]
        assert_same(b, found)
        states = [state for state, _ in found]
        gc.collect()
        with b.current():
            captured.place.pool.free_all_blocks()
    assert graph_of(captured)


@counts
def test_who_interrupts_a_block_waits_for_what_was_launched(b, monkeypatch):
    """Memory that nobody needs any more, and the state, may be used by others at once."""
    net, data = small(b), on_device(b, samples())
    captured, state = b.compile(make_step(net, SGD(0.1))), init_state(net, SGD(0.1))
    block = Block(np.zeros((3, 8), int), {})
    captured.run(state, data, block)
    launch, launched = cuda.Graph.launch, []

    def interrupted(graph, stream=None):
        if launched:
            raise KeyboardInterrupt
        launched.append(launch(graph, stream))

    monkeypatch.setattr(cuda.Graph, "launch", interrupted)
    cuda.waits.clear()
    with pytest.raises(KeyboardInterrupt):
        captured.run(state, data, block)
    assert cuda.waits == {"synchronize": 1}
