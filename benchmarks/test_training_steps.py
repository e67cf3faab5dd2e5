"""Steps of three training jobs on MNIST: minibatches drawn and gathered, forward, backward, update, loss read back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from xpnet import SGD, Adam, MultiLayerNet, TwoLayerNet, make_step
from xpnet.backends.base import PlainStep
from xpnet.training import init_state
from xpnet.training.minibatches import Minibatches

#: How many steps from the start are compared: later on rounding has grown.
COMPARED = 20


@dataclass(frozen=True)
class Job:
    hidden: tuple[int, ...]
    optimizer: object
    batch: int
    steps: int  # a round; an epoch is a multiple of it, so that every round has as many
    rounds: int = 20

    def net(self, backend):
        if len(self.hidden) == 1:
            return TwoLayerNet(784, *self.hidden, 10, seed=0, backend=backend)
        return MultiLayerNet(784, self.hidden, 10, seed=0, backend=backend)

    def __str__(self):
        sizes = "-".join(map(str, (784, *self.hidden, 10)))
        return f"{self.steps} steps of {sizes}, {self.optimizer!r}, batch {self.batch}"


JOBS = {
    "seed": Job((50,), SGD(lr=0.1), 100, steps=100),
    "wide": Job((1000,), SGD(lr=0.1), 1000, steps=5, rounds=10),
    "deep": Job((500, 500), Adam(lr=0.001), 100, steps=10),
}


class Run:
    """A job on a backend, from the start; the same minibatches on every one."""

    def __init__(self, job, backend, digits, compiled):
        self.job, self.backend = job, backend
        net = job.net(backend)
        step = make_step(net, job.optimizer)
        self.step = backend.compile(step) if compiled else PlainStep(step, backend)
        self.state = init_state(net, job.optimizer)
        self.data = {name: backend.asarray(a) for name, a in zip("xt", digits, strict=True)}
        self.batches = Minibatches(len(digits[0]), job.batch, np.random.default_rng(0))

    def steps(self, count):
        """The losses of so many steps more."""
        self.state, losses = self.step.run(self.state, self.data, self.batches.block(count))
        return losses


@pytest.fixture(scope="module")
def expected(reference, digits):
    """The first losses of each job on NumPy, nothing compiled."""
    return {name: Run(job, reference, digits, compiled=False).steps(COMPARED) for name, job in JOBS.items()}


@pytest.mark.parametrize("way", ["compiled", "eager"])
@pytest.mark.parametrize("name", JOBS)
def test_training(name, way, benchmark, timed, backend, digits, expected, pytestconfig):
    job = JOBS[name]
    if (way, backend.name) == ("compiled", "torch") and not pytestconfig.getoption("--compiled-torch"):
        pytest.skip("torch.compile takes half a minute for each job; --compiled-torch has it timed")
    run = Run(job, backend, digits, way == "compiled")
    if way == "compiled" and isinstance(run.step, PlainStep):
        pytest.skip(f"{backend.name} compiles nothing: eager is all there is")
    np.testing.assert_allclose(run.steps(COMPARED), expected[name], rtol=1e-4)
    run.steps(-COMPARED % job.steps or job.steps)  # to a multiple of what a round takes
    benchmark.group = f"{name}: {job}"
    benchmark.extra_info["steps a round"] = job.steps
    last = timed(lambda: run.steps(job.steps), rounds=job.rounds)
    assert len(last) == job.steps
    assert np.mean(last) < 0.9 * expected[name][0], "it learned"
