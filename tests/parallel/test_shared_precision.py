"""Mixed precision in a training that several share: all leave out the same steps, whoever has a row that overflows."""

import numpy as np
from ranks import all_well, on_ranks

from xpnet import SGD, Sequential, Trainer
from xpnet.layers import Affine, BatchNorm, ReLU
from xpnet.losses import MeanSquaredError
from xpnet.optimizers import LossScaling

RNG = np.random.default_rng(7)
X, T = RNG.normal(size=(48, 6)).astype("float32"), RNG.normal(size=(48, 1)).astype("float32")
T[30] = 1e6  # too far off for float16, in one row of the second minibatch


def trained(parallel):
    layers = [Affine(6, 8), BatchNorm(8), ReLU(), Affine(8, 1)]
    net = Sequential(layers, MeanSquaredError(), seed=1, backend="numpy")
    options = {"batch_size": 16, "seed": 2, "sampling": "sequential", "compute_dtype": "float16"}
    trainer = Trainer(net, SGD(0.1), transforms=(LossScaling(2.0**10),), parallel=parallel, **options)
    trainer.fit(X, T, iterations=8, progress=False, evaluate="never")
    return trainer


def test_a_step_is_left_out_by_all_where_one_overflows():
    alone, ones = trained(None), all_well(on_ranks(3, trained))
    skipped = int(alone.transform_states["0"]["skipped"])
    assert skipped > 0
    for one in ones:
        assert {k: float(a) for k, a in one.transform_states["0"].items()} == {
            k: float(a) for k, a in alone.transform_states["0"].items()
        }
        for name, w in one.net.params.items():
            assert w.tobytes() == ones[0].net.params[name].tobytes(), name
            np.testing.assert_allclose(w, alone.net.params[name], atol=0.01)
