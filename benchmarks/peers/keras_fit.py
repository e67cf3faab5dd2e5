"""Keras 3: ``compile`` and ``fit``, on the backend that the variant names.

Minibatches come from a ``PyDataset``, the way to give ``fit`` an order of one's own; it takes no more time than arrays
that ``fit`` shuffles, and less than ``train_on_batch``. On JAX ``steps_per_execution`` is 20, which Keras advises for
small networks and does not allow on PyTorch. ``fit`` tells the mean loss of an epoch and no more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

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
    if job.layers:
        model = keras.Sequential([keras.Input((28, 28, 1)), *on_images(job)])
        model.set_weights(last_channels(job, model))
    else:
        hidden = [keras.layers.Dense(n, activation="relu") for n in job.sizes[1:-1]]
        model = keras.Sequential([keras.Input((job.sizes[0],)), *hidden, keras.layers.Dense(job.sizes[-1])])
        model.set_weights([array for pair in job.weights for array in pair])
    optimizer = keras.optimizers.Adam(job.lr, epsilon=1e-8) if job.adam else keras.optimizers.SGD(job.lr)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, steps_per_execution=steps_per_execution)
    return model


def on_images(job: Job) -> Iterator[keras.Layer]:
    """The layers of a network of convolutions."""
    flat = False
    for kind, *numbers in job.layers:
        if kind == "conv":
            filters, size, padding = numbers
            if padding:
                yield keras.layers.ZeroPadding2D(padding)
            yield keras.layers.Conv2D(filters, size)
        elif kind == "affine":
            if not flat:
                yield keras.layers.Flatten()
            flat = True
            yield keras.layers.Dense(numbers[0])
        else:
            yield keras.layers.MaxPooling2D(2) if kind == "pool" else keras.layers.ReLU()


def last_channels(job: Job, model: keras.Model) -> list[np.ndarray]:
    """The weights for images (N, H, W, C), as Keras has them on a CPU."""
    c, h, w = next(x.output.shape[3:] + x.output.shape[1:3] for x in reversed(model.layers) if len(x.output.shape) == 4)
    found = []
    for W, b in job.weights:
        if W.ndim == 4:
            found += [W.transpose(2, 3, 1, 0), b]
        else:
            first = len(found) and found[-2].ndim == 4
            found += [W.reshape(c, h, w, -1).transpose(1, 2, 0, 3).reshape(W.shape) if first else W, b]
    return found


def main() -> None:
    worker = Worker("keras", sys.argv[2], "numpy")
    model = model_of(worker.job, STEPS_PER_EXECUTION[worker.variant])
    x, t = worker.job.x, worker.job.labels
    if worker.job.layers:
        x = x.transpose(0, 2, 3, 1)

    def train(rows):
        return model.fit(Batches(x, t, rows), epochs=1, shuffle=False, verbose=0).history["loss"]

    worker.serve(train)


if __name__ == "__main__":
    main()
