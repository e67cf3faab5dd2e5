"""Two long runs: a training that is killed and resumed again and again, and a million steps.

python benchmarks/soak.py --kills 200 --steps 1000000

The first has to end with the parameters of a training that nobody killed, to the last bit. The second has to end with
as much memory as it began with, but for what the history keeps of each step, and as fast. Exits with 1 if not.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from xpnet import Sequential, Trainer
from xpnet.layers import Affine, Dropout, ReLU
from xpnet.optimizers import Adam
from xpnet.schedules import Cosine, Warmup
from xpnet.training import Callback, Checkpoint

#: Steps of the training that is killed, for each kill.
STEPS_A_KILL = 60
#: What a step may leave behind: two numbers in two lists of the history, which grow in jumps.
BYTES_A_STEP = 160
SLACK = 8 * 2**20


def samples():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 4)).astype("float32")
    return x, (x[:, 0] * x[:, 1] > 0).astype("int64")


def new_trainer(steps):
    net = Sequential([Affine(4, 8), ReLU(), Dropout(0.2), Affine(8, 2)], seed=2, backend="numpy")
    return Trainer(net, Adam(Warmup(50, Cosine(0.01, steps=steps)), clip_norm=1.0), batch_size=32, seed=3)


def tiny_network():
    return Sequential([Affine(4, 3), ReLU(), Affine(3, 2)], seed=2, backend="numpy")


def train(path, steps):
    """Begin, or go on with what is in the file, and leave the end in it."""
    trainer = Trainer.load(path, backend="numpy") if path.exists() else new_trainer(steps)
    if trainer.iteration < steps:
        x, t = samples()
        iterations, saving = steps - trainer.iteration, Checkpoint(path, every=10)
        trainer.fit(x, t, iterations=iterations, callbacks=[saving], progress=False)
        trainer.save(path)


def forked(function, *arguments):
    """The id of a process that calls the function and ends."""
    child = os.fork()
    if not child:
        status = 1
        try:
            function(*arguments)
            status = 0
        finally:
            os._exit(status)
    return child


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_and_resume(path, kills, steps):
    """Train to the end through so many kills at random moments; returns how often a process was killed."""
    moments, done = random.Random(4), 0
    while done < kills:
        child = forked(train, path, steps)
        time.sleep(moments.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
        status = ended(child)
        if status == 0:
            return done
        if status != -signal.SIGKILL:
            sys.exit(f"a process that resumed ended with {status}")
        done += 1
    if ended(forked(train, path, steps)):
        sys.exit("the last process failed")
    return done


def soak_kills(kills):
    steps, start = STEPS_A_KILL * kills, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        straight, killed = Path(folder) / "straight.safetensors", Path(folder) / "killed.safetensors"
        if ended(forked(train, straight, steps)):
            sys.exit("the uninterrupted training failed")
        done = kill_and_resume(killed, kills, steps)
        left = [path.name for path in Path(folder).iterdir() if path not in (straight, killed)]
        ends = [Trainer.load(path, backend="numpy") for path in (straight, killed)]
    print(
        f"{done} kills and resumes in {steps} steps, {time.perf_counter() - start:.1f} s; {len(left)} files left over"
    )
    if done < kills:
        sys.exit(f"training ended after {done} kills, expected {kills}")
    if left or not same(*ends):
        sys.exit("the training that was killed ended elsewhere")
    print("parameters, what the optimizer remembers, losses and random state: equal to the last bit")


def same(one, other):
    if one.iteration != other.iteration or one.rng.bit_generator.state != other.rng.bit_generator.state:
        return False
    pairs = [(one.net.params[name], other.net.params[name]) for name in one.net.params]
    slots = [trainer.optimizer_state["slots"] for trainer in (one, other)]
    pairs += [(slots[0][name][slot], slots[1][name][slot]) for name in slots[0] for slot in slots[0][name]]
    return one.history.losses == other.history.losses and all(a.tobytes() == b.tobytes() for a, b in pairs)


def resident():
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Meter(Callback):
    """Memory and time after each tenth of the steps."""

    def __init__(self, steps):
        self.every = steps // 10
        self.marks = []

    def on_block(self, trainer):
        if trainer.iteration % self.every == 0:
            self.mark()

    def mark(self):
        self.marks.append((resident(), time.perf_counter()))

    def report(self, name, allowed):
        """Print growth and speed from the end of the first tenth on; whether no more was kept than is allowed."""
        (first, begun), (last, end) = self.marks[0], self.marks[-1]
        rates = [self.every / (after[1] - before[1]) for before, after in zip(self.marks, self.marks[1:], strict=False)]
        taken = self.every * (len(self.marks) - 1)
        print(f"{name}: {taken} steps after the first {self.every} in {end - begun:.1f} s")
        print(f"  {rates[0]:,.0f} steps/s in the second tenth, {rates[-1]:,.0f} in the last")
        print(f"  memory {first / 2**20:.1f} MB, then {last / 2**20:.1f} MB: {(last - first) / taken:.1f} bytes a step")
        return last - first <= allowed * taken + SLACK


def soak_trainer(steps):
    x, t = samples()
    meter, trainer = Meter(steps), Trainer(tiny_network(), Adam(0.001), batch_size=5, seed=3)
    trainer.fit(x, t, iterations=steps, callbacks=[meter], progress=False)
    return meter.report("Trainer", BYTES_A_STEP)


def soak_optimizer(steps):
    """Steps of the optimizer alone, with gradients that stay as they are."""
    net, optimizer, meter = tiny_network(), Adam(0.001), Meter(steps)
    grads = {name: np.full_like(p, 0.01) for name, p in net.params.items()}
    params, state = net.params, optimizer.init(net.params)
    for step in range(1, steps + 1):
        params, state = optimizer.step(params, grads, state)
        if step % meter.every == 0:
            meter.mark()
    return meter.report("Adam alone", 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1_000_000)
    given = parser.parse_args()
    if given.kills:
        soak_kills(given.kills)
    if given.steps and not all([soak_optimizer(given.steps), soak_trainer(given.steps)]):
        sys.exit("memory grew with each step")


if __name__ == "__main__":
    main()
