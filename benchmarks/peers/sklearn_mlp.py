"""scikit-learn's ``MLPClassifier``: one call of ``fit``, whose random state hands it the order and waits for its turn.

``fit`` shuffles once an epoch, at its start, so a ``RandomState`` whose ``shuffle`` gives the order of the job makes it
train on the minibatches that all others see. It tells the mean loss of an epoch and no more.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.neural_network import MLPClassifier
from worker import Job, Worker


class Turns(np.random.RandomState):
    """Reports each epoch and waits for the next turn."""

    def follow(self, worker: Worker, model: MLPClassifier) -> None:
        self.worker, self.model, self.turns = worker, model, worker.turns()
        self.before, self.begun, self.processor = np.arange(len(worker.job.labels)), None, 0.0

    def end(self) -> None:
        if self.begun is not None:
            seconds, processor = time.perf_counter() - self.begun, time.process_time() - self.processor
            self.worker.done(seconds, processor, self.model.loss_curve_[-1:])

    def shuffle(self, indices: np.ndarray) -> None:
        """``fit`` takes the order it had before by these indices, so they are what leads to the order of this turn."""
        self.end()
        rows = next(self.turns, None)
        if rows is None:
            raise SystemExit  # there are no more
        order = rows.ravel()
        indices[:] = np.argsort(self.before)[order]
        self.before = order
        self.begun, self.processor = time.perf_counter(), time.process_time()


def model_of(job: Job, turns: Turns) -> MLPClassifier:
    """With the weights of the job; alpha is a penalty on weights, which no one else has."""
    model = MLPClassifier(
        job.sizes[1:-1],
        solver="adam" if job.adam else "sgd",
        alpha=0,
        batch_size=job.batch,
        learning_rate_init=job.lr,
        momentum=0,
        nesterovs_momentum=False,
        max_iter=job.turns,
        n_iter_no_change=job.turns,
        shuffle=False,
        warm_start=True,
    )
    model.partial_fit(job.x[: job.batch], job.labels[: job.batch], classes=np.arange(job.sizes[-1]))
    for given, found in zip(job.weights, zip(model.coefs_, model.intercepts_, strict=True), strict=True):
        for array, own in zip(given, found, strict=True):
            own[:] = array
    return model.set_params(shuffle=True, random_state=turns)


def main() -> None:
    worker = Worker("scikit-learn", "numpy")
    turns = Turns()
    model = model_of(worker.job, turns)
    x, t = worker.job.x, worker.job.labels
    turns.follow(worker, model)
    model.fit(x, t)
    turns.end()


if __name__ == "__main__":
    main()
