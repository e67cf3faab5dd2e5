"""Files that exporters of other libraries write here and now: PyTorch's two, and scikit-learn's."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings

import numpy as np
import pytest
from onnx_graphs import agree, kinds, learns, loaded

PYTORCH = {
    "mlp": "Affine Tanh Affine Tanh Affine",
    "simple": "Conv2d ReLU MaxPool2d Affine ReLU Affine",
    "resnet": "Conv2d ReLU Residual ReLU Add ReLU GlobalAvgPool2d Affine",
    "normalized": "Affine BatchNorm GELU Residual Affine",
    "tokens": "Embedding TimeDistributed ReLU Affine",
    "sequences": "Conv1d ReLU Affine",
    "groups": "Conv2d ReLU Conv2d Affine",
}


def exported(case, path, dynamo):
    """A file of a module, and samples."""
    torch = pytest.importorskip("torch", reason="torch is not installed, and it is its files that are read")
    from torch_modules import made

    module, _, x = made(case, "float32")
    x = torch.as_tensor(x)
    batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamo else {"dynamic_axes": {"x": {0: "batch"}}}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # PyTorch's, of itself
        torch.onnx.export(module.eval(), (x,), path, dynamo=dynamo, input_names=["x"], verbose=False, **batch)
    return x.numpy()


@pytest.mark.parametrize("case", PYTORCH)
@pytest.mark.parametrize("dynamo", [False, True])
def test_pytorch(case, dynamo, path, caplog):
    caplog.set_level(logging.CRITICAL)
    if dynamo and importlib.util.find_spec("onnxscript") is None:
        pytest.skip("onnxscript is not installed, with which PyTorch's newer exporter writes")
    x = exported(case, path, dynamo)
    net, said = agree(path, x)
    assert not said
    found = kinds(net)  # either exporter takes normalizations into the weights before them, where it can
    assert found in (PYTORCH[case], PYTORCH[case].replace("BatchNorm ", ""))
    assert learns(net, x)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("zipmap", [False, True])
def test_scikit_learn_classifies(classes, zipmap, path):
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed, and it is its files that are read")
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    X, y = 3 + rng.normal(size=(60, 4)).astype("float32"), rng.integers(0, classes, 60)
    settings = {"hidden_layer_sizes": (6, 5), "activation": "tanh", "max_iter": 20, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is not done yet
        fitted = make_pipeline(StandardScaler(), MLPClassifier(**settings)).fit(X, y)
    made = skl2onnx.to_onnx(fitted, X[:1], options={"zipmap": zipmap}, target_opset=18)
    path.write_bytes(made.SerializeToString())
    if zipmap:  # a list of dicts, of which onnxruntime makes no array
        net, said = loaded(path)
    else:
        net, said = agree(path, X[:9])
    assert "left out: " in said
    assert kinds(net) == "Affine Tanh Affine Tanh Affine"
    scores = net.predict(X)
    found = np.concatenate([-scores, scores], axis=1) if classes == 2 else scores
    np.testing.assert_array_equal(found.argmax(1), fitted.predict(X))


def test_scikit_learn_regresses(path):
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed, and it is its files that are read")
    from sklearn.neural_network import MLPRegressor

    X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = MLPRegressor(hidden_layer_sizes=(6,), activation="logistic", max_iter=20, random_state=0).fit(
            X, X[:, 0]
        )
    path.write_bytes(skl2onnx.to_onnx(fitted, X[:1], target_opset=18).SerializeToString())
    net, _ = agree(path, X)
    assert (kinds(net), type(net.loss_layer).__name__) == ("Affine Sigmoid Affine", "MeanSquaredError")
    np.testing.assert_allclose(net.predict(X)[:, 0], fitted.predict(X), rtol=1e-4, atol=1e-5)
