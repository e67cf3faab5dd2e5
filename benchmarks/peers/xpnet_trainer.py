"""xpnet through its public ``Trainer``: one call of ``fit``, in which a callback waits between epochs for its turn.

The seconds are those of ``trainer.history``, which leaves out the accuracies that ``fit`` computes after each epoch and
no other contender does. The Trainer draws its minibatches itself, from the seed that the others' order was drawn from.
"""

from __future__ import annotations

import time

from networks import network
from worker import Worker

from xpnet import SGD, Adam, Sequential, Trainer
from xpnet.layers import Rescale
from xpnet.training import Callback


class Turns(Callback):
    """Reports each epoch and waits for the next turn."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.turns, self.every = worker, worker.turns(), worker.job.steps
        self.steps, self.seconds, self.processor = 0, 0.0, 0.0

    def begin(self) -> None:
        if next(self.turns, None) is None:
            raise SystemExit  # there are no more

    def on_evaluation(self, trainer, evaluation) -> None:
        self.processor = time.process_time()  # the steps of the next turn begin

    def on_block(self, trainer) -> None:
        if trainer.iteration % self.every:
            return
        history, processor = trainer.history, time.process_time() - self.processor
        self.worker.done(history.seconds - self.seconds, processor, history.losses[self.steps :])
        self.steps, self.seconds = trainer.iteration, history.seconds
        self.begin()


def main() -> None:
    worker = Worker("numpy", "xpnet")
    job = worker.job
    name, _, options = worker.variant.partition(" ")
    if name != "numpy":
        worker.libraries += (name,)
    where = {"backend": name, "device": None if name == "numpy" else job.device}
    net = network(vars(job), **where)
    for i, (w, b) in enumerate(job.weights, 1):
        net.params |= {f"W{i}": net.backend.asarray(w), f"b{i}": net.backend.asarray(b)}
    as_bytes = "bytes" in options
    if as_bytes:
        params, layers = net.params, [Rescale(1 / 255), *net.layers.values()]
        net = Sequential(layers, backend=net.backend)
        net.params = params
    images = job.images.reshape(-1, 1, 28, 28) if job.layers else job.images
    x, t = (net.backend.asarray(a) for a in (images if as_bytes else job.x, job.labels))
    trainer = Trainer(
        net,
        Adam(lr=job.lr) if job.adam else SGD(lr=job.lr),
        batch_size=job.batch,
        seed=job.seed,
        compile="eager" not in options,
    )
    turns = Turns(worker)
    turns.begin()
    trainer.fit(x, t, epochs=job.turns, callbacks=[turns], progress=False)


if __name__ == "__main__":
    main()
