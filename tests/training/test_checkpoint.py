"""A training that is cut, killed or moved goes on as if nothing had happened, to the last bit."""

from __future__ import annotations

import os
import subprocess
import sys

import checkpoint_cases as cases
import numpy as np
import pytest
from safetensors.numpy import load_file

from xpnet import SGD, BackendUnavailableError, CheckpointError, MultiLayerNet, Trainer, TwoLayerNet
from xpnet.backends.dispatch import get_backend
from xpnet.optimizers import Adam, Momentum, RMSprop
from xpnet.schedules import Cosine
from xpnet.training import Callback, Checkpoint, EarlyStopping

#: JAX compiles a step for each case, so it gets a few.
ON_JAX = ("momentum, warm-up and cosine", "adam, plateau after warm-up")


@pytest.mark.parametrize("case", cases.CASES)
def test_a_training_that_was_saved_and_loaded_goes_on_to_the_bit(case, training_backend, tmp_path):
    if training_backend.name == "jax" and case not in ON_JAX:
        pytest.skip("JAX compiles each; two stand for all")
    straight = cases.trained(cases.trainer_of(case, training_backend), 100)
    first = cases.trained(cases.trainer_of(case, training_backend), 40)
    first.save(tmp_path / "checkpoint")
    second = Trainer.load(tmp_path / "checkpoint", backend=training_backend)
    assert cases.contents(second) == cases.contents(first)
    assert second.history == first.history
    assert cases.contents(cases.trained(second, 60)) == cases.contents(straight)
    assert cases.epochs(second) == cases.epochs(straight)


@pytest.mark.parametrize("sampling", ["epochs", "sequential", "replacement"])
@pytest.mark.parametrize("cut", [1, 6, 7, 8, 14], ids=lambda cut: f"after {cut}")
def test_wherever_in_an_epoch_it_is_cut(cut, sampling, tmp_path):
    """Seven steps an epoch, the last of which has fewer samples."""
    made = [cases.trainer_of("adam", get_backend("numpy"), sampling=sampling) for _ in range(2)]
    straight = cases.trained(made[0], 30)
    cases.trained(made[1], cut).save(tmp_path / "checkpoint")
    resumed = Trainer.load(tmp_path / "checkpoint", backend="numpy")
    assert resumed.sampling == sampling
    assert cases.contents(cases.trained(resumed, 30 - cut)) == cases.contents(straight)


def test_a_checkpoint_of_any_moment_leads_to_the_same_end(tmp_path):
    """After each step, and after each evaluation, before which the learning rate is reduced."""

    class SaveEach(Callback):
        every = 1

        def on_block(self, trainer):
            trainer.save(tmp_path / f"step {trainer.iteration}")

        def on_evaluation(self, trainer, evaluation):
            trainer.save(tmp_path / f"evaluated {trainer.iteration}")

    straight = cases.trained(cases.trainer_of("sgd, plateau", get_backend("numpy")), 56, [SaveEach()])
    assert straight.scale < 1, "nothing was reduced"
    assert len(list(tmp_path.iterdir())) == 56 + 9
    for path in tmp_path.iterdir():
        resumed = Trainer.load(path, backend="numpy")
        if resumed.iteration < 56:
            cases.trained(resumed, 56 - resumed.iteration)
        elif path.name.startswith("step"):
            continue  # the last evaluation is still to come
        assert cases.contents(resumed) == cases.contents(straight), path.name
        assert cases.epochs(resumed) == cases.epochs(straight), path.name


def test_a_chain_of_many_cuts(tmp_path):
    numpy = get_backend("numpy")
    straight = cases.trained(cases.trainer_of("adam, plateau after warm-up", numpy), 120)
    trainer = cases.trainer_of("adam, plateau after warm-up", numpy)
    trainer.save(tmp_path / "checkpoint")  # before the first step, too
    for steps in (1, 2, 3, 5, 8, 13, 21, 34, 33):
        trainer = cases.trained(Trainer.load(tmp_path / "checkpoint", backend="numpy"), steps)
        trainer.save(tmp_path / "checkpoint")
    assert cases.contents(trainer) == cases.contents(straight)
    assert cases.epochs(trainer) == cases.epochs(straight)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need fork and SIGKILL")
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_a_training_that_was_killed_goes_on_to_the_bit(name, tmp_path):
    """Every optimizer trains in a process that kills itself, after step 437, say; another one resumes from 400."""
    try:
        backend = get_backend(name)
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    for part in ("killed", "resumed"):
        command = [sys.executable, cases.__file__, part, name, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=cases.ONE_THREAD)
        assert done.returncode == 0, done.stderr
    for case in cases.PLAIN:
        resumed = Trainer.load(cases.file_of(tmp_path, case), backend=backend)
        straight = cases.trained(cases.trainer_of(case, backend), cases.STEPS[name].total)
        assert cases.contents(resumed) == cases.contents(straight), case
        assert cases.epochs(resumed) == cases.epochs(straight), case


def test_a_training_moves_from_library_to_library(tmp_path):
    """numpy -> torch -> jax -> numpy, or as many of them as are here; each takes over exactly what was left."""
    chain, missing = [], []
    for name in ("numpy", "torch", "jax", "strict", "numpy"):
        try:
            chain.append(get_backend(name))
        except BackendUnavailableError:
            missing.append(name)
    if len(chain) == 2:
        pytest.skip(f"there is nowhere to move to: {', '.join(missing)} cannot be used here")
    trainer = cases.trainer_of("momentum, warm-up and cosine", chain[0])
    for backend in chain:
        trainer.save(tmp_path / "checkpoint")
        moved = Trainer.load(tmp_path / "checkpoint", backend=backend)
        assert moved.net.backend == backend
        assert cases.contents(moved) == cases.contents(trainer)
        trainer = cases.trained(moved, 20)
    straight = cases.trained(cases.trainer_of("momentum, warm-up and cosine", chain[0]), 20 * len(chain))
    assert trainer.batches.order.tobytes() == straight.batches.order.tobytes()
    assert trainer.rng.bit_generator.state == straight.rng.bit_generator.state
    np.testing.assert_allclose(trainer.history.losses, straight.history.losses, rtol=1e-3)
    for name, p in straight.net.params.items():
        np.testing.assert_allclose(trainer.net.params[name], p, rtol=0, atol=1e-4)


def test_a_checkpoint_is_safetensors_with_parameters_by_their_names(tmp_path):
    trainer = cases.trained(cases.trainer_of("adam", get_backend("numpy")), 9)
    trainer.save(tmp_path / "checkpoint")
    found = load_file(tmp_path / "checkpoint")
    for name, p in trainer.net.params.items():
        np.testing.assert_array_equal(found[name], p)
        np.testing.assert_array_equal(found[f"optimizer/slots/{name}/m"], trainer.optimizer_state["slots"][name]["m"])
    assert found["optimizer/t"] == 9
    assert found["training/losses"].tolist() == trainer.history.losses
    assert sorted(found["training/order"].tolist()) == list(range(cases.SAMPLES))


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM"])
def test_a_generator_comes_back_as_it_was(kind, tmp_path):
    net = TwoLayerNet(4, 3, 3, seed=0, backend="numpy")
    trainer = Trainer(net, SGD(0.1), seed=np.random.Generator(getattr(np.random, kind)(5)))
    trainer.rng.random(3, dtype="float32")  # an odd number of them leaves half a draw behind
    trainer.save(tmp_path / "checkpoint")
    loaded = Trainer.load(tmp_path / "checkpoint", backend="numpy")
    assert loaded.rng.random(5, dtype="float32").tolist() == trainer.rng.random(5, dtype="float32").tolist()
    assert loaded.batches.rng is loaded.rng


def test_a_generator_that_cannot_be_kept_is_refused_before_anything_is_written(tmp_path):
    trainer = Trainer(TwoLayerNet(4, 3, 3, backend="numpy"), SGD(0.1), seed=np.random.Generator(np.random.MT19937(0)))
    with pytest.raises(ValueError, match="MT19937"):
        trainer.save(tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_notes_are_kept_and_too_long_ones_refused(tmp_path):
    trainer = cases.trainer_of("sgd", get_backend("numpy"))
    trainer.notes = {"who": "私", "numbers": [1, 2.5, None]}
    trainer.save(tmp_path / "checkpoint")
    assert Trainer.load(tmp_path / "checkpoint", backend="numpy").notes == trainer.notes
    trainer.notes = {"all": "x" * 2**23}
    with pytest.raises(ValueError, match="characters"):
        trainer.save(tmp_path / "checkpoint")
    assert Trainer.load(tmp_path / "checkpoint", backend="numpy").notes["who"] == "私"


def test_a_network_that_is_given_takes_the_parameters(training_backend, tmp_path):
    trainer = cases.trained(cases.trainer_of("momentum", training_backend), 10)
    trainer.save(tmp_path / "checkpoint")
    net = cases.network(training_backend, seed=99)
    loaded = Trainer.load(tmp_path / "checkpoint", net=net)
    assert loaded.net is net
    assert cases.contents(loaded) == cases.contents(trainer)


def test_an_optimizer_that_is_given_goes_on_with_what_was_remembered(tmp_path):
    trainer = cases.trained(cases.trainer_of("momentum", get_backend("numpy")), 10)
    trainer.save(tmp_path / "checkpoint")
    loaded = Trainer.load(tmp_path / "checkpoint", optimizer=Momentum(lr=0.5), backend="numpy")
    assert loaded.learning_rate == 0.5
    assert cases.contents(loaded) == cases.contents(trainer)


@pytest.mark.parametrize(("saved", "given"), [(0.1, Cosine(0.1, 100)), (Cosine(0.1, 100), 0.05)])
def test_a_rate_may_become_a_schedule_and_the_other_way_round(saved, given, tmp_path):
    x, t = np.eye(4, dtype="float32"), np.arange(4)
    trainer = Trainer(TwoLayerNet(4, 5, 4, seed=0, backend="numpy"), Momentum(saved), batch_size=2, seed=0)
    trainer.fit(x, t, iterations=30)
    trainer.save(tmp_path / "run")
    again = Trainer.load(tmp_path / "run", optimizer=Momentum(given), backend="numpy")
    again.fit(x, t, iterations=20)
    wanted = Momentum(given).learning_rates(np.arange(30.0, 50.0))
    np.testing.assert_allclose(again.history.learning_rates[30:], wanted, rtol=1e-12)
    assert again.optimizer_state.get("t", 50) == 50


def test_notes_are_plain_data(tmp_path):
    trainer = Trainer(TwoLayerNet(4, 5, 4, seed=0, backend="numpy"), SGD(0.1), batch_size=2)
    trainer.notes = {"when": object()}
    with pytest.raises(TypeError, match=r"trainer\.notes cannot be kept in a checkpoint"):
        trainer.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_optimizer_is_refused_and_each_difference_listed(tmp_path):
    trainer = cases.trained(cases.trainer_of("momentum", get_backend("numpy")), 10)
    trainer.save(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match=r"checkpoint is of another optimizer: 'Momentum' in the file, Adam\("):
        Trainer.load(tmp_path / "checkpoint", optimizer=Adam(), backend="numpy")
    plain = Trainer(TwoLayerNet(4, 5, 4, seed=0, backend="numpy"), RMSprop(0.1), batch_size=2)
    plain.save(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match="checkpoint does not fit this training: ") as raised:
        Trainer.load(tmp_path / "checkpoint", optimizer=RMSprop(0.1, centered=True), backend="numpy")
    missing = [f"optimizer/slots/{name}/mean is missing" for name in ("W1", "W2", "b1", "b2")]
    assert str(raised.value).endswith("; ".join(missing))


@pytest.mark.parametrize("given", [{"net": object()}, {"optimizer": object()}, {"optimizer": Momentum}])
def test_what_is_no_network_or_optimizer_is_a_mistake_of_the_caller(given, tmp_path):
    cases.trainer_of("momentum", get_backend("numpy")).save(tmp_path / "checkpoint")
    with pytest.raises((TypeError, CheckpointError), match=r"expected a network|another optimizer"):
        Trainer.load(tmp_path / "checkpoint", **given)


def test_a_network_and_a_backend_are_not_both_given(tmp_path):
    with pytest.raises(ValueError, match="both given"):
        Trainer.load(tmp_path / "checkpoint", net=cases.network("numpy"), backend="numpy")


def test_a_device_that_is_not_there_is_not_the_fault_of_the_file(tmp_path):
    cases.trainer_of("momentum", get_backend("numpy")).save(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="has no device") as raised:
        Trainer.load(tmp_path / "checkpoint", backend="numpy", device="tpu:7")
    assert not isinstance(raised.value, CheckpointError)


def test_another_network_is_refused_each_difference_listed_and_nothing_taken(tmp_path):
    cases.trained(cases.trainer_of("momentum", get_backend("numpy")), 3).save(tmp_path / "checkpoint")
    net = MultiLayerNet(4, [7, 6], 3, seed=1, backend="numpy")
    before = {name: p.tobytes() for name, p in net.params.items()}
    with pytest.raises(CheckpointError, match="does not fit this network") as raised:
        Trainer.load(tmp_path / "checkpoint", net=net)
    for text in ("W1 has shape (4, 6), expected (4, 7)", "W2 has shape (6, 3), expected (7, 6)", "b3 is missing"):
        assert text in str(raised.value)
    assert {name: p.tobytes() for name, p in net.params.items()} == before


def test_early_stopping_stops_where_it_would_have_stopped(tmp_path):
    numpy = get_backend("numpy")
    straight = cases.trained(cases.trainer_of("sgd, plateau", numpy), 700, [EarlyStopping("loss", patience=3)])
    assert 140 < straight.iteration < 700, "it has to stop by itself, and after the cut"
    cases.trained(cases.trainer_of("sgd, plateau", numpy), straight.iteration - 10).save(tmp_path / "checkpoint")
    resumed = Trainer.load(tmp_path / "checkpoint", backend="numpy")
    cases.trained(resumed, 700, [EarlyStopping("loss", patience=3)])
    assert resumed.iteration == straight.iteration
    assert cases.contents(resumed) == cases.contents(straight)


def test_the_callback_saves_every_so_many_steps(tmp_path):
    path, seen = tmp_path / "checkpoint", []

    class Watched(Checkpoint):
        def on_block(self, trainer):
            super().on_block(trainer)
            seen.append((trainer.iteration, path.exists() and Trainer.load(path, backend="numpy").iteration))

    cases.trained(cases.trainer_of("adam", get_backend("numpy")), 40, [Watched(path, every=9)])
    assert seen[-1] == (40, 36)
    assert all(saved == step - step % 9 for step, saved in seen)
