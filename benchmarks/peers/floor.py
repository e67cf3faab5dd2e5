"""The floor: the matrix products of a training step and the gather of its minibatch, with ``out=``, and nothing else.

No loss, no activation, no bias, no update: nothing is learned here. Images are gathered as bytes and made float32, not
even divided by 255.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from worker import Job, Worker


def products(job: Job) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(a, b, out) of every product: forward, then backward without the gradient of the images."""
    draw = np.random.default_rng(0)
    units = [draw.normal(size=(job.batch, n)).astype(np.float32) for n in job.sizes]
    slopes = [draw.normal(size=(job.batch, n)).astype(np.float32) for n in job.sizes]
    weights = [w for w, _ in job.weights]
    found = [(x, w, y) for (x, y), w in zip(pairwise(units), weights, strict=True)]
    for i in reversed(range(len(weights))):
        found.append((units[i].T, slopes[i + 1], np.empty_like(weights[i])))
        if i:
            found.append((slopes[i + 1], weights[i].T, slopes[i]))
    return found


def main() -> None:
    worker = Worker("numpy")
    job = worker.job
    todo = [(a, b, np.empty_like(out)) for a, b, out in products(job)]
    images, batch = job.images, todo[0][0]
    pixels = np.empty(batch.shape, np.uint8)

    def train(rows):
        for row in rows:
            np.take(images, row, axis=0, out=pixels, mode="clip")
            batch[...] = pixels
            for a, b, out in todo:
                np.matmul(a, b, out=out)
        return []

    worker.serve(train)


if __name__ == "__main__":
    main()
