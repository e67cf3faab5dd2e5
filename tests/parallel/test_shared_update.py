"""Updates that processes share out are those of one process: on threads that stand for processes."""

from dataclasses import dataclass

import numpy as np
import pytest
from ranks import all_well, on_ranks

from xpnet import SGD, Adam, Sequential, Trainer
from xpnet.layers import Affine, BatchNorm, Conv2d, Dropout, Flatten, ReLU
from xpnet.optimizers import OPTIMIZERS, Accumulate, ClipByNorm, ClipByValue, Momentum, ScaleGradients, WeightDecay
from xpnet.parallel import pieces
from xpnet.schedules import Cosine, ReduceOnPlateau
from xpnet.training import Every, same, shared_update
from xpnet.training.shared_update import SharedUpdate, shares_update

RNG = np.random.default_rng(3)
X, T = RNG.normal(size=(60, 6)), RNG.integers(0, 3, 60)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Small arrays are cut as large ones are, and no process gets its weights from another at the end."""

    def broadcast(training):
        raise AssertionError("the processes ended with other states")

    monkeypatch.setattr(pieces, "APIECE", 0)
    monkeypatch.setattr(shared_update, "BLOCK", 20)
    monkeypatch.setattr(same, "broadcast", broadcast)


def trained(parallel, optimizer, parts=None, x=X, iterations=7, dtype="float64", evaluate="end", **options):
    net = Sequential(parts or [Affine(6, 8), ReLU(), Affine(8, 3)], seed=1, dtype=dtype, backend="numpy")
    trainer = Trainer(net, optimizer, batch_size=10, seed=2, parallel=parallel, **options)
    trainer.fit(x.astype(dtype), T, iterations=iterations, evaluate=evaluate, progress=False)
    return trainer


def leaves(tree, path=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}/{name}")
        else:
            yield f"{path}/{name}", value


def check(optimizer, size=3, shared=True, **case):
    """The whole state of all ranks is the same to the bit, and that of one process to rounding."""

    def one(parallel):
        trainer = trained(parallel, optimizer, **case)
        assert shares_update(trainer.net, optimizer, trainer.transforms, parallel) == shared
        return trainer

    ones, alone = all_well(on_ranks(size, one)), trained(None, optimizer, **case)
    expected = dict(leaves(alone.compose()))
    for trainer in ones:
        np.testing.assert_allclose(trainer.history.losses, alone.history.losses, rtol=1e-12)
        found, first = dict(leaves(trainer.compose())), dict(leaves(ones[0].compose()))
        assert found.keys() == expected.keys()
        for name, array in found.items():
            assert array.tobytes() == first[name].tobytes(), name
            assert (array.shape, array.dtype) == (expected[name].shape, expected[name].dtype)
            np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_every_optimizer_is_whole_after_a_block(name):
    for compiles in (True, False):
        check(OPTIMIZERS[name](), compile=compiles)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_rule_goes_by_entries(name):
    """Parts of weights by themselves become what they become in the whole."""
    optimizer, w = OPTIMIZERS[name](weight_decay=0.1), RNG.normal(size=40)
    whole, halves = {"W": w.copy()}, {"a": w[:23].copy(), "b": w[23:].copy()}
    states = [optimizer.init(whole), optimizer.init(halves)]
    for _ in range(3):
        g = RNG.normal(size=40)
        whole, states[0] = optimizer.step(whole, {"W": g}, states[0])
        halves, states[1] = optimizer.step(halves, {"a": g[:23], "b": g[23:]}, states[1])
    np.testing.assert_allclose(np.concatenate([halves["a"], halves["b"]]), whole["W"], rtol=1e-13)


CASES = {
    "two": {"optimizer": Adam(), "size": 2},
    "five": {"optimizer": Adam(), "size": 5},
    "more processes than entries of an array": {"optimizer": Momentum(0.1), "size": 7, "parts": [Affine(6, 3)]},
    "coupled decay": {"optimizer": Adam(weight_decay=0.1, decay_biases=False, clip_value=0.05)},
    "decoupled decay": {"optimizer": Adam(weight_decay=0.1, decay_biases=False, decoupled=True)},
    "a schedule": {"optimizer": Adam(Cosine(0.01, steps=7, final=1e-4))},
    "transforms": {
        "optimizer": SGD(0.1),
        "transforms": (ScaleGradients(2.0), ClipByValue(0.1), WeightDecay(0.05, biases=False)),
    },
    "buffers and draws": {
        "optimizer": Momentum(0.1),
        "parts": [Affine(6, 8), BatchNorm(8), ReLU(), Dropout(0.3), Affine(8, 3)],
    },
    "gradients that do not lie row after row": {
        "optimizer": Momentum(0.1),
        "parts": [Conv2d(1, 2, 3), ReLU(), Flatten(), Affine(2 * 16, 3)],
        "x": RNG.normal(size=(60, 1, 6, 6)),
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_shared_out(case):
    check(**case)


@dataclass(frozen=True, repr=False)
class Normalized(SGD):
    """A rule of the user's own, which needs the whole gradient of a weight."""

    def rule(self, w, g, slots, lr, shared):
        w -= lr * g / np.linalg.norm(g)
        return w


@pytest.mark.parametrize(
    "case",
    [
        {"optimizer": Adam(clip_norm=0.1)},
        {"optimizer": SGD(0.1), "transforms": (ClipByNorm(0.1),)},
        {"optimizer": Adam(), "transforms": (Accumulate(2),)},
        {"optimizer": Normalized(0.1), "compile": False},
    ],
    ids=["clip_norm", "ClipByNorm", "Accumulate", "own"],
)
def test_what_needs_whole_gradients_is_updated_by_all(case):
    check(shared=False, **case)


def test_a_rate_that_watches_the_history():
    """Its factor is a number of the whole state, which no process has a part of."""
    case = {"iterations": 30, "evaluate": Every(steps=5)}

    def one(parallel):
        return trained(parallel, Adam(ReduceOnPlateau(0.1, patience=0, threshold=0.9)), **case)

    ones, alone = all_well(on_ranks(2, one)), one(None)
    assert alone.scale < 1
    for trainer in ones:
        assert trainer.scale == alone.scale
        np.testing.assert_allclose(trainer.net.params["W1"], alone.net.params["W1"], rtol=1e-9)


def test_a_checkpoint_is_gone_on_with_by_one_process(tmp_path):
    all_well(on_ranks(3, lambda parallel: trained(parallel, Adam()).save(tmp_path / "file")))
    trainer, alone = Trainer.load(tmp_path / "file"), trained(None, Adam(), iterations=12)
    trainer.fit(X, T, iterations=5, evaluate="end", progress=False)
    for (name, a), (_, b) in zip(leaves(trainer.compose()), leaves(alone.compose()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=name)


def test_weights_of_two_dtypes_and_gradients_in_any_order():
    """What a network of one dtype does not have, a step of one's own may."""
    shapes = {"W1": (7, 5), "b1": (5,), "W2": (5, 4), "empty": (0, 3)}
    start = {
        name: RNG.normal(size=shape).astype("float32" if "2" in name else "float64") for name, shape in shapes.items()
    }
    grads = {name: RNG.normal(size=shape) for name, shape in shapes.items()}
    expected, _ = Adam().step({n: w.copy() for n, w in start.items()}, grads, Adam().init(start))

    def one(parallel):
        own = {n: np.asfortranarray(g * (parallel.rank + 1) / 6) for n, g in grads.items()}  # 6 = 1 + 2 + 3
        params = {n: w.copy() for n, w in start.items()}
        return SharedUpdate(Adam(), (), parallel).step(params, own, Adam().init(params))[0]

    for params in all_well(on_ranks(3, one)):
        for name, w in params.items():
            assert w.dtype == start[name].dtype
            np.testing.assert_allclose(w, expected[name], rtol=1e-6 if w.dtype == "float32" else 1e-12)


def test_weights_that_are_locked_or_lie_otherwise():
    def one(parallel):
        net = Sequential([Affine(6, 8), ReLU(), Affine(8, 3)], seed=1, dtype="float64", backend="numpy")
        net.params = {name: np.asfortranarray(w) for name, w in net.params.items()}
        for w in net.params.values():
            w.flags.writeable = False
        trainer = Trainer(net, SGD(0.1), batch_size=10, seed=2, parallel=parallel)
        trainer.fit(X, T, iterations=5, evaluate="never", progress=False)
        return trainer

    alone = one(None)
    for trainer in all_well(on_ranks(2, one)):
        for name, w in trainer.net.params.items():
            np.testing.assert_allclose(w, alone.net.params[name], rtol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [{"b": np.ones(4)}, {"W": np.ones((5, 4))}, {"b": np.ones((5, 1))}, {"b": 1.0}, {"c": np.ones(5)}],
    ids=["short", "turned", "column", "number", "unknown"],
)
def test_gradients_that_do_not_fit(wrong):
    """What one process refuses, several do: laid end to end, gradients of any shapes would be taken."""

    def refused(parallel=None):
        params = {"W": np.ones((4, 5)), "b": np.ones(5)}
        rule = Adam() if parallel is None else SharedUpdate(Adam(), (), parallel)
        grads = {"W": np.ones((4, 5)), "b": np.ones(5)} | wrong
        with pytest.raises(ValueError, match="gradient of") as caught:
            rule.step(params, grads, rule.init(params))
        return str(caught.value)

    assert all_well(on_ranks(2, refused)) == [refused()] * 2


@pytest.mark.parametrize("optimizer", [Adam(), OPTIMIZERS["nadam"]()], ids=["adam", "nadam"])
def test_a_weight_without_a_gradient(optimizer):
    """It stays as it is, and so does what is remembered of it."""
    start = {"W": RNG.normal(size=(4, 5)), "b": RNG.normal(size=30), "c": RNG.normal(size=7)}
    grads = {name: RNG.normal(size=start[name].shape) for name in ("W", "c")}

    def one(parallel=None):
        params, size = {name: w.copy() for name, w in start.items()}, 1 if parallel is None else parallel.size
        rule = optimizer if parallel is None else SharedUpdate(optimizer, (), parallel)
        own = {name: g / size for name, g in grads.items()}
        return rule.step(params, own, rule.init(params))

    params, state = one()
    for found, remembered in all_well(on_ranks(3, one)):
        for name, w in found.items():
            np.testing.assert_allclose(w, params[name], rtol=1e-12)
        for slot, x in remembered["slots"]["b"].items():
            np.testing.assert_array_equal(x, state["slots"]["b"][slot])
