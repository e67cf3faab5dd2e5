"""Without onnx, or without onnxruntime: what is said, and what works all the same. These need neither."""

from __future__ import annotations

import sys

import pytest

from xpnet import TwoLayerNet, load_onnx


@pytest.fixture
def without_onnx(monkeypatch):
    """It cannot be imported, and what did so before is not there."""
    for module in list(sys.modules):
        if module == "xpnet.onnx" or module.startswith("xpnet.onnx."):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "onnx", None)


def test_onnx_is_missing(without_onnx, tmp_path):
    with pytest.raises(ImportError, match=r'xpnet.onnx needs onnx 1.17 or newer .*; pip install "xpnet\[onnx\]"'):
        TwoLayerNet(4, 3, 2, backend="numpy").export(tmp_path / "net.onnx")
    assert not [*tmp_path.iterdir()]
    with pytest.raises(ImportError, match=r'xpnet.onnx needs onnx 1.17 or newer .*; pip install "xpnet\[onnx\]"'):
        load_onnx(tmp_path / "net.onnx")


def test_the_command_says_it_in_one_line(without_onnx, command):
    TwoLayerNet(784, 5, 10, backend="numpy").save("weights.safetensors")
    done = command("export", "weights.safetensors", "net.onnx")
    assert done.exit_code == 1
    assert done.output.startswith("Error: xpnet.onnx needs onnx")
    assert done.output.count("\n") == 1


def test_onnxruntime_is_missing(monkeypatch, tmp_path):
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    net, path = TwoLayerNet(4, 3, 2, backend="numpy"), tmp_path / "net.onnx"
    with pytest.raises(ImportError, match=r'verify=True compares with onnxruntime.*pip install "xpnet\[onnx\]"'):
        net.export(path, verify=True)
    assert not path.exists()
    written = net.export(path)
    assert (written.difference, written.runtime) == (None, None)
    assert str(written).endswith("; not verified")
    assert path.exists()
