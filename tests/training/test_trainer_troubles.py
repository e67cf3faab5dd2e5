"""What goes wrong in training: weights, history and the place in the minibatches agree afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import SGD, CheckpointError, DivergedError, MultiLayerNet, Sequential, Trainer, TwoLayerNet
from xpnet.layers import Affine
from xpnet.losses import MeanSquaredError
from xpnet.schedules import Cosine, ReduceOnPlateau
from xpnet.training import Callback, Checkpoint


@pytest.fixture
def data(rng):
    return rng.normal(size=(250, 6)).astype("float32"), rng.integers(0, 4, 250)


class Breaking:
    """The loss of a network, not finite in the n-th training step."""

    def __init__(self, net, at, size):
        self.calls, self.at, self.size, self.forward, self.loss = 0, at, size, net.loss_layer.forward, net.loss_layer

    def __call__(self, y, t, weight=None):
        loss, residuals = self.forward(y, t, weight)
        if y.shape[0] == self.size:
            self.calls += 1
            if self.calls == self.at:
                return np.float32("nan"), residuals
        return loss, residuals


def broken(at, optimizer=None, **options):
    net = TwoLayerNet(6, 5, 4, seed=0, backend="numpy")
    trainer = Trainer(net, optimizer or SGD(0.1), batch_size=50, seed=1, compile=False, **options)
    object.__setattr__(net.loss_layer, "forward", Breaking(net, at, 50))
    return trainer


def test_the_first_loss_of_a_second_fit(data):
    """The weights that it goes back to are those that the first one left."""
    net = MultiLayerNet(6, [5], 4, seed=0, backend="numpy")
    trainer = Trainer(net, SGD(1e30), batch_size=100, seed=1)
    trainer.fit(*data, iterations=1)
    left = {name: p.copy() for name, p in net.params.items()}
    for _ in range(2):
        with pytest.raises(DivergedError):
            trainer.fit(*data, iterations=1)
        assert trainer.iteration == 1
        for name, p in net.params.items():
            np.testing.assert_array_equal(p, left[name])
            assert np.isfinite(p).all()


def test_evaluations_of_steps_that_were_undone_are_gone(data):
    """Five minibatches an epoch; the eleventh loss says that the tenth step was too much."""
    trainer = broken(11, SGD(ReduceOnPlateau(0.1, patience=0, threshold=0.99)))
    with pytest.raises(DivergedError) as raised:
        trainer.fit(*data, epochs=4)
    assert (raised.value.iteration, trainer.iteration, trainer.history.samples) == (10, 9, 450)
    assert [(e.epoch, e.iteration) for e in trainer.history.evaluations] == [(0, 0), (1, 5), (1.8, 9)]
    assert trainer.learning_rate == 0.1
    trainer.fit(*data, iterations=6)
    straight = broken(0, SGD(ReduceOnPlateau(0.1, patience=0, threshold=0.99)))
    straight.fit(*data, iterations=15)
    ends = [[(e.epoch, e.iteration) for e in x.history.evaluations if e.ends_epoch] for x in (trainer, straight)]
    assert ends[0] == ends[1] == [(1, 5), (2, 10), (3, 15)]
    assert trainer.history.losses == straight.history.losses
    assert trainer.history.learning_rates == straight.history.learning_rates
    assert trainer.learning_rate == straight.learning_rate < 0.1
    for name, p in straight.net.params.items():
        np.testing.assert_array_equal(trainer.net.params[name], p)


@pytest.mark.parametrize("at", [1, 2, 4, 6, 7])
def test_what_was_saved_after_a_divergence_goes_on_as_if_nothing_had_happened(at, data, tmp_path):
    trainer, straight = broken(at), broken(0)
    with pytest.raises(DivergedError):
        trainer.fit(*data, iterations=20)
    assert trainer.iteration == max(at - 2, 0)
    trainer.save(tmp_path / "run")
    again = Trainer.load(tmp_path / "run", backend="numpy")
    assert again.history.iterations == again.iteration == trainer.iteration
    again.fit(*data, iterations=20 - trainer.iteration)
    straight.fit(*data, iterations=20)
    assert again.history.losses == straight.history.losses
    assert again.history.samples == straight.history.samples == 1000


def test_epochs_are_counted_across_data_of_another_size(data):
    x, t = data
    trainer = broken(0)
    trainer.fit(x, t, iterations=3)
    trainer.fit(x[:100], t[:100], epochs=2)
    found = [(round(e.epoch, 9), e.iteration, e.ends_epoch) for e in trainer.history.evaluations]
    assert found == [(0, 0, False), (0.6, 3, False), (1.6, 5, True), (2.6, 7, True)]


def test_every_callback_ends_whatever_the_others_do(data):
    ended = []

    class Ending(Callback):
        def __init__(self, name, fails):
            self.name, self.fails = name, fails

        def on_end(self, trainer):
            ended.append(self.name)
            if self.fails:
                raise RuntimeError(self.name)

    with pytest.raises(RuntimeError, match="second"):
        broken(0).fit(
            *data, iterations=2, callbacks=[Ending("first", False), Ending("second", True), Ending("third", False)]
        )
    assert sorted(ended) == ["first", "second", "third"]


@pytest.mark.parametrize("given", [print, None, 3])
def test_callbacks_are_a_list(given, data):
    with pytest.raises(TypeError, match=r"callbacks is .*, expected a list of callbacks and functions: \[print\]"):
        broken(0).fit(*data, iterations=1, callbacks=given)


@pytest.mark.parametrize("moment", [0, 5])
def test_weights_that_a_callback_assigns_are_trained_on(moment, training_backend, data):
    b = training_backend
    x, t = b.asarray(data[0]), b.asarray(data[1])

    class Reset(Callback):
        every = 5

        def on_begin(self, trainer):
            self.again(trainer)

        def on_block(self, trainer):
            self.again(trainer)

        def again(self, trainer):
            if trainer.iteration == moment:
                trainer.net.params = start.params

    start, net = (TwoLayerNet(6, 5, 4, seed=seed, backend=b) for seed in (7, 0))
    held = {name: b.to_numpy(p).copy() for name, p in start.params.items()}
    trainer = Trainer(net, SGD(0.1), batch_size=50, seed=1)
    trainer.fit(x, t, iterations=9, callbacks=[Reset()])
    straight = Trainer(TwoLayerNet(6, 5, 4, seed=0, backend=b), SGD(0.1), batch_size=50, seed=1)
    if moment:
        straight.fit(x, t, iterations=moment)
    straight.net.params = start.to(b).params
    straight.fit(x, t, iterations=9 - moment)
    for name, p in straight.net.params.items():
        np.testing.assert_array_equal(b.to_numpy(net.params[name]), b.to_numpy(p))
        np.testing.assert_array_equal(b.to_numpy(start.params[name]), held[name])


def test_fit_is_not_called_while_it_runs(data):
    trainer = broken(0)
    with pytest.raises(RuntimeError, match=r"fit was called while it runs"):
        trainer.fit(*data, iterations=2, callbacks=[lambda e: trainer.fit(*data, iterations=1)])
    assert trainer.fit(*data, iterations=2).iterations == 2


def test_a_learning_rate_that_comes_down_to_nothing_is_told(data):
    with pytest.warns(UserWarning, match="has come down to 0 before iteration 20"):
        broken(0, SGD(Cosine(0.1, 10))).fit(*data, iterations=20)


@pytest.mark.parametrize("validation", [np.zeros((3, 6)), (np.zeros((3, 6)),), 3])
def test_validation_is_samples_and_labels(validation, data):
    with pytest.raises(TypeError, match=r"validation is .*, expected samples and labels: validation=\(x, t\)"):
        broken(0).fit(*data, iterations=1, validation=validation)


def test_numbers_to_come_near_to_are_no_classes(training_backend, array, rng):
    """Regression with several outputs has a loss and no accuracy; one-hot targets with the same loss have both."""
    x, t = array(rng.normal(size=(20, 4))), rng.normal(size=(20, 3))
    hot = array(np.eye(3)[rng.integers(0, 3, 20)])
    for targets, classes in ((array(t), False), (hot, True)):
        net = Sequential([Affine(4, 3)], MeanSquaredError(), seed=0, dtype="float64", backend=training_backend)
        history = Trainer(net, SGD(0.1), batch_size=5, seed=0).fit(x, targets, epochs=1)
        assert all((e.train_accuracy is not None) == classes and e.train_loss > 0 for e in history.evaluations)
    with pytest.raises(ValueError, match="accuracy compares classes, and targets are numbers"):
        net.accuracy(x, array(t))


def test_a_network_that_is_given_has_the_layers_of_the_file(data, tmp_path):
    trainer = broken(0)
    trainer.save(tmp_path / "run")
    other = MultiLayerNet(6, [5], 4, activation="tanh", backend="numpy")
    with pytest.raises(CheckpointError, match=r"run is of another network: .*'ReLU'.* in the file, .*'Tanh'.* given"):
        Trainer.load(tmp_path / "run", net=other)


def test_a_checkpoint_that_cannot_be_is_found_out_before_the_first_step(data, tmp_path):
    net = TwoLayerNet(6, 5, 4, seed=0, backend="numpy")
    old = Trainer(net, SGD(0.1), batch_size=50, seed=np.random.Generator(np.random.MT19937(0)))
    for trainer, path, error, message in [
        (old, tmp_path / "run", ValueError, "the random generator is MT19937"),
        (broken(0), tmp_path / "nowhere" / "run", FileNotFoundError, "there is no folder for this file"),
    ]:
        with pytest.raises(error, match=message):
            trainer.fit(*data, iterations=1, callbacks=[Checkpoint(path)])
        assert trainer.iteration == 0
