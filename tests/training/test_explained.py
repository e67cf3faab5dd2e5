"""R² of networks that learn numbers, against scikit-learn: where it is shown, and where there is none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from xpnet import Adam, Sequential, Trainer
from xpnet.layers import Affine, Tanh
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss, SumSquaredError

sklearn = pytest.importorskip("sklearn.metrics", reason="the oracle is scikit-learn")

N, INPUTS = 70, 3


def data_of(rng, outputs, offset=2.0):
    x = rng.normal(size=(N, INPUTS)).astype("float32")
    t = x @ rng.normal(size=(INPUTS, outputs)) * np.arange(1, outputs + 1) + offset
    return x, (t + 0.2 * rng.normal(size=t.shape)).astype("float32")


def trained(backend, x, t, loss, *, weight=None, epochs=4, **more):
    net = Sequential([Affine(INPUTS, 8), Tanh(), Affine(8, t.shape[-1])], loss, seed=0, backend=backend)
    x, t = (backend.asarray(a) for a in (x, t))
    weight = None if weight is None else backend.asarray(weight)
    trainer = Trainer(net, Adam(lr=0.03), batch_size=20, seed=0)
    half = (x[: N // 2, ...], t[: N // 2, ...])
    trainer.fit(x, t, weight=weight, validation=half, epochs=epochs, progress=False, **more)
    return trainer


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [MeanSquaredError(), MeanSquaredError(reduction="sum"), SumSquaredError()], ids=repr)
def test_it_is_scikit_learns(training_backend, rng, outputs, weighted, loss):
    x, t = data_of(rng, outputs)
    weight = rng.uniform(0, 2, size=N).astype("float32") if weighted else None
    trainer = trained(training_backend, x, t, loss, weight=weight)
    y = training_backend.to_numpy(trainer.net.predict(training_backend.asarray(x)))
    last = trainer.history.evaluations[-1]
    assert last.train_accuracy is last.validation_accuracy is None
    many = {"multioutput": "variance_weighted"}
    assert last.train_r2 == pytest.approx(sklearn.r2_score(t, y, sample_weight=weight, **many), abs=1e-5)
    half = N // 2
    assert last.validation_r2 == pytest.approx(sklearn.r2_score(t[:half], y[:half], **many), abs=1e-5)
    assert trainer.history.evaluations[0].train_r2 < last.train_r2
    assert f"R2: train {last.train_r2:7.4f}  validation {last.validation_r2:7.4f}" in str(last)
    assert str(last).index("loss: train") < str(last).index("R2: train")


def test_it_is_kept_in_files(training_backend, rng, tmp_path):
    trainer = trained(training_backend, *data_of(rng, 1), MeanSquaredError())
    trainer.save(tmp_path / "c.safetensors")
    found = Trainer.load(tmp_path / "c.safetensors", backend=training_backend)
    assert found.history.evaluations == trainer.history.evaluations
    trainer.history.save(tmp_path / "history.json")
    rows = json.loads((tmp_path / "history.json").read_text())["evaluations"]
    assert [row["train_r2"] for row in rows] == [e.train_r2 for e in trainer.history.evaluations]


def test_what_is_printed_has_the_loss_and_the_metric(training_backend, rng, capsys):
    x, t = data_of(rng, 1)
    trained(training_backend, x, t, MeanSquaredError(), callbacks=[print], epochs=1)
    trained(training_backend, x, (t > 2).astype("float32"), SigmoidWithLoss(), callbacks=[print], epochs=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("loss: train" in line and "validation" in line for line in lines)
    assert ["R2: train" in line for line in lines] == [True, True, False, False]
    assert ["accuracy: train" in line for line in lines] == [False, False, True, True]


@pytest.mark.parametrize(
    ("loss", "make"),
    [
        (MeanSquaredError(), lambda rng: np.eye(3, dtype="float32")[rng.integers(0, 3, N)]),  # classes: an accuracy
        (MeanSquaredError(), lambda rng: np.full((N, 1), 3.0, "float32")),  # nothing to explain
        (SoftmaxWithLoss(), lambda rng: np.full((N, 2), 0.5, "float32")),  # no numbers that scores come near to
    ],
)
def test_where_there_is_none(training_backend, rng, loss, make):
    x, _ = data_of(rng, 1)
    last = trained(training_backend, x, make(rng), loss, epochs=1).history.evaluations[-1]
    assert last.train_r2 is last.validation_r2 is None
    assert "R2" not in str(last)
    assert last.train_loss is not None
