"""A sweep beside the same trainings one after the other."""

from __future__ import annotations

import numpy as np

from xpnet import sweep
from xpnet.errors import DivergedError


def one_by_one(make, settings, *data, **options):
    """Each network trained by itself: its trainer, and the step at which it diverged."""
    found = []
    for values in zip(*settings.values(), strict=True):
        trainer, diverged = make(**dict(zip(settings, values, strict=True))), None
        try:
            trainer.fit(*data, progress=False, **options)
        except DivergedError as error:
            diverged = error.iteration
        found.append((trainer, diverged))
    return found


def leaves(tree, name=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{name}{key}.")
        else:
            yield name + key, value


def assert_as_single(make, settings, *data, rtol=1e-10, atol=1e-12, **options):
    """Weights, buffers, optimizer, minibatches and history are those of each network's own training."""
    result = sweep(make, settings, *data, progress=False, **options)
    single = one_by_one(make, settings, *data, **options)
    near = {"rtol": rtol, "atol": atol}
    for trial, (alone, diverged) in zip(result, single, strict=True):
        trainer, host = trial.trainer, alone.net.backend.to_numpy
        assert (trial.diverged, trainer.iteration) == (diverged, alone.iteration), trial.number
        found, expected = dict(leaves(trainer.compose())), dict(leaves(alone.compose()))
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
            np.testing.assert_allclose(host(found[name]), host(array), err_msg=f"{trial.number} {name}", **near)
        assert trainer.rng.bit_generator.state == alone.rng.bit_generator.state
        (a, b), history = (trainer.history, alone.history), trial.history
        np.testing.assert_allclose(history.losses, b.losses, **near)
        assert (a.samples, a.learning_rates) == (b.samples, b.learning_rates)
        assert len(a.evaluations) == len(b.evaluations)
        for one, other in zip(a.evaluations, b.evaluations, strict=True):
            assert (one.epoch, one.iteration, one.ends_epoch) == (other.epoch, other.iteration, other.ends_epoch)
            for what in ("accuracy", "loss", "r2"):
                for split in ("train", "validation"):
                    values = [getattr(e, f"{split}_{what}") for e in (one, other)]
                    assert (values[0] is None) == (values[1] is None), what
                    if values[1] is not None:
                        np.testing.assert_allclose(*values, **near)
    return result
