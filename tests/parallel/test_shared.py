"""A training that several share is the training of one: on threads that stand for processes."""

import numpy as np
import pytest
from ranks import all_well, on_ranks

from xpnet import SGD, Adam, DivergedError, MultiLayerNet, Sequential, Trainer
from xpnet.layers import Affine, BatchNorm, Conv2d, Dropout, Flatten, ReLU
from xpnet.losses import MeanSquaredError, SoftmaxWithLoss, SumSquaredError
from xpnet.optimizers import Accumulate, ClipByNorm, WeightDecay
from xpnet.parallel import MismatchError, ParallelError
from xpnet.training import Callback, Checkpoint, EarlyStopping, Every

RNG = np.random.default_rng(7)
X, T = RNG.normal(size=(53, 6)), RNG.integers(0, 3, 53)
NUMBERS, WEIGHT = RNG.normal(size=(53, 3)), RNG.random(53) * (RNG.random(53) > 0.3)


def layers(*inside):
    return [Affine(6, 8), *inside, ReLU(), Affine(8, 3)]


def trained(
    parallel,
    backend="numpy",
    parts=None,
    loss=None,
    optimizer=None,
    targets=T,
    weight=None,
    iterations=8,
    fit=None,
    x=X,
    **options,
):
    net = Sequential(parts or layers(), loss, seed=1, dtype="float64", backend=backend)
    move = net.backend.asarray
    options = {"batch_size": 10, "seed": 2} | options
    trainer = Trainer(net, optimizer or Adam(), parallel=parallel, **options)
    given = {"weight": None if weight is None else move(weight), "progress": False} | (fit or {})
    trainer.fit(move(x), move(targets), iterations=iterations, validation=(move(x[:20]), move(targets[:20])), **given)
    return trainer


def arrays(trainer):
    net = trainer.net
    return {name: net.backend.to_numpy(a) for name, a in (net.params | net.buffers).items()}


def check_alike(ones, alone):
    """The weights and losses of all ranks are the same bits, and those of one process to rounding."""
    for one in ones:
        assert one.history.losses == ones[0].history.losses
        assert one.history.evaluations == ones[0].history.evaluations
        np.testing.assert_allclose(one.history.losses, alone.history.losses, rtol=1e-12)
        for a, b in zip(one.history.evaluations, alone.history.evaluations, strict=True):
            assert (a.train_accuracy, a.validation_accuracy) == (b.train_accuracy, b.validation_accuracy)
            assert a.train_loss == pytest.approx(b.train_loss, rel=1e-12)
        for name, a in arrays(one).items():
            assert a.tobytes() == arrays(ones[0])[name].tobytes(), name
            np.testing.assert_allclose(a, arrays(alone)[name], rtol=1e-10, atol=1e-12, err_msg=name)


def check(size=3, **case):
    check_alike(all_well(on_ranks(size, lambda parallel: trained(parallel, **case))), trained(None, **case))


@pytest.mark.parametrize("compiles", [True, False])
@pytest.mark.parametrize("size", [2, 4])
def test_each_backend_and_number_of_processes(training_backend, size, compiles):
    """Dropout's masks and the statistics of batch normalization are those of the whole minibatch."""
    if compiles and training_backend.name in ("torch", "jax"):
        pytest.skip(f"{training_backend.name} is compiled in processes of its own, in test_mpi.py")
    # SGD: the gradient of a bias in front of batch normalization is 0, and Adam divides rounding by rounding
    check(
        size,
        parts=layers(BatchNorm(8), Dropout(0.3)),
        backend=training_backend,
        compile=compiles,
        optimizer=SGD(0.1),
        batch_size=16,
    )


CASES = {
    "weights": {"weight": WEIGHT},
    "weights of batch normalization": {"weight": WEIGHT, "parts": layers(BatchNorm(8)), "optimizer": SGD(0.1)},
    "a sum": {"loss": SoftmaxWithLoss(reduction="sum"), "optimizer": SGD(0.01)},
    "a weighted sum": {"loss": SoftmaxWithLoss(reduction="sum"), "optimizer": SGD(0.01), "weight": WEIGHT},
    "numbers": {"loss": MeanSquaredError(), "targets": NUMBERS},
    "the book's sum of squares": {"loss": SumSquaredError(), "targets": NUMBERS, "optimizer": SGD(0.001)},
    "clipping and decay": {"transforms": (WeightDecay(0.01), ClipByNorm(0.1)), "optimizer": SGD(0.1)},
    "accumulation": {"transforms": (Accumulate(3),), "optimizer": SGD(0.1)},
    "replacement": {"sampling": "replacement"},
    "images": {
        "parts": [Conv2d(1, 2, 3), BatchNorm(2), ReLU(), Flatten(), Affine(2 * 16, 3)],
        "x": RNG.normal(size=(53, 1, 6, 6)),
        "optimizer": SGD(0.1),
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_loss_of_a_minibatch_is_that_of_all_its_samples(case):
    check(**case)


def test_samples_without_weight_fall_to_one_process_or_to_all():
    weight = np.zeros(53)
    weight[-3:] = 1.0
    check(weight=weight, sampling="sequential", batch_size=20)


def test_a_step_takes_one_sum_and_batch_normalization_three():
    def sums(parallel, *inside):
        net = Sequential(layers(*inside), seed=1)
        trainer = Trainer(net, SGD(), seed=2, batch_size=10, parallel=parallel)
        trainer.fit(X.astype("float32"), T, iterations=6, evaluate="never", progress=False)
        return [size for size in parallel._sums if size > 6]  # the losses of a block are added up as well

    assert all_well(on_ranks(2, sums)) == [[83] * 6] * 2
    assert [len(each) for each in all_well(on_ranks(2, lambda parallel: sums(parallel, BatchNorm(8))))] == [24, 24]


def test_two_calls_are_one_and_a_checkpoint_is_that_of_one_process(tmp_path):
    """Written by the first process; gone on with by other numbers of them, and by one."""
    alone, parts = trained(None, parts=layers(Dropout(0.3)), iterations=20), layers(Dropout(0.3))

    def first(parallel):
        trainer = trained(parallel, parts=parts, iterations=13)
        trainer.save(tmp_path / f"{parallel.rank}")

    def second(parallel):
        trainer = Trainer.load(tmp_path / "0", parallel=parallel)
        trainer.fit(X, T, validation=(X[:20], T[:20]), iterations=7, progress=False)
        return trainer

    all_well(on_ranks(2, first))
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    for ones in (all_well(on_ranks(3, second)), [second(None)]):
        np.testing.assert_allclose(ones[0].history.losses, alone.history.losses, rtol=1e-12)
        for name, a in arrays(ones[0]).items():
            np.testing.assert_allclose(a, arrays(alone)[name], rtol=1e-10, atol=1e-12)


class Meddling(Callback):
    def on_block(self, trainer):
        if trainer.iteration >= 4 and float(trainer.net.params["b2"][0]) != 5.0:
            trainer.net.params["b2"] = np.full(3, 5.0)

    def on_end(self, trainer):
        trainer.net.params["b1"] = np.full(8, trainer.iteration, "float64")


def test_callbacks_are_called_in_the_first_process_and_what_they_do_happens_in_all():
    seen = []

    def one(parallel):
        def note(evaluation):
            seen.append((parallel.rank, evaluation.iteration))

        watch = [EarlyStopping("validation_loss", patience=2, min_delta=10.0), Meddling(), note]
        return trained(parallel, iterations=1000, fit={"callbacks": watch})

    ones = all_well(on_ranks(3, one))
    assert {rank for rank, _ in seen} == {0}
    assert {one.iteration for one in ones} == {18}
    (why,) = {one.stopped for one in ones}
    assert "no better" in why
    for one in ones:
        assert (one.net.params["b1"] == 18.0).all()
        assert one.net.params["b2"].tobytes() == ones[0].net.params["b2"].tobytes()


def test_a_failing_callback_ends_all():
    class Fails(Callback):
        def on_block(self, trainer):
            raise OSError("the disk is full")

    found = on_ranks(3, lambda parallel: trained(parallel, fit={"callbacks": [Fails()]}))
    assert str(found[0]) == "the disk is full"
    for error in found[1:]:
        assert isinstance(error, ParallelError)
        assert str(error) == "process 0 of 3 failed, and so all of them end: OSError: the disk is full"


def test_a_checkpoint_that_cannot_be_written_ends_all_before_the_first_step(tmp_path):
    saving = Checkpoint(tmp_path / "nowhere" / "file")
    found = on_ranks(2, lambda parallel: trained(parallel, fit={"callbacks": [saving]}))
    assert [type(error) for error in found] == [FileNotFoundError, ParallelError]


def test_divergence_is_found_by_all_who_keep_the_last_good_weights():
    def one(parallel):
        net = MultiLayerNet(6, (8,), 3, seed=1, dtype="float64")
        trainer = Trainer(net, SGD(1e200), batch_size=10, seed=2, parallel=parallel)
        with pytest.raises(DivergedError) as told:
            trainer.fit(X, T, iterations=50, progress=False)
        return str(told.value), trainer

    found, (told, alone) = all_well(on_ranks(3, one)), one(None)
    assert {message for message, _ in found} == {told}
    for _, trainer in found:
        for name, a in arrays(trainer).items():
            np.testing.assert_allclose(a, arrays(alone)[name], rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"seed": 3}, "the seed of the trainer"),
        ({"x": X + 1e-9}, "validation x differs on process 1 from process 0; x"),
        ({"targets": (T + 1) % 3}, "t differs"),
        ({"optimizer": Adam(0.5)}, "the optimizer differs on process 1 from process 0 (Adam(lr=0.5)"),
        ({"batch_size": 9}, "batch_size differs on process 1 from process 0 (9, and 10)"),
        ({"iterations": 9}, "the number of iterations"),
        ({"parts": layers(Dropout(0.1))}, "the network"),
        ({"fit": {"evaluate": Every(steps=3)}}, "evaluate"),
        ({"weight": WEIGHT}, "weight"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_differs_is_named_before_the_first_step(options, names):
    def one(parallel):
        return trained(parallel, **(options if parallel.rank == 1 else {}))

    found = on_ranks(3, one)
    assert all(isinstance(error, MismatchError) for error in found), found
    (told,) = {str(error) for error in found}
    assert names in told
    assert "process 2" not in told


@pytest.mark.parametrize(
    ("batch_size", "which"), [(1, "the minibatch has 1"), (10, "the last minibatch of an epoch has 3")]
)
def test_minibatches_too_small_to_share(batch_size, which):
    for error in on_ranks(4, lambda parallel: trained(parallel, batch_size=batch_size)):
        assert isinstance(error, ValueError)
        assert f"{which} of 53 samples, and 4 processes cannot share so few" in str(error)


def test_draws_that_are_no_samples_are_the_same_for_all():
    class Shifted(Dropout):
        def draws(self, rng, shape):
            return {"mask": rng.random(shape[1:]) >= 0.3}

    check(parts=layers(Shifted(0.3)), optimizer=SGD(0.1), compile=False)


def test_a_layer_that_may_mix_samples_is_told():
    class Mixes(ReLU):
        acts_on = "batch"

    def one(parallel):
        return trained(parallel, parts=layers(Mixes()), compile=False)

    with pytest.warns(UserWarning, match="Mixes1 does not say that it keeps samples apart"):
        all_well(on_ranks(2, one))


def test_parts_without_a_text_of_their_own_are_alike_in_all_processes():
    class Plain:
        """A rule that shows itself by its address in memory."""

        def init(self, params):
            return {}

        def step(self, params, grads, state):
            return {name: p - 0.1 * grads[name] for name, p in params.items()}, state

    ones = all_well(on_ranks(2, lambda parallel: trained(parallel, optimizer=Plain())))
    assert ones[0].history.losses == ones[1].history.losses
