"""When a training is evaluated, and on what; and that its steps do not depend on that."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import SGD, Adam, Sequential, Trainer, TwoLayerNet, validation
from xpnet.layers import Affine, Dropout, ReLU
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss
from xpnet.models import evaluation
from xpnet.schedules import ReduceOnPlateau
from xpnet.training import Callback, Checkpoint, CSVLog, EarlyStopping, Every

SAMPLES, BATCH = 50, 20  # three steps an epoch


def trainer_of(backend="numpy", optimizer=None, **options):
    layers = [Affine(6, 8), ReLU(), Dropout(0.3), Affine(8, 4)]
    net = Sequential(layers, seed=0, backend=backend)
    return Trainer(net, optimizer or SGD(lr=0.1), batch_size=BATCH, seed=0, **options)


@pytest.fixture
def data(rng):
    return rng.normal(size=(SAMPLES, 6)).astype("float32"), rng.integers(0, 4, SAMPLES)


def fit(trainer, data, **options):
    return trainer.fit(*data, **{"epochs": 4, "validation": data, "progress": False} | options)


@pytest.mark.parametrize(
    ("evaluate", "found", "regular"),
    [
        ("epoch", [0, 3, 6, 9, 12], [3, 6, 9, 12]),
        (Every(), [0, 3, 6, 9, 12], [3, 6, 9, 12]),
        (Every(epochs=3), [0, 9, 12], [9]),
        (Every(steps=5), [0, 5, 10, 12], [5, 10]),
        (Every(steps=6), [0, 6, 12], [6, 12]),
        ("end", [12], []),
        ("never", [], []),
    ],
)
def test_there_are_evaluations_when_they_are_asked_for(evaluate, found, regular, data):
    usual, trainer, told = fit(trainer_of(), data), trainer_of(), []
    history = fit(trainer, data, evaluate=evaluate, callbacks=[told.append] if found else [])
    assert [e.iteration for e in history.evaluations] == found
    assert [e.iteration for e in history.evaluations if e.regular] == regular
    assert told == history.evaluations
    assert history.losses == usual.losses
    same = {e.iteration: e for e in usual.evaluations}
    for e in history.evaluations:
        if e.iteration in same:
            assert (e.train_loss, e.validation_accuracy) == (
                same[e.iteration].train_loss,
                same[e.iteration].validation_accuracy,
            )


@pytest.mark.parametrize("evaluate", [Every(epochs=2), Every(steps=5), Every(steps=4, train="running"), "end"])
@pytest.mark.parametrize("cut", [3, 4, 5, 7])
def test_regular_evaluations_are_the_same_in_two_calls_with_a_checkpoint_between(evaluate, cut, data, tmp_path):
    whole = fit(trainer_of(), data, epochs=None, iterations=12, evaluate=evaluate)
    first = trainer_of()
    fit(first, data, epochs=None, iterations=cut, evaluate=evaluate)
    first.save(tmp_path / "run")
    second = Trainer.load(tmp_path / "run", backend="numpy")
    assert second.history.evaluations == first.history.evaluations
    fit(second, data, epochs=None, iterations=12 - cut, evaluate=evaluate)
    assert second.history.losses == whole.losses
    values = [[(e.iteration, e.train_loss) for e in h.evaluations if e.regular] for h in (whole, second.history)]
    assert values[0] == values[1]


def test_a_sample_is_the_same_in_each_evaluation_and_steps_know_nothing_of_it(training_backend, data):
    b = training_backend
    moved = b.asarray(data[0]), b.asarray(data[1])
    trainer = trainer_of(b, Adam(0.01))
    before = {name: b.to_numpy(p).copy() for name, p in trainer.net.params.items()}
    history = trainer.fit(*moved, epochs=2, evaluate=Every(train=15), progress=False)
    rows = Every(train=15).rows(SAMPLES)
    assert len(set(rows.tolist())) == 15
    for e, arrays in ((history.evaluations[0], before), (history.evaluations[-1], trainer.net.params)):
        net = trainer_of("numpy").net
        net.params = {name: np.asarray(b.to_numpy(b.asarray(p))) for name, p in arrays.items()}
        assert e.train_loss == pytest.approx(float(net.loss(data[0][rows], data[1][rows])), rel=1e-5)
        assert e.train_accuracy == pytest.approx(net.accuracy(data[0][rows], data[1][rows]))
    usual = trainer_of(b, Adam(0.01)).fit(*moved, epochs=2, progress=False)
    assert history.losses == usual.losses


def test_of_fewer_samples_than_asked_for_all_are_taken(data):
    found = [fit(trainer_of(), data, evaluate=e).evaluations for e in (Every(train=SAMPLES), "epoch")]
    assert found[0] == found[1]
    assert Every(train=SAMPLES + 1).rows(SAMPLES) is None


def test_running_losses_are_the_means_of_the_minibatches_since_the_last_evaluation(data):
    history = fit(trainer_of(), data, evaluate=Every(steps=5, train="running"))
    found = [(e.iteration, e.train_loss, e.train_accuracy) for e in history.evaluations]
    means = [(5, np.mean(history.losses[:5])), (10, np.mean(history.losses[5:10])), (12, np.mean(history.losses[10:]))]
    assert found == [(0, None, None), *((at, pytest.approx(mean), None) for at, mean in means)]
    assert all(e.validation_accuracy is not None for e in history.evaluations)


def test_running_losses_are_watched(data):
    stopping = EarlyStopping("loss", patience=1, min_delta=100)
    trainer = trainer_of()
    fit(trainer, data, evaluate=Every(train="running"), callbacks=[stopping])
    assert (trainer.iteration, trainer.stopped.split()[-2:]) == (6, ["1", "epochs"])
    with pytest.raises(ValueError, match="there is no accuracy to watch: it needs a network that classifies, and"):
        fit(trainer_of(), data, evaluate=Every(train="running"), callbacks=[EarlyStopping("accuracy")])


def test_patience_counts_evaluations(data):
    for evaluate, last in ((Every(epochs=2), 12), (Every(steps=2), 4)):
        trainer = trainer_of()
        stopping = EarlyStopping("validation_loss", patience=1, min_delta=100)
        fit(trainer, data, evaluate=evaluate, callbacks=[stopping])
        assert (trainer.iteration, trainer.stopped.split()[-2:]) == (last, ["1", "evaluations"])


@pytest.mark.parametrize("evaluate", ["end", "never"])
def test_what_watches_evaluations_says_that_there_are_none(evaluate, data, tmp_path):
    watching = [EarlyStopping(), EarlyStopping("loss"), Checkpoint(tmp_path / "best", monitor="loss")]
    for callback in (*watching, *([print, CSVLog(tmp_path / "log")] if evaluate == "never" else [])):
        trainer = trainer_of()
        with pytest.raises(
            ValueError, match=f"with evaluate='{evaluate}' there is (none|one, after the last step); give fit evaluate="
        ):
            fit(trainer, data, evaluate=evaluate, callbacks=[callback])
        assert trainer.iteration == 0
    trainer = trainer_of(optimizer=SGD(ReduceOnPlateau(0.1)))
    with pytest.raises(
        ValueError, match=r"the learning rate ReduceOnPlateau\(.* watches evaluations, and with evaluate"
    ):
        fit(trainer, data, evaluate=evaluate)
    assert trainer.iteration == 0


@pytest.mark.parametrize("evaluate", ["epoch", "end", "never", Every(steps=5), Every(epochs=3)])
def test_checkpoints_are_written_after_each_epoch_however_it_is_evaluated(evaluate, data, tmp_path):
    class Spy(Callback):
        seen = ()

        def on_epoch_end(self, trainer):
            kept = Trainer.load(tmp_path / "run", backend="numpy")
            self.seen += ((kept.iteration, len(kept.history.evaluations) == len(trainer.history.evaluations)),)

    spy = Spy()
    fit(trainer_of(), data, evaluate=evaluate, callbacks=[Checkpoint(tmp_path / "run"), spy])
    assert spy.seen == ((3, True), (6, True), (9, True), (12, True))


def test_the_best_of_what_is_evaluated_is_kept(data, tmp_path):
    trainer = trainer_of(optimizer=SGD(lr=0.5))
    fit(trainer, data, evaluate=Every(steps=2), callbacks=[Checkpoint(tmp_path / "best", monitor="validation_loss")])
    values = {e.iteration: e.validation_loss for e in trainer.history.evaluations if e.regular}
    assert Trainer.load(tmp_path / "best", backend="numpy").iteration == min(values, key=values.get)


def test_weights_that_are_not_finite_are_found_without_evaluations(data):
    """The last step has a finite loss and makes them; nothing comes after it that would show."""

    class Spoil(Callback):
        def on_block(self, trainer):
            if trainer.iteration == trainer.goal:
                trainer.net.params["W1"] = trainer.net.params["W1"] * np.inf

    with pytest.raises(ArithmeticError, match="training diverged"):
        fit(trainer_of(), data, evaluate="never", callbacks=[Spoil()])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("epochs", ValueError, "evaluate is 'epochs', expected 'epoch', 'end', 'never', or Every"),
        (5, TypeError, "evaluate is 5, expected 'epoch', 'end', 'never', or Every"),
        (None, TypeError, "evaluate is None, expected"),
    ],
)
def test_other_words_are_refused_before_anything_is_done(given, error, message, data):
    trainer = trainer_of()
    with pytest.raises(error, match=message):
        fit(trainer, data, evaluate=given)
    assert not trainer.history.evaluations


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1, "steps": 1}, "epochs is 1 and steps is 1; give one of them"),
        ({"epochs": 0}, "epochs is 0, expected a whole number, 1 or more"),
        ({"steps": 2.5}, "steps is 2.5, expected a whole number"),
        ({"train": "some"}, "train is 'some', expected 'all', 'running' or a number of samples"),
        ({"train": 0}, "train is 0, expected a whole number, 1 or more"),
    ],
)
def test_what_every_does_not_take(options, message):
    with pytest.raises(ValueError, match=message):
        Every(**options)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["labels", "one-hot", "numbers", "yes or no"])
def test_parts_make_the_loss_and_the_accuracy_of_all(kind, weighted, backend, array, rng, monkeypatch):
    """Of parts of any size; the oracle is one pass over all samples at once."""
    loss = {"numbers": MeanSquaredError(), "yes or no": SigmoidWithLoss()}.get(kind, SoftmaxWithLoss())
    net = Sequential([Affine(6, 4)], loss, seed=0, backend=backend, dtype="float64")
    x, labels, weight = rng.normal(size=(23, 6)), rng.integers(0, 4, 23), rng.integers(0, 3, 23).astype("float64")
    t = {"labels": labels, "numbers": rng.normal(size=(23, 4)), "yes or no": np.eye(4)[labels]}.get(
        kind, np.eye(4)[labels]
    )
    given = [array(x), array(t), *([array(weight)] if weighted else [])]
    with backend.current():
        expected = float(loss.forward(net.forward(net.params, given[0]), *given[1:])[0])
    y = backend.to_numpy(net.predict(given[0]))
    right = np.mean((y > 0) == (np.eye(4)[labels] > 0)) if kind == "yes or no" else np.mean(y.argmax(1) == labels)
    for length in (1, 5, 23, 100):
        monkeypatch.setattr(evaluation, "_together", lambda net, shape, length=length: length)
        found, rate = net.evaluate(net.params, *given)
        assert found == pytest.approx(expected, rel=1e-12)
        assert rate == (None if kind == "numbers" else pytest.approx(right))


@pytest.mark.parametrize(("length", "scored", "calls"), [(3, 40, 2), (3, 8, 8), (50, 50, 1), (10, 10, 5)])
def test_threads_take_many_samples_each_and_these_in_parts(length, scored, calls, rng, monkeypatch):
    """Two threads of 50 samples; the loss is that of all at once, whatever is computed together."""
    net = TwoLayerNet(6, 5, 4, seed=0, dtype="float64", backend="numpy")
    x, t, seen, judged = rng.normal(size=(50, 6)), rng.integers(0, 4, 50), list[int](), list[int]()
    expected, right = float(net.loss(x, t)), net.accuracy(x, t)
    monkeypatch.setattr(evaluation, "_together", lambda *_: length)
    monkeypatch.setattr(evaluation, "_scored", lambda *_: scored)
    monkeypatch.setattr(type(net.backend), "workers", 2)
    monkeypatch.setattr(net, "threads_for", lambda *_: 2)
    forward, loss_of = net.forward, net.loss_layer.forward
    monkeypatch.setattr(net, "forward", lambda params, x: (seen.append(len(x)), forward(params, x))[1])
    monkeypatch.setattr(SoftmaxWithLoss, "forward", lambda _, y, t: (judged.append(len(y)), loss_of(y, t))[1])
    found, rate = net.evaluate(net.params, x, t)
    assert (found, rate) == (pytest.approx(expected, rel=1e-12), right)
    assert (len(judged), sum(judged), sum(seen), max(seen) <= length) == (calls, 50, 50, True)


def test_bytes_and_wide_samples_go_through_in_parts_that_stay_in_cache():
    nets = [TwoLayerNet(n, 1, 3, seed=0, backend="numpy") for n in (4, 784, 2 * 10**6)]
    lengths = [evaluation._together(net, (n,)) for net, n in zip(nets, (4, 784, 2 * 10**6), strict=True)]
    assert lengths[0] == 10_000
    assert 500 < lengths[1] < 2000
    assert lengths[2] == 1


def test_samples_that_were_looked_at_are_not_looked_through_again(data, monkeypatch):
    """Labels are, each time; and a NaN that was written into the samples since shows in the loss."""
    trainer, looked = trainer_of(), []
    usual = validation.check_finite
    monkeypatch.setattr(validation, "check_finite", lambda x, name="x": (looked.append(name), usual(x, name)))
    fit(trainer, data)
    assert looked == ["x", "validation x"]
    fit(trainer, data)
    assert looked == ["x", "validation x"]
    other = data[0].copy()
    fit(trainer, (other, data[1]))
    assert looked == ["x", "validation x"] * 2
    fit(trainer, (other.astype("float64"), data[1]))
    fit(trainer, (other.astype("float64"), data[1]))
    assert looked == ["x", "validation x"] * 4
    fit(trainer, (other, data[1]))
    data[1][7] = 4
    with pytest.raises(ValueError, match="labels from 0 to 4; there are 4 classes"):
        fit(trainer, (other, data[1]))
    data[1][7] = 0
    other[3, 2] = np.nan
    with pytest.raises(ArithmeticError, match="training diverged"):
        fit(trainer, (other, data[1]))
