"""What a sweep is told, and what it answers: settings, errors, results, tables."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import signal

import numpy as np
import pytest
from sweeping import assert_as_single

from xpnet import SGD, Adam, Momentum, MultiLayerNet, Sequential, Trainer, TwoLayerNet, layers, losses, sweep
from xpnet.layers import Affine, Layer, ReLU
from xpnet.schedules import Cosine, ReduceOnPlateau
from xpnet.stacked import StackError
from xpnet.sweeping import SweepError, course, together
from xpnet.training import loop


def trainer(lr=0.1, seed=0, hidden=5, momentum=None, **options):
    optimizer = SGD(lr) if momentum is None else Momentum(lr, momentum)
    return Trainer(TwoLayerNet(4, hidden, 3, 0.5, seed=seed, backend="numpy"), optimizer, **{"seed": 0} | options)


@pytest.fixture
def data(rng):
    return rng.normal(size=(200, 4)).astype("float32"), rng.integers(0, 3, 200)


def run(settings, data, make=trainer, **options):
    return sweep(make, settings, *data, **{"iterations": 3, "progress": False} | options)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"lr": [0.1, 0.2], "seed": [1]}, ValueError, "different lengths .lr has 2, seed has 1."),
        ({}, ValueError, "settings is empty"),
        ({"lr": []}, ValueError, "lr is empty, so that there is no network"),
        ({"lr": 0.1}, TypeError, r"settings\['lr'\] is 0.1, expected a list"),
        ({"lr": "0.1"}, TypeError, r"settings\['lr'\] is '0.1', expected a list"),
        ([0.1], TypeError, "settings is of type list, expected lists by name"),
        ({"momemtum": [0.9]}, TypeError, "'momemtum'; did you mean 'momentum'"),
        ({"lr": [0.1, "fast"]}, ValueError, "the learning rate is 'fast'"),
        ({"lr": [0.1, -1.0]}, ValueError, "the learning rate is -1.0"),
        ({"lr": [0.1, math.nan]}, ValueError, "the learning rate is nan"),
    ],
)
def test_settings_that_do_not_fit(settings, error, message, data):
    with pytest.raises(error, match=message):
        run(settings if settings else {}, data, make=lambda lr=0.1, seed=0, momentum=0.5: trainer(lr, seed))


def test_an_error_of_make_says_which_network():
    with pytest.raises(ValueError, match="the learning rate") as caught:
        run({"lr": [0.1, 0.0]}, ([[0.0]], [0]))
    assert caught.value.__notes__ == ["in network 1 of the sweep: {'lr': 0.0}"]


def test_lists_of_all_combinations_are_made_as_the_error_says(data):
    lr, seed = [0.1, 0.2], [0, 1, 2]
    with pytest.raises(ValueError, match="combinations are ") as caught:
        run({"lr": lr, "seed": seed}, data)
    names = {"itertools": itertools, "lr": lr, "seed": seed}
    exec(str(caught.value).partition("combinations are ")[2], names)
    found = run({"lr": names["lr"], "seed": names["seed"]}, data)
    assert [tuple(trial.settings.values()) for trial in found] == [(a, b) for a in lr for b in seed]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (SGD(0.1), TypeError, "make is of type SGD, expected a function"),
        (lambda lr: SGD(lr), TypeError, r"what make\(lr=0.1\) returned is of type SGD, expected"),
        (lambda lr, it=trainer(): it, ValueError, "make returned one trainer for networks 0 and 1"),  # noqa: B008
        (
            lambda lr, net=TwoLayerNet(4, 5, 3): Trainer(net, SGD(lr)),  # noqa: B008
            ValueError,
            "trainers of one network for networks 0 and 1",
        ),
        (
            lambda lr, rng=np.random.default_rng(0): trainer(lr) and Trainer(TwoLayerNet(4, 5, 3), SGD(lr), seed=rng),  # noqa: B008
            ValueError,
            "draw from one random generator",
        ),
    ],
)
def test_what_make_returns(make, error, message, data):
    with pytest.raises(error, match=message):
        run({"lr": [0.1, 0.2]}, data, make=make)


def test_a_trained_trainer_is_refused(data):
    def make(lr):
        made = trainer(lr)
        made.fit(*data, iterations=1, progress=False)
        return made

    with pytest.raises(ValueError, match="a trainer of 1 iterations; expected a new one"):
        run({"lr": [0.1]}, data, make=make)


class Sorted(Layer):
    """A layer that asks what is not computed for several networks."""

    def forward(self, params, x):
        from xpnet import namespace

        return namespace(x).sort(x), None

    def backward(self, params, residuals, dy):
        return dy, {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: trainer(hidden=5 + n), r"net.Affine1.n_out is 5 in network 0 and 6 in network 1"),
        (lambda n: trainer(batch_size=10 + n), "differ in batch_size or sampling"),
        (lambda n: trainer(momentum=[None, 0.9][n]), "optimizer is SGD.* in network 0 and Momentum"),
        (lambda n: Trainer(MultiLayerNet(4, [5] * (n + 1), 3), SGD(0.1), seed=0), "net is Chain"),
        (
            lambda n: Trainer(TwoLayerNet(4, 5, 3, dtype=["float32", "float64"][n]), SGD(0.1), seed=0),
            "dtype is 'float32' in network 0 and 'float64' in network 1",
        ),
        (
            lambda n: Trainer(Sequential([Affine(4, 3)], [None, losses.SigmoidWithLoss()][n]), SGD(0.1), seed=0),
            "loss is Soft",
        ),
        (
            lambda n: Trainer(TwoLayerNet(4, 5, 3), SGD(ReduceOnPlateau(0.1)), seed=0),
            "ReduceOnPlateau .* give another, Cosine for example",
        ),
    ],
)
def test_networks_that_have_no_step_in_common_are_trained_one_by_one_if_asked(make, message, rng):
    x, t = rng.normal(size=(100, 4)), rng.integers(0, 3, 100)
    t = np.eye(3)[t] if "loss" in message else t
    x = np.asarray(x, "float32")
    with pytest.raises(StackError, match=message) as caught:
        run({"n": [0, 1]}, (x, t), make=make)
    assert "one_by_one=True" in str(caught.value)


def test_one_by_one(data):
    settings = {"hidden": [3, 6], "lr": [0.1, 0.2]}
    result = run(settings, data, one_by_one=True)
    for trial in result:
        alone = trainer(**trial.settings)
        alone.fit(*data, iterations=3, progress=False)
        np.testing.assert_array_equal(trial.network.params["W1"], alone.net.params["W1"])


def test_a_layer_that_cannot_be_stacked_is_named(data):
    def make(lr):
        return Trainer(Sequential([Affine(4, 6), Sorted(), Affine(6, 3)], seed=0), SGD(lr), seed=0)

    with pytest.raises(StackError, match=r"sort\(\) is not computed for several networks") as caught:
        run({"lr": [0.1, 0.2]}, data, make=make)
    assert "in layer Sorted1" in caught.value.__notes__


def test_embeddings(rng):
    def make(lr):
        net = Sequential([layers.Embedding(5, 4), layers.Flatten(), Affine(8, 3)], seed=0, dtype="float64")
        return Trainer(net, SGD(lr), batch_size=10, seed=0)

    assert_as_single(make, {"lr": [0.1, 0.2]}, rng.integers(0, 5, (30, 2)), rng.integers(0, 3, 30), epochs=2)


def test_a_layer_of_ones_own_is_trained_together(data):
    class Square(Layer):
        def forward(self, params, x):
            return x * x, x

        def backward(self, params, x, dy):
            return 2 * x * dy, {}

    def make(lr):
        return Trainer(Sequential([Affine(4, 6), Square(), ReLU(), Affine(6, 3)], seed=0), Adam(lr), seed=0)

    both = [run({"lr": [0.01, 0.02]}, data, make=make, one_by_one=alone) for alone in (False, True)]
    for a, b in zip(*both, strict=True):
        np.testing.assert_allclose(a.network.params["W1"], b.network.params["W1"], rtol=1e-5, atol=1e-6)


def test_data_that_does_not_fit_is_refused_as_fit_refuses_it(data):
    x, t = data
    with pytest.raises(ValueError, match=r"shape \(5,\) does not fit"):
        run({"lr": [0.1]}, (np.zeros((200, 5), "float32"), t))
    with pytest.raises(ValueError, match="give one of them"):
        run({"lr": [0.1]}, data, epochs=1)
    with pytest.raises(ValueError, match="batch_size is 100"):
        run({"lr": [0.1]}, (x[:50], t[:50]))


def test_memory_is_told_where_there_is_not_enough(data, monkeypatch):
    from xpnet.sweeping import course

    def full(*_):
        raise MemoryError("Unable to allocate 3.00 TiB")

    monkeypatch.setattr(course.Stack, "run", full)
    with pytest.raises(MemoryError, match=r"for 2 networks together: about 0 MB .*one_by_one=True.*3\.00 TiB"):
        run({"lr": [0.1, 0.2]}, data)


def test_results(data, tmp_path):
    settings = {"lr": np.asarray([1e-4, 0.5, 1e-3]), "seed": (2, 0, 1)}
    result = run(settings, data, validation=data, epochs=4, iterations=None)
    assert [len(result), result[-1].number, [trial.number for trial in result]] == [3, 2, [0, 1, 2]]
    best = result.best
    assert (best.number, best.settings, result.criterion) == (1, {"lr": 0.5, "seed": 0}, "validation_accuracy")
    assert type(best.settings["lr"]) is float
    assert best.network.accuracy(*data) == best.last.validation_accuracy == best.history.evaluations[-1].train_accuracy
    lines = result.table().splitlines()
    assert lines[0].split()[:3] == ["network", "lr", "seed"]
    assert lines[2].split()[:3] == ["1", "0.5", "0"]
    assert len(result.table(2).splitlines()) == 4
    assert repr(result).startswith("Sweep(3 networks in ")
    assert "best Trial(1: lr=0.5, seed=0; loss: train" in repr(result)
    assert len(repr(result)) < 250
    assert result._repr_html_().count("<tr>") == 4
    result.save(tmp_path / "sweep.json")
    found = json.loads((tmp_path / "sweep.json").read_text())
    assert (found["best"], found["criterion"], len(found["trials"])) == (1, "validation_accuracy", 3)
    assert found["trials"][1]["settings"] == {"lr": 0.5, "seed": 0}
    assert len(found["trials"][0]["history"]["losses"]) == 8
    assert json.loads(result.to_json()) == found


def test_the_best_without_validation_and_without_classes(rng):
    x, t = rng.normal(size=(100, 4)), rng.normal(size=(100, 2))

    def make(lr):
        net = Sequential([Affine(4, 2)], losses.MeanSquaredError(), seed=0, dtype="float64")
        return Trainer(net, SGD(lr), batch_size=50, seed=0)

    result = sweep(make, {"lr": [1e-5, 0.1, 1e9]}, x, t, epochs=60, progress=False)
    assert (result.criterion, result.best.number) == ("train_loss", 1)
    assert [trial.number for trial in result.ranked] == [1, 0, 2]
    assert result[2].diverged is not None
    assert f"diverged at iteration {result[2].diverged}" in repr(result[2])
    assert "diverged" in result.table().splitlines()[0]


def test_progress(data, capsys):
    result = sweep(trainer, {"lr": [0.1, 0.2]}, *data, iterations=2)
    assert len(result) == 2
    assert capsys.readouterr().out == ""


def test_layers_that_look_at_a_number_take_one_for_each_network_or_say_why_not(data):
    def make(scale):
        net = Sequential([layers.Rescale(scale), Affine(4, 3)], weight_init=0.5, seed=0, dtype="float64")
        return Trainer(net, SGD(0.1), batch_size=50, seed=0)

    data = data[0].astype("float64"), data[1]
    assert_as_single(make, {"scale": [1.0, 1 / 2, 1 / 4]}, *data, epochs=2)
    with pytest.raises(ValueError, match="a decision depends on a number that differs between networks: 1, "):
        run({"scale": [1.0, 2.5]}, data, make=make)


def test_what_was_evaluated_before_is_not_evaluated_again(data):
    def make(lr):
        made = trainer(lr)
        made.evaluate(*data)
        return made

    for one_by_one in (False, True):
        result = run({"lr": [0.1, 0.2]}, data, make=make, one_by_one=one_by_one)
        assert [evaluation.iteration for evaluation in result[1].history.evaluations] == [0, 2, 3]


def test_a_learning_rate_that_has_come_down_to_0_is_told_once(data):
    with pytest.warns(UserWarning, match="come down to 0 before iteration 9") as caught:
        run({"lr": [0.1, 0.2]}, data, make=lambda lr: trainer(Cosine(lr, steps=5)), iterations=9)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.fixture
def interrupt(monkeypatch, ctrl_c):
    """Ctrl-C comes within the third block of steps of a class."""

    def prepared(owner):
        take, blocks = owner.take, itertools.count(1)

        def taken(self, most):
            take(self, most)
            if next(blocks) == 3:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(owner, "take", taken)

    return prepared


def test_what_was_trained_until_ctrl_c_is_kept(data, interrupt):
    interrupt(course.Course)
    with pytest.raises(KeyboardInterrupt, match="result has what there is: Sweep") as caught:
        run({"lr": [0.1, 0.2]}, data, iterations=10_000)
    result = pickle.loads(pickle.dumps(caught.value)).result
    assert [trial.settings for trial in result] == [{"lr": 0.1}, {"lr": 0.2}]
    taken = result.best.trainer.iteration
    assert 3 <= taken < 10_000
    for trial in result:
        single = trainer(**trial.settings)
        single.fit(*data, iterations=taken, progress=False)
        assert trial.last.iteration == trial.history.iterations == taken
        np.testing.assert_allclose(trial.network.params["W1"], single.net.params["W1"], rtol=1e-4, atol=1e-5)


def test_ctrl_c_keeps_those_that_were_begun_one_by_one(data, interrupt):
    interrupt(loop.Loop)
    with pytest.raises(KeyboardInterrupt) as caught:
        run({"lr": [0.1, 0.2, 0.3]}, data, iterations=2, one_by_one=True)  # of two blocks
    result = caught.value.result
    assert [(trial.number, trial.trainer.iteration, trial.last.iteration) for trial in result] == [(0, 2, 2), (1, 1, 1)]


def test_ctrl_c_before_there_is_anything_is_a_plain_one(data, monkeypatch, ctrl_c):
    def fail(self):
        raise KeyboardInterrupt  # as a second Ctrl-C does

    monkeypatch.setattr(course.Course, "evaluate", fail)
    with pytest.raises(KeyboardInterrupt) as caught:
        run({"lr": [0.1, 0.2]}, data)
    assert not hasattr(caught.value, "result")


def assert_as_alone(result, data):
    """Each network is where its own training would be after as many steps."""
    for trial in result:
        single = trainer(**trial.settings)
        single.fit(*data, iterations=trial.trainer.iteration, progress=False)
        assert trial.last.iteration == trial.history.iterations == trial.trainer.iteration
        np.testing.assert_allclose(trial.network.params["W1"], single.net.params["W1"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("networks", [2, 5])  # on two cores, in two stacks
def test_what_was_trained_until_an_error_is_kept(networks, data, monkeypatch):
    steps, blocks = together.Stack.run, itertools.count(1)

    def fail(stack, block):
        losses = steps(stack, block)  # which changes the state
        if next(blocks) == 7:
            raise OSError(28, "no space left on device")
        return losses

    monkeypatch.setattr(together.Stack, "run", fail)
    rates = np.linspace(0.1, 0.5, networks)
    with pytest.raises(SweepError, match=r"OSError ended the sweep at iteration \d+ of all .*no space left") as caught:
        run({"lr": rates}, data, iterations=10_000)
    assert isinstance(caught.value.__cause__, OSError)
    result = pickle.loads(pickle.dumps(caught.value)).result
    assert [trial.settings["lr"] for trial in result] == rates.tolist()
    assert len({trial.trainer.iteration for trial in result}) == 1
    assert result.best.trainer.iteration > 0
    assert_as_alone(result, data)


def test_an_error_before_the_first_step_is_itself(data, monkeypatch):
    def fail(*_):
        raise OSError("lost")

    monkeypatch.setattr(together.Stack, "run", fail)
    with pytest.raises(OSError, match=r"^lost$"):
        run({"lr": [0.1, 0.2]}, data)


def test_networks_that_were_done_before_an_error_are_kept(data):
    class Odd(SGD):
        def step(self, params, grads, state):
            raise RuntimeError("a mistake")

    def make(lr):
        made = trainer(lr)
        return Trainer(made.net, Odd(lr), seed=0) if lr > 0.25 else made

    with pytest.raises(SweepError, match="RuntimeError ended the sweep after 2 of 4 networks: a mistake") as caught:
        run({"lr": [0.1, 0.2, 0.3, 0.4]}, data, make=make, one_by_one=True)
    assert [trial.settings["lr"] for trial in caught.value.result] == [0.1, 0.2]
    assert_as_alone(caught.value.result, data)
    with pytest.raises(RuntimeError, match=r"^a mistake$"):
        run({"lr": [0.3, 0.1]}, data, make=make, one_by_one=True)


def test_json_has_null_for_a_setting_that_is_not_finite(data):
    result = run({"lr": [0.1, 0.2], "floor": [math.nan, 0.5]}, data, make=lambda lr, floor: trainer(lr))
    settings = [trial["settings"] for trial in json.loads(result.to_json())["trials"]]
    assert settings == [{"lr": 0.1, "floor": None}, {"lr": 0.2, "floor": 0.5}]


def test_networks_have_their_share_of_the_time(data):
    result = run({"lr": [0.1, 0.2]}, data)
    assert all(0 < trial.history.seconds <= trial.history.wall for trial in result)
    assert sum(trial.history.wall for trial in result) <= result.seconds
