"""A random search of TwoLayerNets on MNIST, trained together and one after the other.

python benchmarks/sweep.py --cores 1
python benchmarks/sweep.py --cores 2 --networks 32 --iterations 600 --backend numpy

Each round takes both, one right after the other; medians of the whole calls, evaluations included, and how many times
faster together is, the median of rounds. Both have the same first losses, or the script ends with an error; later ones
drift apart by rounding where the learning rate is large. Threads are what xpnet chooses on so many cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

from machine import described

#: How many losses of each network are compared.
COMPARED = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--cores", type=int, default=1, help="how many cores to run on")
    parser.add_argument("--networks", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # before a library counts them
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    found = described(args.cores, None) | vars(args) | {"seconds": measured(args)}
    print(json.dumps(found, indent=1))


def measured(args: argparse.Namespace) -> dict:
    import numpy as np

    from xpnet import SGD, Trainer, TwoLayerNet, get_backend, sweep
    from xpnet.datasets import mnist

    backend = get_backend(args.backend)
    (x, t), test = ([backend.asarray(a) for a in split] for split in mnist())
    rng = np.random.default_rng(0)
    settings = {"lr": 10 ** rng.uniform(-3, 0, args.networks), "decay": 10 ** rng.uniform(-8, -4, args.networks)}

    def trainer(lr: float, decay: float) -> Trainer:
        return Trainer(TwoLayerNet(784, 50, 10, seed=0, backend=backend), SGD(lr, weight_decay=decay), seed=0)

    times: dict[str, list[float]] = {"together": [], "one by one": []}
    for _ in range(args.rounds):
        losses = []
        for name, found in times.items():
            begin, options = time.perf_counter(), {"one_by_one": name == "one by one", "progress": False}
            result = sweep(trainer, settings, x, t, validation=test, iterations=args.iterations, **options)
            found.append(time.perf_counter() - begin)
            losses.append([trial.history.losses[:COMPARED] for trial in result])
        np.testing.assert_allclose(*losses, rtol=1e-4)
    faster = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
    return {name: statistics.median(found) for name, found in times.items()} | {"times faster": faster}


if __name__ == "__main__":
    main()
