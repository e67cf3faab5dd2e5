"""Compiled steps are the steps: the same losses and parameters to rounding, in blocks of every length."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import SGD, Adam, Momentum, Sequential, Trainer, TwoLayerNet, get_backend, make_step
from xpnet.backends.base import Block, CompiledStep, PlainStep
from xpnet.backends.jax import CAPACITY, DISPATCH_BYTES, steps_a_dispatch
from xpnet.errors import CompileWarning
from xpnet.layers import Affine, Dropout, ReLU, Rescale, Tanh
from xpnet.losses import MeanSquaredError
from xpnet.optimizers import Accumulate, ClipByNorm
from xpnet.schedules import Cosine, ReduceOnPlateau
from xpnet.training import init_state

#: How many steps the blocks have, where JAX takes 4 steps a dispatch: less, as many, one more, and several times.
BLOCKS = (1, 3, 4, 5, 13, 2)
PLATEAU = ReduceOnPlateau(0.01, factor=0.5, patience=0, threshold=0.5)
#: Layers, loss, optimizer, transforms, dtype, tolerance.
CASES = {
    "bytes, sgd": ([Rescale(1 / 255), Affine(8, 6), ReLU(), Affine(6, 3)], None, SGD(0.1), (), "float32", 1e-4),
    "dropout, weights, adam, plateau": (
        [Dropout(0.2), Affine(8, 6), ReLU(), Dropout(0.5), Affine(6, 3)],
        None,
        Adam(PLATEAU, weight_decay=0.01),
        (),
        "float64",
        1e-10,
    ),
    "squares, momentum, cosine, transforms": (
        [Affine(8, 5), Tanh(), Affine(5, 3)],
        MeanSquaredError(),
        Momentum(Cosine(0.1, steps=20), clip_norm=0.5, clip_value=0.4),
        (Accumulate(3), ClipByNorm(0.3)),
        "float64",
        1e-10,
    ),
}


@pytest.fixture
def short_dispatches(monkeypatch):
    monkeypatch.setattr("xpnet.backends.jax.CAPACITY", 4)


def prepared(b, case):
    """The network, the step, a state to start from, and data."""
    layers, loss, optimizer, transforms, dtype, _ = CASES[case]
    net, rng = Sequential(layers, loss, seed=0, dtype=dtype, backend=b), np.random.default_rng(1)
    x = rng.integers(0, 256, (40, 8)).astype("uint8") if "bytes" in case else rng.normal(size=(40, 8)).astype(dtype)
    t = rng.integers(0, 3, 40) if loss is None else rng.normal(size=(40, 3)).astype(dtype)
    data = {"x": b.asarray(x), "t": b.asarray(t)}
    if "weights" in case:
        data["weight"] = b.asarray(rng.random(40).astype(dtype))
    step = make_step(net, optimizer, transforms=transforms)
    return net, step, init_state(net, optimizer, transforms), data


def trained(b, case, compiled):
    """The losses of all blocks, and the arrays of the last state; in the middle, the learning rate comes down."""
    net, written, state, data = prepared(b, case)
    rng, losses, called = np.random.default_rng(2), [], []

    def noted(*arguments):
        called.append(len(losses))  # after how many steps: JAX calls it to write it down
        return written(*arguments)

    step = b.compile(noted) if compiled else PlainStep(noted, b)
    for count in BLOCKS:
        rows, draws = rng.integers(0, 40, (count, 10)), [net.draws(rng, (10, 8)) for _ in range(count)]
        block = Block(rows, {name: np.stack([drawn[name] for drawn in draws]) for name in draws[0]})
        state, found = step.run(state, data, block)
        assert found.shape == (count,)
        losses += found.tolist()
        if "scale" in state["optimizer"]:
            state["optimizer"]["scale"] = b.asarray(np.asarray(0.5), state["optimizer"]["scale"].dtype)
    return step, losses, arrays(b, state), called


def arrays(b, tree, path=""):
    """Every array of a state by its path, as NumPy."""
    found = {}
    for key, value in tree.items():
        found |= arrays(b, value, f"{path}/{key}") if isinstance(value, dict) else {f"{path}/{key}": b.to_numpy(value)}
    return found


@pytest.mark.parametrize("case", CASES)
def test_compiled_and_plain_steps_agree(case, training_backend, short_dispatches):
    b, tolerance = training_backend, CASES[case][-1]
    step, losses, state, called = trained(b, case, compiled=True)
    _, plain, wanted, _ = trained(b, case, compiled=False)
    assert len(losses) == sum(BLOCKS)
    np.testing.assert_allclose(losses, plain, rtol=tolerance)
    assert plain[-1] != plain[0]
    assert state.keys() == wanted.keys()
    for path, array in state.items():
        assert array.dtype == wanted[path].dtype
        np.testing.assert_allclose(array, wanted[path], rtol=tolerance, atol=tolerance, err_msg=path)
    if b.name == "jax":
        assert set(called) == {0}, "blocks of all lengths share a program"
    if b.name == "torch":
        assert not step.failed
        assert len(step.programs) == 1


def test_blocks_change_nothing(training_backend):
    b, found = training_backend, []
    if b.name == "torch":
        pytest.skip("it costs seconds of compilation, and training/test_steps.py has it")
    for blocks in (np.arange(20).reshape(2, 1, 10), np.arange(20).reshape(1, 2, 10)):
        _, step, state, data = prepared(b, "bytes, sgd")
        step, before, losses = b.compile(step), state["params"]["W1"], []
        for rows in blocks:
            state, some = step.run(state, data, Block(rows, {}))
            losses += some.tolist()
        if b.name == "jax":
            assert before.is_deleted(), "the state is consumed"
        found.append((losses, arrays(b, state)))
    assert found[0][0] == found[1][0]
    for path, array in found[0][1].items():
        np.testing.assert_array_equal(array, found[1][1][path], err_msg=path)


def test_there_is_one_kind_of_compiled_step(training_backend):
    """What compile returns has run, and release lets go of the data and keeps what was compiled."""
    b = training_backend
    _, step, state, data = prepared(b, "bytes, sgd")
    compiled, block = b.compile(step), Block(np.arange(20).reshape(2, 10), {})
    if b.name == "torch":
        compiled = PlainStep(step, b)
    assert isinstance(compiled, CompiledStep)
    state, first = compiled.run(state, data, block)
    held = weakref.ref(data["x"]) if b.name == "numpy" else lambda: None
    compiled.release()
    del data
    gc.collect()
    assert held() is None
    _, _, state, data = prepared(b, "bytes, sgd")
    np.testing.assert_array_equal(compiled.run(state, data, block)[1], first)
    if b.name == "numpy":
        assert len(compiled.plans) == 1


def test_a_dispatch_has_room_for_as_many_steps_as_fit():
    rows, mask = np.zeros((7, 100), "int32"), np.zeros((7, 100, 784), "bool")
    assert steps_a_dispatch(Block(rows, {})) == CAPACITY
    few = steps_a_dispatch(Block(rows, {"mask1": mask}))
    assert 1 < few < CAPACITY
    assert few * (rows[0].nbytes + mask[0].nbytes) <= DISPATCH_BYTES
    assert steps_a_dispatch(Block(rows[:1], {"mask1": mask[:1]})) == few, "a short block is padded to the same size"
    assert steps_a_dispatch(Block(rows, {"mask1": np.zeros((1, 1000, 784 * 100), "bool")})) == 1


def transposed(xp, x, y):
    return xp.matmul(xp.matrix_transpose(x), y)


def three_axes(xp, x, y):
    return xp.tensordot(xp.matrix_transpose(x), xp.reshape(y, (40, 3, 1)), axes=1)[..., 0]


def stack(xp, x, y):
    return xp.matmul(xp.matrix_transpose(xp.reshape(x, (2, 20, 12))), xp.reshape(y, (2, 20, 3)))[0, ...]


#: Products of x (40, I) and y (40, O): what is computed, I, O, and whether it is turned for XLA on a CPU.
PRODUCTS = {
    "tall": (transposed, 12, 3, True),
    "less tall": (transposed, 11, 3, False),
    "square": (transposed, 3, 3, False),
    "as narrow as it may be": (transposed, 256, 64, True),
    "not narrow": (transposed, 260, 65, False),
    "wide": (transposed, 3, 12, False),
    "no transpose": (lambda xp, x, y: xp.matmul(x, y[:12, :]), 12, 3, False),
    "of a constant": (lambda xp, x, y: transposed(xp, xp.asarray(np.ones((40, 12)), dtype=y.dtype), y), 12, 3, True),
    "three axes": (three_axes, 12, 3, False),
    "a stack": (stack, 12, 3, False),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", PRODUCTS)
def test_products_are_turned_for_xla_and_stay_the_same(case, dtype):
    """xᵀ y as (yᵀ x)ᵀ, on a CPU, where y is narrow and x is not; NumPy says what the product is."""
    pytest.importorskip("jax", reason="JAX is not installed, so nothing is compiled by it")
    product, n_in, n_out, turned = PRODUCTS[case]
    b, rng, traces = get_backend("jax", "cpu"), np.random.default_rng(3), []

    def step(state, data, rows, draws):
        traces.append(rows.shape)
        w = product(b.xp, *(b.xp.take(data[name], rows, axis=0) for name in "xt"))
        return {"w": state["w"] + w}, b.xp.sum(w)

    x, y = rng.normal(size=(60, n_in)).astype(dtype), rng.normal(size=(60, n_out)).astype(dtype)
    block, compiled = rng.integers(0, 60, (3, 40)), b.compile(step)
    wanted = [product(np, x[rows], y[rows]) for rows in block]
    state, data = {"w": b.asarray(np.zeros_like(wanted[0]))}, {"x": b.asarray(x), "t": b.asarray(y)}
    program = compiled.body.lower(state, data, block[0], {}).as_text()
    assert ("optimization_barrier" in program) == turned
    traces.clear()
    state, losses = compiled.run(state, data, Block(block, {}))
    assert len(traces) <= 1
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    assert b.to_numpy(state["w"]).dtype == dtype
    np.testing.assert_allclose(b.to_numpy(state["w"]), sum(wanted), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(losses, [np.sum(w) for w in wanted], rtol=tolerance, atol=tolerance)


def test_products_are_left_alone_where_there_is_no_cpu(monkeypatch):
    jax = pytest.importorskip("jax", reason="JAX is not installed, so nothing is compiled by it")
    b = get_backend("jax", "cpu")
    monkeypatch.setattr(b, "device", SimpleNamespace(platform="gpu"))
    step = b.compile(lambda state, data, rows, draws: ({"w": transposed(b.xp, **data)}, state["w"][0, 0]))
    x, y, w = (jax.numpy.ones(shape) for shape in ((40, 12), (40, 3), (12, 3)))
    assert "optimization_barrier" not in step.body.lower({"w": w}, {"x": x, "y": y}, np.arange(40), {}).as_text()


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed, so nothing is compiled by it")


def on_blocks(b, blocks, wrap):
    """The losses and the last state."""
    _, step, state, data = prepared(b, "bytes, sgd")
    step, losses = wrap(step), []
    for rows in blocks:
        state, found = step.run(state, data, Block(rows, {}))
        losses += found.tolist()
    return losses, arrays(b, state)


def test_a_compilation_that_fails_is_one_warning(torch, monkeypatch):
    """Training goes on from a state that the failing call has not touched."""

    def compile_badly(graph, **options):
        def program(*arrays):
            arrays[0].zero_()
            raise RuntimeError("no compiler here\nand much more")

        return program

    monkeypatch.setattr(torch, "compile", compile_badly)
    b = get_backend("torch", "cpu")
    blocks = np.arange(20).reshape(2, 10), np.arange(5).reshape(1, 5)
    with pytest.warns(CompileWarning, match="RuntimeError: no compiler here; steps run uncompiled") as caught:
        losses, state = on_blocks(b, blocks, b.compile)
    assert len(caught) == 1
    plain, wanted = on_blocks(b, blocks, lambda step: PlainStep(step, b))
    np.testing.assert_array_equal(losses, plain)
    for path, array in wanted.items():
        np.testing.assert_array_equal(state[path], array, err_msg=path)


def test_a_step_that_changes_its_state_otherwise_is_not_compiled(torch):
    """Another shape in every step would be another program in every step."""

    def step(state, data, rows, draws):
        return {"w": torch.cat([state["w"], data["x"][rows]])}, torch.sum(data["x"][rows])

    b = get_backend("torch", "cpu")
    x, block = torch.arange(4.0), np.arange(4).reshape(2, 2)
    with pytest.warns(CompileWarning, match="other names, shapes or dtypes"):
        state, losses = b.compile(step).run({"w": torch.ones(1)}, {"x": x}, Block(block, {}))
    assert state["w"].tolist() == [1, 0, 1, 2, 3]
    assert losses.tolist() == [1, 5]


def test_what_jax_cannot_trace_runs_as_it_is_after_one_warning():
    pytest.importorskip("jax")

    class Reading(Tanh):
        def forward(self, params, x):
            return super().forward(params, x if float(x[0, 0]) < 1e9 else -x)

    b, rng = get_backend("jax"), np.random.default_rng(0)
    x, t = b.asarray(rng.normal(size=(40, 8)).astype("float32")), b.asarray(rng.integers(0, 3, 40))
    found = []
    for compiled in (True, False, None):
        net = Sequential([Affine(8, 5), Reading(), Affine(5, 3)], seed=0, backend=b)
        trainer = Trainer(net, SGD(0.1), batch_size=10, seed=0, compile=compiled)
        if compiled:
            with pytest.warns(CompileWarning, match="JAX cannot compile the training step") as warned:
                found.append(trainer.fit(x, t, iterations=6, progress=False).losses)
            assert len(warned) == 1
        else:
            found.append(trainer.fit(x, t, iterations=6, progress=False).losses)
    assert found[0] == found[1] == found[2]


def test_programs_of_many_batch_sizes_are_not_kept(monkeypatch):
    pytest.importorskip("jax", reason="JAX is not installed, and it is its programs that are counted")
    monkeypatch.setattr("xpnet.backends.jax.MOST_SIZES", 2)
    net = TwoLayerNet(4, 3, 2, seed=0, backend="jax")
    move, step = net.backend.asarray, net.backend.compile(make_step(net, SGD(0.1)))
    state, data = init_state(net, SGD(0.1)), {"x": move(np.eye(4, dtype="float32")), "t": move(np.arange(4) % 2)}
    for size in (1, 2, 3, 4):
        state, losses = step.run(state, data, Block(np.arange(size)[None, :], {}))
        assert np.isfinite(losses).all()
        assert step.many._cache_size() <= 2
