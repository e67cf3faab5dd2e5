"""Keras 3: ``compile`` and ``fit``, on the backend that the variant names.

Minibatches come from a ``PyDataset``, the way to give ``fit`` an order of one's own; it takes no more time than arrays
that ``fit`` shuffles, and less than ``train_on_batch``. On JAX ``steps_per_execution`` is 20, which Keras advises for
small networks and does not allow on PyTorch. ``fit`` tells the mean loss of an epoch and no more.
"""

from __future__ import annotations

import os
import sys

os.environ["KERAS_BACKEND"] = sys.argv[2]

import keras
import numpy as np
from worker import Job, Worker

STEPS_PER_EXECUTION = {"jax": 20, "torch": 1}


class Batches(keras.utils.PyDataset):
    """The minibatches of one turn."""

    def __init__(self, x: np.ndarray, t: np.ndarray, rows: np.ndarray) -> None:
        super().__init__()
        self.x, self.t, self.rows = x, t, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.x[self.rows[i]], self.t[self.rows[i]]


def model_of(job: Job, steps_per_execution: int) -> keras.Model:
    hidden = [keras.layers.Dense(n, activation="relu") for n in job.sizes[1:-1]]
    model = keras.Sequential([keras.Input((job.sizes[0],)), *hidden, keras.layers.Dense(job.sizes[-1])])
    model.set_weights([array for pair in job.weights for array in pair])
    optimizer = keras.optimizers.Adam(job.lr, epsilon=1e-8) if job.adam else keras.optimizers.SGD(job.lr)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, steps_per_execution=steps_per_execution)
    return model


def main() -> None:
    worker = Worker("keras", sys.argv[2], "numpy")
    model = model_of(worker.job, STEPS_PER_EXECUTION[worker.variant])
    x, t = worker.job.x, worker.job.labels

    def train(rows):
        return model.fit(Batches(x, t, rows), epochs=1, shuffle=False, verbose=0).history["loss"]

    worker.serve(train)


if __name__ == "__main__":
    main()
