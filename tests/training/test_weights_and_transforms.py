"""Samples that count differently, and what stands between gradients and the optimizer, in a whole training."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import SGD, CheckpointError, Sequential, Trainer, TwoLayerNet
from xpnet.layers import Affine, Dropout, Tanh
from xpnet.losses import MeanSquaredError, SumSquaredError
from xpnet.optimizers import Accumulate, Adam, ClipByNorm, ClipByValue, Momentum, WeightDecay
from xpnet.schedules import Cosine


@pytest.fixture
def samples(rng):
    return rng.normal(size=(24, 6)), rng.integers(0, 4, 24), rng.integers(0, 4, 24).astype("float64")


def network(backend, dtype="float64"):
    return TwoLayerNet(6, 5, 4, weight_init_std=0.3, seed=0, dtype=dtype, backend=backend)


def test_a_weight_is_how_often_a_sample_counts(training_backend, array, samples):
    """One minibatch of all samples with whole weights is one of samples that come so often; hits count alike."""
    b, (x, t, weight) = training_backend, samples
    often = np.repeat(np.arange(24), weight.astype(int))
    found = []
    for rows, options in ((slice(None), {"weight": array(weight)}), (often, {})):
        net = network(b)
        data = array(x[rows]), array(t[rows])
        trainer = Trainer(net, SGD(0.3), batch_size=data[0].shape[0], seed=1)
        validation = (*data, *options.values())
        history = trainer.fit(*data, **options, validation=validation, iterations=5, progress=False)
        values = [(e.train_loss, e.validation_loss) for e in history.evaluations]
        assert all(e.train_accuracy == e.validation_accuracy for e in history.evaluations)
        found.append((history.losses, values, [b.to_numpy(w) for w in net.params.values()]))
    (losses, values, weights), (wanted, wanted_values, wanted_weights) = found
    np.testing.assert_allclose(losses, wanted, rtol=1e-12)
    np.testing.assert_allclose(values, wanted_values, rtol=1e-12)
    for w, expected in zip(weights, wanted_weights, strict=True):
        np.testing.assert_allclose(w, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("loss", [MeanSquaredError(), SumSquaredError()])
def test_weights_go_with_their_samples(loss, training_backend, array, samples):
    """In minibatches of a shuffled epoch, against the formula: the mean, or the sum, of w |y - t|² over a minibatch."""
    (x, _, weight), rng = samples, np.random.default_rng(3)
    t = rng.normal(size=(24, 2))
    net = Sequential([Affine(6, 2)], loss, seed=0, dtype="float64", backend=training_backend)
    W, c = (training_backend.to_numpy(p).copy() for p in net.params.values())
    history = Trainer(net, SGD(0.01), batch_size=7, seed=1).fit(
        array(x), array(t), weight=array(weight + 0.5), epochs=1, progress=False
    )
    order, losses = np.random.default_rng(1).permutation(24), []
    for start in range(0, 24, 7):
        rows = order[start : start + 7]
        share = (weight + 0.5)[rows][:, None]
        share = share / 1 if isinstance(loss, SumSquaredError) else share / share.sum()
        d = x[rows] @ W + c - t[rows]
        factor = 0.5 if isinstance(loss, SumSquaredError) else 1 / 2
        losses.append((share * d * d).sum() * factor)
        dy = 2 * factor * share * d
        W, c = W - 0.01 * x[rows].T @ dy, c - 0.01 * dy.sum(axis=0)
    np.testing.assert_allclose(history.losses, losses, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:20], r"weight has shape \(20,\)"),
        (lambda w: -w, "weight has a weight of -"),
        (lambda w: w * np.nan, "weight has NaN"),
        (lambda w: w * 0, "weight is 0 throughout"),
    ],
)
def test_bad_weights_are_refused_before_anything_is_done(change, message, training_backend, array, samples):
    x, t, weight = (array(values) for values in samples)
    bad = array(change(samples[2] + 1))
    trainer = Trainer(network(training_backend), SGD(0.1), batch_size=8)
    with pytest.raises(ValueError, match=message):
        trainer.fit(x, t, weight=bad, epochs=1)
    with pytest.raises(ValueError, match=f"validation {message}"):
        trainer.fit(x, t, weight=weight, validation=(x, t, bad), epochs=1)
    with pytest.raises(ValueError, match=message):
        trainer.check(x, t, weight=bad)
    assert trainer.history.evaluations == []


def test_weights_of_whole_numbers_and_lists(training_backend, array, samples):
    x, t, weight = (array(values) for values in samples)
    found = []
    for given in (weight, array(samples[2].astype("int64")), samples[2].tolist()):
        trainer = Trainer(network(training_backend), SGD(0.1), batch_size=24, seed=0)
        found.append(trainer.fit(x, t, weight=given, epochs=2, progress=False).losses)
    assert found[0] == found[1] == found[2]


def test_accumulated_gradients_are_those_of_a_larger_batch(training_backend, array, samples):
    """Four minibatches of six are one of twenty-four, and the schedule goes on by steps of the optimizer."""
    b, (x, t, _) = training_backend, (array(values) for values in samples)
    small, large = (Trainer(network(b), Momentum(Cosine(0.3, 6)), batch_size=size, seed=1) for size in (6, 24))
    small = Trainer(network(b), Momentum(Cosine(0.3, 6)), batch_size=6, seed=1, transforms=[Accumulate(4)])
    small.fit(x, t, epochs=5, progress=False)
    large.fit(x, t, epochs=5, progress=False)
    assert small.iteration == 20
    np.testing.assert_allclose(small.history.learning_rates, np.repeat(large.history.learning_rates, 4), rtol=1e-14)
    assert small.learning_rate == large.learning_rate
    for name, w in large.net.params.items():
        np.testing.assert_allclose(b.to_numpy(small.net.params[name]), b.to_numpy(w), rtol=1e-9, atol=1e-12)


TRANSFORMS = (WeightDecay(0.01), Accumulate(3), ClipByNorm(0.5))


def trainer_of(backend, dtype="float64"):
    layers = [Affine(6, 5), Tanh(), Dropout(0.2), Affine(5, 4)]
    net = Sequential(layers, seed=0, dtype=dtype, backend=backend)
    return Trainer(net, Adam(Cosine(0.1, 40)), batch_size=7, seed=1, transforms=TRANSFORMS)


@pytest.mark.parametrize("cut", [4, 8, 9])
def test_a_training_with_transforms_resumes_bit_for_bit(cut, training_backend, array, samples, tmp_path):
    """In the middle of what is added up, and where it has just been used."""
    if training_backend.compiles_shapes and cut != 4:
        pytest.skip("each costs compilations, and this one is in the middle of everything")
    b, (x, t, weight) = training_backend, (array(values) for values in samples)
    straight, first = trainer_of(b), trainer_of(b)
    straight.fit(x, t, weight=weight, iterations=16, progress=False)
    first.fit(x, t, weight=weight, iterations=cut, progress=False)
    first.save(tmp_path / "run")
    again = Trainer.load(tmp_path / "run", backend=b)
    assert again.transforms == TRANSFORMS
    again.fit(x, t, weight=weight, iterations=16 - cut, progress=False)
    assert again.history.losses == straight.history.losses
    assert again.history.learning_rates == straight.history.learning_rates
    for name, w in straight.net.params.items():
        np.testing.assert_array_equal(b.to_numpy(again.net.params[name]), b.to_numpy(w))
    assert int(again.transform_states["1"]["count"]) == 16 % 3


def test_transforms_in_a_file_are_made_again_or_given(tmp_path):
    trainer = trainer_of("numpy")
    trainer.save(tmp_path / "run")
    given = (WeightDecay(0.5), Accumulate(3), ClipByNorm(1.0))
    assert Trainer.load(tmp_path / "run", transforms=given, backend="numpy").transforms == given
    with pytest.raises(CheckpointError, match=r"is of other transforms: \['WeightDecay', .* in the file, .* given"):
        Trainer.load(tmp_path / "run", transforms=(ClipByNorm(1.0),), backend="numpy")

    class Own(ClipByValue):
        pass

    net = network("numpy")
    Trainer(net, SGD(0.1), transforms=[Own(1.0)]).save(tmp_path / "own")
    with pytest.raises(CheckpointError, match=r"has a transform that cannot be made: .*give it: transforms="):
        Trainer.load(tmp_path / "own", backend="numpy")
    assert Trainer.load(tmp_path / "own", transforms=[Own(2.0)], backend="numpy").transforms == (Own(2.0),)


@pytest.mark.parametrize("given", [ClipByNorm(1.0), [ClipByNorm], [3], "clip"])
def test_what_is_no_transform(given):
    with pytest.raises(TypeError, match=r"transforms.* is .*, expected .*ClipByNorm\(1\.0\)"):
        Trainer(network("numpy"), SGD(0.1), transforms=given)
