"""TF32 is turned on and off where each library keeps it, and put back; a CPU has none.

There is no GPU here: devices are made up, and the libraries' own settings are read. That products are then computed in
it only a GPU can show.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import SGD, Trainer, TwoLayerNet


@pytest.fixture
def torch(monkeypatch):
    library = pytest.importorskip("torch")
    monkeypatch.setattr(library.cuda, "get_device_capability", lambda device: (9, 0))
    return library


def on_gpu(kind, device):
    """A backend on a device that is not there."""
    backend = object.__new__(kind)
    backend.device = device
    return backend


def test_pytorch_is_told_of_products_and_of_convolutions(torch):
    from xpnet.backends.torch import TorchBackend

    b, switches = on_gpu(TorchBackend, torch.device("cuda:0")), torch.backends
    assert b.tf32 == "convolutions"  # PyTorch's own choice
    for on in (True, False):
        with b.with_tf32(on):
            assert b.tf32 is on
        assert b.tf32 == "convolutions"
        assert (switches.cuda.matmul.allow_tf32, switches.cudnn.allow_tf32) == (False, True)
        assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(ZeroDivisionError), b.with_tf32(True):
        raise ZeroDivisionError
    with b.with_tf32(None):
        assert b.tf32 == "convolutions"


def test_what_the_user_has_set_is_kept(torch):
    from xpnet.backends.torch import TorchBackend

    b, matmul = on_gpu(TorchBackend, torch.device("cuda:0")), torch.backends.cuda.matmul
    before = matmul.fp32_precision if hasattr(matmul, "fp32_precision") else matmul.allow_tf32
    try:
        torch.set_float32_matmul_precision("high")
        assert b.tf32 is True
        with b.with_tf32(False):
            assert b.tf32 is False
        assert (b.tf32, matmul.allow_tf32, torch.get_float32_matmul_precision()) == (True, True, "high")
    finally:
        torch.set_float32_matmul_precision("highest")
        if hasattr(matmul, "fp32_precision"):
            matmul.fp32_precision = before


def test_a_gpu_before_ampere_has_none(torch, monkeypatch):
    from xpnet.backends.torch import TorchBackend

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    b = on_gpu(TorchBackend, torch.device("cuda:0"))
    with b.with_tf32(True):
        assert b.tf32 is None
        assert torch.backends.cuda.matmul.allow_tf32 is False


def test_jax_is_told_by_its_default_precision():
    jax = pytest.importorskip("jax")
    from xpnet.backends.jax import JaxBackend

    b = on_gpu(JaxBackend, SimpleNamespace(platform="gpu", compute_capability="9.0"))
    assert b.tf32 is True  # JAX's own choice
    levels = jax.lax.Precision
    for on, level in ((True, (levels.HIGH,) * 2), (False, (levels.HIGHEST,) * 2), (None, None)):
        with b.with_tf32(on):
            assert b.tf32 is (on is not False)
            (product,) = jax.make_jaxpr(lambda a: a @ a)(np.ones((2, 2), "float32")).eqns
            assert product.params["precision"] == level
    assert jax.config.jax_default_matmul_precision is None
    assert on_gpu(JaxBackend, SimpleNamespace(platform="gpu", compute_capability="7.0")).tf32 is None


def test_cupy_is_told_by_its_compute_type(monkeypatch):
    from xpnet.backends.cupy import CupyBackend

    kept = {"type": 1}
    core = SimpleNamespace(
        get_compute_type=lambda dtype: kept["type"], set_compute_type=lambda dtype, kind: kept.update(type=kind)
    )
    monkeypatch.setattr(CupyBackend, "library", staticmethod(lambda: SimpleNamespace(_core=core)))
    b = on_gpu(CupyBackend, SimpleNamespace(compute_capability="90", id=0))
    assert b.tf32 is False
    with b.with_tf32(True):
        assert (b.tf32, kept["type"]) == (True, 7)
        with b.with_tf32(False):
            assert (b.tf32, kept["type"]) == (False, 1)
        assert b.tf32 is True
    assert kept["type"] == 1
    assert on_gpu(CupyBackend, SimpleNamespace(compute_capability="75", id=0)).tf32 is None


def test_on_a_cpu_it_changes_nothing_and_says_so(training_backend, array, rng, tmp_path):
    x, t = array(rng.normal(size=(8, 4)).astype("float32")), array(rng.integers(0, 3, 8))
    made = [
        Trainer(TwoLayerNet(4, 3, 3, seed=0, backend=training_backend), SGD(0.1), batch_size=4, seed=0, tf32=on)
        for on in (None, False)
    ]
    if training_backend.tf32 is not None:
        pytest.skip("this is a GPU that has it")
    loud = Trainer(TwoLayerNet(4, 3, 3, seed=0, backend=training_backend), SGD(0.1), batch_size=4, seed=0, tf32=True)
    with pytest.warns(UserWarning, match=r"tf32=True changes nothing: \S+ has no TF32"):
        loud.fit(x, t, iterations=3, progress=False)
    for trainer in made:
        assert trainer.fit(x, t, iterations=3, progress=False).losses == loud.history.losses
    loud.history.save(tmp_path / "history.json")
    assert json.loads((tmp_path / "history.json").read_text())["tf32"] is None


def test_a_training_has_it_while_it_runs_and_its_history_says_so(monkeypatch, rng, tmp_path):
    net, seen = TwoLayerNet(4, 3, 3, seed=0, backend="numpy"), []
    kind = type(net.backend)
    state = {"on": False}

    class With:
        def __init__(self, on):
            self.on = on

        def __enter__(self):
            self.before, state["on"] = state["on"], state["on"] if self.on is None else self.on

        def __exit__(self, *_):
            state["on"] = self.before

    monkeypatch.setattr(kind, "tf32", property(lambda self: state["on"]))
    monkeypatch.setattr(kind, "with_tf32", lambda self, on: With(on))
    x, t = rng.normal(size=(8, 4)).astype("float32"), rng.integers(0, 3, 8)
    trainer = Trainer(net, SGD(0.1), batch_size=4, seed=0, tf32=True)
    trainer.fit(x, t, epochs=1, progress=False, callbacks=[lambda evaluation: seen.append(state["on"])])
    assert seen
    assert all(seen)
    assert (state["on"], trainer.history.tf32) == (False, True)
    trainer.save(tmp_path / "c.safetensors")
    assert Trainer.load(tmp_path / "c.safetensors").tf32 is True
    with pytest.raises(ValueError, match="tf32 is 1"):
        Trainer(net, SGD(0.1), tf32=1)
