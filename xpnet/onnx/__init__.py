"""Networks as ONNX files, which other programs run: small, in standard operators, compared before they are written.

It needs onnx, and onnxruntime to compare: ``pip install "xpnet[onnx]"``. ``net.export(path)`` is :func:`export`, and
``xpnet export weights.safetensors digits.onnx`` the command.

>>> import tempfile
>>> import numpy as np
>>> import onnxruntime
>>> from xpnet import TwoLayerNet
>>> net = TwoLayerNet(784, 50, 10, seed=0, backend="numpy")
>>> with tempfile.TemporaryDirectory() as folder:
...     written = net.export(f"{folder}/digits.onnx", softmax=True, classes=range(10))
...     session = onnxruntime.InferenceSession(written.path)
>>> written.nodes, written.difference < 1e-6
(('Gemm', 'Relu', 'Gemm', 'Softmax'), True)
>>> session.run(["probabilities"], {"x": np.zeros((3, 784), "float32")})[0].shape
(3, 10)

What is in a file:

- one input ``x`` (N, ...) and one output, ``scores`` (N, ...), or ``probabilities`` with ``softmax=True``; N is the
  name of the axis of samples, of which there may be any number;
- a node for each layer, of its name (``Affine1``, ``Residual1.Conv2``), and arrays of the names that ``net.params`` and
  ``net.buffers`` have; what a layer needs besides is named after it: ``Reshape1.shape``. ``Dropout`` and ``Identity``
  are nothing, ``Swish`` is two nodes, ``BatchNorm`` of entries three;
- metadata: ``xpnet``, the layers and the loss as ``net.save`` describes them, ``xpnet_export``, the options, both JSON;
  ``classes``, a list as JSON; and what ``metadata=`` has. The command adds ``training``, as far as the weights know;
- operators of version 20 and the format 9, which onnxruntime 1.17 of January 2024 and all later ones know.

Images of bytes: with ``uint8=True`` the file takes 0 to 255 and divides by 255 itself. Images of any size, where the
network takes them: ``input_shape=(3, None, None)``. ``dtype="float16"`` halves the file. In float64 onnxruntime has no
convolutions on a CPU, and not all activations; then the error says so.

A layer of one's own brings its rule, which makes nodes by :class:`Place` and returns the name of the last value:

>>> from dataclasses import dataclass
>>> from xpnet.layers import GraphLayer
>>> @dataclass(frozen=True)
... class Scaled(GraphLayer):
...     factor: float
...
...     def apply(self, params, x):
...         return self.factor * x
>>> @rule(Scaled)
... def scaled(place, layer, x):
...     return place.node("Mul", x, place.constant("factor", layer.factor))

Parameters are ``place.array("W")``, the shape of a sample ``place.shape``; containers write the layers in them by
``place.part`` and ``place.inner``. :mod:`xpnet.onnx.rules` has the rules of xpnet's own layers. A subclass that
computes what its class does takes the rule of that: ``rule(MyAffine)(RULES[Affine])``. A layer without a rule is traced
by ndonnx, an implementation of the array API that records (``pip install ndonnx``); that takes more nodes, and perhaps
operators of version 21 or later.
"""

try:
    from onnx import checker  # noqa: F401
except ImportError as error:
    raise ImportError(f'xpnet.onnx needs onnx 1.17 or newer ({error}); pip install "xpnet[onnx]"') from error

from xpnet.onnx import rules  # noqa: F401  (whose rules it registers)
from xpnet.onnx.exporting import Exported, export
from xpnet.onnx.writer import RULES, ExportError, Place, rule

__all__ = ["RULES", "ExportError", "Exported", "Place", "export", "rule"]
