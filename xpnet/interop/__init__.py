"""Weights that come from other libraries and go there; PyTorch's so far.

:func:`from_torch` takes the weights of a ``torch.nn.Module`` into a network of the same layers, :func:`to_torch` and
:func:`save_torch` are the way back, and :func:`check_predictions` sees that both give the same scores. What is in which
array:

=================================  ==================  =========================================================
here                               in PyTorch          what is done
=================================  ==================  =========================================================
``Affine``: W (I, O)               weight (O, I)       transposed: here y = x W + b, there y = x weightᵀ + bias
``Conv2d``: W (F, C/G, k, k)       weight, the same    as it is; so is ``Conv1d``
``BatchNorm``: gamma, beta         weight, bias        as they are
``BatchNorm``: mean, var           running_mean, _var  as they are; both keep the unbiased variance
``LayerNorm``: gamma, beta         weight, bias        as they are
``Embedding``: W (n, D)            weight, the same    as it is
b                                  bias                as it is; zeros where PyTorch's layer has none
=================================  ==================  =========================================================

Images are (N, C, H, W) in both, and are flattened in the same order, so an ``Affine`` behind a convolution needs the
transpose and no more.

>>> import numpy as np
>>> from xpnet import TwoLayerNet
>>> rng = np.random.default_rng(0)
>>> state = {"fc1.weight": rng.normal(size=(5, 4)), "fc1.bias": np.zeros(5),
...          "fc2.weight": rng.normal(size=(3, 5)), "fc2.bias": np.ones(3)}
>>> net = TwoLayerNet(4, 5, 3, dtype="float64", backend="numpy")
>>> from_torch(state, net)
{'Affine1': 'fc1', 'Affine2': 'fc2'}
>>> x = rng.normal(size=(2, 4))
>>> theirs = np.maximum(x @ state["fc1.weight"].T + state["fc1.bias"], 0) @ state["fc2.weight"].T + state["fc2.bias"]
>>> bool(np.allclose(net.predict(x), theirs))
True
"""

from xpnet.interop.predictions import check_predictions
from xpnet.interop.torch import from_torch, save_torch, to_torch

__all__ = ["check_predictions", "from_torch", "save_torch", "to_torch"]
