"""When a loss is not finite: the weights, the history and the place in the minibatches agree afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import SGD, DivergedError, MultiLayerNet, Trainer, TwoLayerNet
from xpnet.schedules import ReduceOnPlateau
from xpnet.training import Callback


@pytest.fixture
def data(rng):
    return rng.normal(size=(250, 6)).astype("float32"), rng.integers(0, 4, 250)


class Breaking:
    """The loss of a network, not finite in the n-th training step."""

    def __init__(self, net, at, size):
        self.calls, self.at, self.size, self.forward, self.loss = 0, at, size, net.loss_layer.forward, net.loss_layer

    def __call__(self, y, t):
        loss, residuals = self.forward(y, t)
        if y.shape[0] == self.size:
            self.calls += 1
            if self.calls == self.at:
                return np.float32("nan"), residuals
        return loss, residuals


def broken(at, optimizer=None, **options):
    net = TwoLayerNet(6, 5, 4, seed=0, backend="numpy")
    trainer = Trainer(net, optimizer or SGD(0.1), batch_size=50, seed=1, **options)
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
