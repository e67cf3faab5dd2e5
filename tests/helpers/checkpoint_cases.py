"""Small trainings to be cut, killed and resumed; run as a script, the processes that are killed and that resume.

python checkpoint_cases.py killed BACKEND FOLDER
python checkpoint_cases.py resumed BACKEND FOLDER
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet import Sequential, Trainer
from xpnet.backends.dispatch import get_backend
from xpnet.layers import Affine, Dropout, ReLU, Rescale
from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import Cosine, ReduceOnPlateau, Step, Warmup
from xpnet.training import Callback, Checkpoint

#: 53 samples in batches of 8: seven steps an epoch, of which the last has five samples.
SAMPLES, BATCH = 53, 8
#: Every kind of optimizer, each with options that leave something else to remember.
PLAIN = {name: lambda kind=kind: kind(lr=0.01) for name, kind in OPTIMIZERS.items()}
OPTIONS = {
    "momentum, warm-up and cosine": lambda: OPTIMIZERS["momentum"](Warmup(30, Cosine(0.1, steps=900)), clip_norm=1.0),
    "sgd, plateau": lambda: OPTIMIZERS["sgd"](ReduceOnPlateau(0.3, factor=0.5, patience=0), weight_decay=1e-3),
    "adam, plateau after warm-up": lambda: OPTIMIZERS["adam"](
        ReduceOnPlateau(Warmup(30, 0.05), factor=0.5, patience=1, cooldown=1, monitor="validation_accuracy"),
        clip_value=0.1,
    ),
    "adamw, steps": lambda: OPTIMIZERS["adamw"](Step(0.01, every=150, factor=0.5), decay_biases=False),
}
CASES = PLAIN | OPTIONS
#: For processes that are forked: threads do not go along.
ONE_THREAD = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Steps(NamedTuple):
    """How many steps of a training that is killed, between its checkpoints, and before it is killed."""

    total: int
    every: int
    kill: int

    @property
    def saved(self):
        return self.kill - self.kill % self.every


STEPS = {"numpy": Steps(1000, 100, 437), "torch": Steps(60, 10, 37)}


def samples(backend, seed=7):
    """Three classes in four inputs of 0 to 255."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (SAMPLES, 4)).astype("uint8")
    t = (x[:, :3].argmax(axis=1)).astype("int64")
    return backend.asarray(x), backend.asarray(t)


LAYERS = (Affine(4, 6), ReLU(), Dropout(0.3), Affine(6, 3))


def network(backend, *, seed=3, dtype="float32"):
    return Sequential([Rescale(1 / 255), *LAYERS], seed=seed, backend=backend, dtype=dtype)


def trainer_of(case, backend, *, sampling="epochs"):
    net = network(backend)
    return Trainer(net, CASES[case](), batch_size=BATCH, seed=11, sampling=sampling)


def trained(trainer, iterations, callbacks=()):
    x, t = samples(trainer.net.backend)
    trainer.fit(x, t, validation=(x, t), iterations=iterations, callbacks=callbacks, progress=False)
    return trainer


def contents(trainer):
    """All that a trainer goes on with, as bytes by name, and its history but for the time it took."""
    to_numpy = trainer.net.backend.to_numpy
    found = {name: to_numpy(p).tobytes() for name, p in trainer.net.params.items()}
    found |= {f"optimizer {name}": to_numpy(a).tobytes() for name, a in flat(trainer.optimizer_state).items()}
    history = trainer.history
    found |= {"losses": np.asarray(history.losses).tobytes(), "rates": np.asarray(history.learning_rates).tobytes()}
    found |= {"rng": trainer.rng.bit_generator.state, "taken": trainer.batches.taken, "scale": trainer.scale}
    return found | {"order": trainer.batches.order.tobytes(), "samples": history.samples}


def flat(tree, prefix=""):
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return found


def epochs(trainer):
    """The evaluations at the ends of epochs: a training that was cut has one more where it was cut."""
    return [e for e in trainer.history.evaluations if e.ends_epoch]


class Kill(Callback):
    """End this process as a power cut would, after so many steps."""

    every = 1

    def __init__(self, iteration):
        self.iteration = iteration

    def on_block(self, trainer):
        if trainer.iteration == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


def file_of(folder, case):
    return Path(folder) / f"{list(CASES).index(case)}.safetensors"


def killed(backend, folder):
    """Train with each optimizer in a process of its own, which saves every so many steps and kills itself."""
    steps, children = STEPS[backend.name], {}
    for case in PLAIN:
        children[case] = os.fork()
        if not children[case]:
            callbacks = [Checkpoint(file_of(folder, case), every=steps.every), Kill(steps.kill)]
            trained(trainer_of(case, backend), steps.total, callbacks)
            os._exit(1)  # it should not have come here
    for case, child in children.items():
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"{case} was not killed"


def resumed(backend, folder):
    """Go on with each to the end, and save."""
    steps = STEPS[backend.name]
    for case in PLAIN:
        trainer = Trainer.load(file_of(folder, case), backend=backend)
        assert trainer.iteration == steps.saved, case
        trained(trainer, steps.total - steps.saved).save(file_of(folder, case))


if __name__ == "__main__":
    {"killed": killed, "resumed": resumed}[sys.argv[1]](get_backend(sys.argv[2]), sys.argv[3])
