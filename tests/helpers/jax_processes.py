"""One of several processes that train together through ``jax.distributed``: a program for tests to start.

``python jax_processes.py MODE RANK SIZE PORT FOLDER``
"""

import json
import sys
from pathlib import Path

import numpy as np

from xpnet import Momentum, Sequential, Trainer
from xpnet.layers import Affine, BatchNorm, Dropout, ReLU
from xpnet.optimizers import ClipByNorm

ITERATIONS = 30


def trainer(parallel, seed=0, backend="jax"):
    """A training in which all mix: dropout, batch normalization, clipping."""
    layers = [Affine(20, 24), BatchNorm(24), ReLU(), Dropout(0.2), Affine(24, 10)]
    net = Sequential(layers, seed=0, dtype="float64", backend=backend)
    options = {"transforms": [ClipByNorm(1.0)], "batch_size": 50, "parallel": parallel}
    return Trainer(net, Momentum(lr=0.05), seed=seed, **options)


def data(net):
    rng = np.random.default_rng(1)
    x, t, weight = rng.normal(size=(165, 20)), rng.integers(0, 10, 165), rng.random(165)
    return (net.backend.asarray(x), net.backend.asarray(t)), {"weight": net.backend.asarray(weight)}


def main(mode, rank, size, port, folder):
    import jax

    jax.distributed.initialize(f"127.0.0.1:{port}", int(size), int(rank))
    training = trainer("jax", seed=int(rank) if mode == "seeds" else 0)
    samples, options = data(training.net)
    if mode == "endless":
        callbacks = [lambda e: Path(folder, "begun").touch()]
        training.fit(*samples, epochs=10**7, evaluate="epoch", callbacks=callbacks, progress=False)
    history = training.fit(*samples, **options, iterations=ITERATIONS, progress=False, callbacks=[print])
    training.save(Path(folder, f"{rank}.safetensors"))
    found = {
        "losses": history.losses,
        "accuracies": [e.train_accuracy for e in history.evaluations],
        "weights": {name: training.net.backend.to_numpy(a).tolist() for name, a in training.net.params.items()},
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
