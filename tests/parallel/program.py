"""What tests start by mpiexec: ``program.py CHECK``. The first process prints what it found as one line of JSON."""

import json
import os
import signal
import sys
import time

import numpy as np

from xpnet import SGD, Sequential, Trainer
from xpnet.layers import Affine, BatchNorm, Dropout, ReLU
from xpnet.optimizers import OPTIMIZERS
from xpnet.parallel import MismatchError, as_parallel
from xpnet.parallel.mpi import Mpi
from xpnet.parallel.pieces import balanced
from xpnet.training import Callback, Checkpoint, same

RNG = np.random.default_rng(0)
X = RNG.normal(size=(230, 12))
T = (X @ RNG.normal(size=(12, 4))).argmax(1)


def network(seed=1, dtype="float64", backend="numpy", inside=None):
    inside = (BatchNorm(16), ReLU(), Dropout(0.2)) if inside is None else inside
    return Sequential([Affine(12, 16), *inside, Affine(16, 4)], seed=seed, dtype=dtype, backend=backend)


def trained(parallel, optimizer, iterations, dtype="float64", backend="numpy", inside=None, compiles=None):
    net = network(dtype=dtype, backend=backend, inside=inside)
    trainer = Trainer(net, optimizer, batch_size=50, seed=2, parallel=parallel, compile=compiles)
    move, n = net.backend.asarray, len(X) if backend == "numpy" else 200  # where each shape costs a compilation
    trainer.fit(move(X[:n].astype(dtype)), move(T[:n]), iterations=iterations, evaluate="end", progress=False)
    return trainer


def leaves(tree, path=""):
    for name, value in tree.items():
        yield from leaves(value, f"{path}/{name}") if isinstance(value, dict) else [(f"{path}/{name}", value)]


def apart(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1))


def difference(together, alone):
    """The largest relative difference of an array of parameters, of the losses, and of the evaluations."""
    names, to_numpy = set(alone.net.params), alone.net.backend.to_numpy
    remembered = [dict(leaves(trainer.optimizer_state)) for trainer in (together, alone)]
    if "gamma1" in names:  # batch normalization takes the bias before it away: its gradient is rounding
        names.remove("b1")
        remembered[1].pop("/slots/b1/v", None)
    pairs = [[to_numpy(trainer.net.params[name]) for trainer in (together, alone)] for name in names]
    weights = max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)
    losses = np.abs(np.subtract(together.history.losses, alone.history.losses)) / np.abs(alone.history.losses)
    last, alone_last = together.history.evaluations[-1], alone.history.evaluations[-1]
    return {
        "weights": weights,
        "slots": max((apart(remembered[0][name], a) for name, a in remembered[1].items()), default=0.0),
        "losses": float(losses.max()),
        "loss": abs(last.train_loss / alone_last.train_loss - 1),
        "accuracy": last.train_accuracy == alone_last.train_accuracy,
        "threads": together.history.threads,
    }


def alike(parallel, backend, steps, dtype="float64", names=None):
    """Every optimizer, or those with these names; on another backend than NumPy one."""
    found, plain = {}, (ReLU(), Dropout(0.2))
    for name in names.split(",") if names else OPTIMIZERS if backend == "numpy" else ["sgd"]:
        inside = None if name in ("sgd", "momentum") else plain
        case = (OPTIMIZERS[name](), int(steps), dtype, backend, inside, True)
        found[name] = difference(trained(parallel, *case), trained(None, *case))
    return found


def never(training):
    raise RuntimeError("the processes ended with other states, to the bit")


def messages(parallel):
    """Sums that go through MPI's own messages, as they do among machines."""
    apart = Mpi(MPI.COMM_WORLD.Dup(), segment=0)
    return alike(apart, "numpy", 20, names="sgd,adam,nadam,ftrl")


def sums(parallel):
    """Numbers whose sums are exact, in shared memory of several sizes and in messages; what is wrong."""
    wrong, rng = [], np.random.default_rng(1)
    for segment in (None, 2**16, 0):
        transport = Mpi(MPI.COMM_WORLD.Dup(), segment=segment)
        for dtype, shapes in (
            (np.float32, [(300, 211), (7,), (0, 3), (50, 40, 3)]),
            (np.float64, [(3, 5)]),
            (np.int32, [(2,)]),
        ):
            given = [[rng.integers(-99, 99, shape).astype(dtype) for shape in shapes] for _ in range(transport.size)]
            mine, expected = given[transport.rank], [sum(arrays) for arrays in zip(*given, strict=True)]
            for array, total in zip(mine, expected, strict=True):
                if array.size and not np.array_equal(transport.all_reduce(array), total):
                    wrong.append(f"all_reduce {segment} {array.shape}")
            parts = balanced([array.size for array in mine], transport.size)
            own = parts[transport.rank]
            out = np.empty(own.stop - own.start, dtype)
            changed = [np.zeros_like(array) for array in mine]
            add_up, fetch = transport.reduce_scatter(mine, parts, out), transport.all_gather(changed, parts)
            for _ in range(3):
                add_up()
                for array, values in zip(mine, expected, strict=True):
                    array += 0 * values  # each time what is there then
                flat = np.concatenate([array.reshape(-1) for array in changed])
                flat[own] = out
                for array, values in zip(
                    changed, np.split(flat, np.cumsum([a.size for a in changed])[:-1]), strict=True
                ):
                    array[...] = values.reshape(array.shape)
                fetch()
                if not all(map(np.array_equal, changed, expected)):
                    wrong.append(f"parts {segment} {dtype.__name__}")
    return [each for found in parallel.gather(wrong) for each in found]


def mismatch(parallel):
    """Two calls that are refused, and one that goes well afterwards."""
    told = []
    for own in (lambda: network(seed=parallel.rank), lambda: network(inside=(Dropout(0.1 * parallel.rank),))):
        trainer = Trainer(own(), SGD(), seed=2, parallel=parallel)
        try:
            trainer.fit(X, T, iterations=5, progress=False)
        except MismatchError as error:
            told.append(str(error))
    return {"told": parallel.gather(told), "after": difference(*(trained(p, SGD(), 5) for p in (parallel, None)))}


class Deed(Callback):
    """Something that one process does after some steps; ``who`` is its rank."""

    everywhere = True

    def __init__(self, parallel, who, deed):
        self.here, self.deed = parallel.rank == who, deed

    def on_block(self, trainer):
        if self.here and trainer.iteration > 40:  # process 0 has written that of step 40
            self.here = False
            self.deed()


def deed(parallel, what):
    """Train for ever, with a checkpoint every ten steps, until the last process does this."""
    path = os.environ["CHECKPOINT"]
    deeds = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "hang": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
    }
    trainer = Trainer(network(), SGD(), batch_size=50, seed=2, parallel=parallel)
    callbacks = [Deed(parallel, parallel.size - 1, deeds[what]), Checkpoint(path, every=10)]
    try:
        trainer.fit(X, T, iterations=10**7, evaluate="never", callbacks=callbacks, progress=False)
    except KeyboardInterrupt:
        trainer.save(path)
    return {"iterations": parallel.gather(trainer.iteration)}


def raised(parallel):
    """An exception that nobody catches, in the last process alone."""
    if parallel.rank == parallel.size - 1:
        raise ValueError("there are no data on this machine")
    return trained(parallel, SGD(), 10**7).iteration


class Breaks(ReLU):
    """A layer that fails in the last process, in the middle of a step."""

    def forward(self, params, x):
        if x.shape[0] > 1 and PARALLEL.rank == PARALLEL.size - 1 and time.monotonic() > BEGUN + 1:
            raise MemoryError("there is no room for this layer")
        return super().forward(params, x)


def broken(parallel):
    return trained(parallel, SGD(), 10**7, inside=(Breaks(),), compiles=False).iteration


CHECKS = {
    "alike": alike,
    "messages": messages,
    "sums": sums,
    "mismatch": mismatch,
    "deed": deed,
    "raised": raised,
    "broken": broken,
}

if __name__ == "__main__":
    PARALLEL, BEGUN = as_parallel("mpi"), time.monotonic()
    from mpi4py import MPI  # which starts it

    same.broadcast = never
    check, *rest = sys.argv[1:]
    found = CHECKS[check](PARALLEL, *rest)
    if PARALLEL.leads:
        sys.stdout.write(json.dumps({"size": PARALLEL.size, "found": found}) + "\n")
