"""What a contender shares with the script that runs it: a folder with the job, and lines of JSON. Needs NumPy alone.

A worker is a process that is started with that folder and a variant as arguments. It says ``{"ready": ...}``, waits
for ``{"turn": k}``, trains on the minibatches of that turn, and says how long it took and what the losses were.
"""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

#: What trains on the rows (K, B) of one turn, one minibatch after another, and returns their K losses as numbers on the
#: host, or a list of one, their mean, where the library tells no more.
Train = Callable[[np.ndarray], list[float]]


class Job:
    """The job in a folder: what is trained, on what, from which weights, and in which order.

    Attributes:
        sizes: units of each layer, inputs and outputs included; of networks without convolutions.
        layers: of networks of convolutions on images (N, 1, 28, 28): ``["conv", filters, size, padding]``,
            ``["pool"]`` of 2 by 2, ``["relu"]`` and ``["affine", units]``, in their order.
        batch, lr, adam, turns, steps, seed: of the training; a turn is one epoch of so many steps.
        device: cpu or cuda.
        weights: W (I, O), float32, and b (O,) of each layer: copies, to be trained; of a convolution W is (F, C, k, k).
        images: uint8 (N, 784); :attr:`x` are the same as float32 from 0 to 1.
        labels: uint8 (N,).
    """

    layers: Sequence[list] = ()

    def __init__(self, folder: Path) -> None:
        for key, value in json.loads((folder / "job.json").read_text()).items():
            setattr(self, key, value)
        self.folder = folder
        count = 1 + len(list(folder.glob("W*.npy")))
        self.weights = [(np.load(folder / f"W{i}.npy"), np.load(folder / f"b{i}.npy")) for i in range(1, count)]
        self.images, self.labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")

    @property
    def x(self) -> np.ndarray:
        x = self.images.astype(np.float32) / np.float32(255)
        return x.reshape(-1, 1, 28, 28) if self.layers else x

    def rows(self, turn: int) -> np.ndarray:
        """Integers (K, B): the minibatches of that turn."""
        return np.load(self.folder / f"order{turn}.npy")


def version(library: str) -> str:
    """That of the package, or of the module: CuPy's package is called cupy-cuda13x, or otherwise."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return str(importlib.import_module(library).__version__)


class Worker:
    """One side of the conversation: turns come in, seconds and losses go out."""

    def __init__(self, *libraries: str) -> None:
        self.replies = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever a library prints is no reply
        self.libraries = libraries
        self.job, self.variant = Job(Path(sys.argv[1])), sys.argv[2]

    def reply(self, **values: object) -> None:
        print(json.dumps(values), file=self.replies, flush=True)

    def turns(self) -> Iterator[np.ndarray]:
        """The rows of one turn after another; to be asked for when all is ready."""
        self.reply(ready=True, versions={name: version(name) for name in self.libraries})
        for line in sys.stdin:
            yield self.job.rows(json.loads(line)["turn"])

    def done(self, seconds: float, processor: float, losses: list[float]) -> None:
        self.reply(seconds=seconds, processor=processor, losses=[float(loss) for loss in losses])

    def serve(self, train: Train) -> None:
        """Take all turns with a function whose time is what counts."""
        for rows in self.turns():
            begin, processor = time.perf_counter(), time.process_time()
            losses = train(rows)
            self.done(time.perf_counter() - begin, time.process_time() - processor, losses)
