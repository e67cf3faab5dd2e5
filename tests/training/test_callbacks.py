"""Callbacks: when each is called, what it sees, how it stops, and that nothing is lost whatever it does."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from recording import Recorder, fit, trainer_of, values_of

from xpnet import DivergedError
from xpnet.training import Callback, EarlyStopping


def test_the_order_of_calls():
    recorder = Recorder(every=1)
    fit(trainer_of(), recorder, iterations=4)
    evaluations = {0, 3, 4}
    expected = [("begin", 0), ("evaluation", 0)]
    for k in (1, 2, 3, 4):
        expected += [("block", k)] + [("evaluation", k)] * (k in evaluations)
    assert recorder.calls == [*expected, ("end", 4)]


@pytest.mark.parametrize("every", [1, 4, 5])
def test_every_is_met_at_each_multiple_also_by_a_fit_that_goes_on(every):
    recorder, trainer = Recorder(every=every), trainer_of()
    for iterations in (7, 30):
        fit(trainer, recorder, Recorder(every=7), iterations=iterations)
    assert [k for k in recorder.at("block") if k % every == 0] == list(range(every, 38, every))
    assert recorder.at("block") == sorted(set(recorder.at("block")))


@pytest.mark.parametrize("every", [0, -3, 2.5, "7", True])
def test_every_is_a_count(every):
    with pytest.raises(ValueError, match=r"Recorder\.every is .*, expected a whole number, 1 or more"):
        fit(trainer_of(), Recorder(every=every), epochs=1)


def test_functions_are_called_with_evaluations():
    seen = []
    history = fit(trainer_of(), seen.append, lambda evaluation: seen.append(evaluation.iteration), epochs=2)
    assert seen[::2] == history.evaluations
    assert seen[1::2] == [0, 3, 6]


@pytest.mark.parametrize("given", [EarlyStopping, "print", 3, None])
def test_what_is_no_callback_is_refused(given):
    recorder = Recorder()
    with pytest.raises(TypeError, match="is no callback; expected one such as EarlyStopping"):
        fit(trainer_of(), recorder, given, epochs=1)
    assert recorder.calls == []


def test_callbacks_see_the_weights_of_the_moment(training_backend):
    """On every backend, though the next step consumes them; and they are those of a run that ends there."""
    recorder = Recorder(every=2)
    fit(trainer_of(training_backend), recorder, iterations=4)
    straight = trainer_of(training_backend)
    fit(straight, iterations=2)
    (seen,) = (w for (name, k), w in zip(recorder.calls, recorder.weights, strict=True) if (name, k) == ("block", 2))
    for name, p in values_of(straight).items():
        np.testing.assert_array_equal(seen[name], p)
    start = values_of(trainer_of(training_backend))
    for weights in recorder.weights[:2]:
        np.testing.assert_array_equal(weights["W1"], start["W1"])


def test_callbacks_may_change_an_entry_of_the_parameters(training_backend):
    class Zero(Callback):
        every = 3

        def on_block(self, trainer):
            if trainer.iteration == 3:
                p = trainer.net.params["W2"]
                trainer.net.params["W2"] = p * 0

    trainer = trainer_of(training_backend)
    history = fit(trainer, Zero(), iterations=4)
    assert history.losses[3] == pytest.approx(np.log(4), abs=0.05), "scores are those of the biases"


def test_a_stop_ends_after_the_block_with_its_reason_and_an_evaluation():
    class Stop(Callback):
        every = 4

        def on_block(self, trainer):
            if trainer.iteration == 4:
                trainer.stop("enough")

    trainer, recorder = trainer_of(), Recorder()
    history = fit(trainer, Stop(), recorder, iterations=1000)
    assert (trainer.stopped, trainer.iteration, history.iterations) == ("enough", 4, 4)
    assert recorder.calls[-2:] == [("evaluation", 4), ("end", 4)]
    straight = trainer_of()
    fit(straight, iterations=4)
    assert values_of(trainer)["W1"].tolist() == values_of(straight)["W1"].tolist()
    fit(trainer, iterations=2)
    assert (trainer.stopped, trainer.iteration) == (None, 6)


@pytest.mark.parametrize("where", ["begin", "block", "evaluation"])
def test_an_exception_ends_training_with_the_weights_of_the_moment(where, training_backend):
    if training_backend.compiles_shapes and where != "block":
        pytest.skip("each costs compilations, and a block stands for the others")
    trainer, error = trainer_of(training_backend), RuntimeError("of one's own")
    before, failing, after = Recorder(every=1), Recorder(**{where: error}), Recorder()
    with pytest.raises(RuntimeError, match="of one's own"):
        fit(trainer, before, failing, after, epochs=2)
    for recorder in (before, failing, after):
        assert len(recorder.at("end")) == 1
    steps = trainer.iteration
    assert steps == (1 if where == "block" else 0)
    assert trainer.history.iterations == steps
    failing.raises.clear()
    fit(trainer, iterations=5 - steps)
    straight = trainer_of(training_backend)
    fit(straight, iterations=5)
    for name, p in values_of(straight).items():
        np.testing.assert_array_equal(values_of(trainer)[name], p)


def test_ctrl_c_is_answered_with_the_end_of_all_callbacks(ctrl_c):
    class Interrupt(Callback):
        every = 5

        def on_block(self, trainer):
            if trainer.iteration == 5:
                os.kill(os.getpid(), signal.SIGINT)

    trainer, recorder = trainer_of(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, Interrupt(), recorder, iterations=10_000)
    assert recorder.calls[-2:] == [("evaluation", 5), ("end", 5)]
    straight = trainer_of()
    fit(straight, iterations=5)
    assert values_of(trainer)["W1"].tolist() == values_of(straight)["W1"].tolist()


def test_a_divergence_ends_with_an_evaluation_of_the_last_good_weights():
    trainer, recorder = trainer_of(lr=1e200), Recorder()
    with pytest.raises(DivergedError):
        fit(trainer, recorder, iterations=1000)
    assert [name for name, _ in recorder.calls[-2:]][-1] == "end"
    assert recorder.at("end") == [trainer.iteration]
    assert all(np.isfinite(p).all() for p in recorder.weights[-1].values())
