"""Networks, the files they are kept in, and the ways to make them again."""

from typing import TYPE_CHECKING

from xpnet._later import later

if TYPE_CHECKING:
    from xpnet.models.convnets import DeepConvNet, ResNet, SimpleConvNet
    from xpnet.models.half_precision import HalfPrecision, half
    from xpnet.models.load import load_network
    from xpnet.models.mlp import MultiLayerNet, TwoLayerNet
    from xpnet.models.network import Sequential
    from xpnet.models.onnx_files import load_onnx
else:
    __getattr__, __dir__ = later(
        __name__,
        {
            "convnets": "DeepConvNet ResNet SimpleConvNet",
            "half_precision": "HalfPrecision half",
            "load": "load_network",
            "mlp": "MultiLayerNet TwoLayerNet",
            "network": "Sequential",
            "onnx_files": "load_onnx",
        },
    )

__all__ = [
    "DeepConvNet",
    "HalfPrecision",
    "MultiLayerNet",
    "ResNet",
    "Sequential",
    "SimpleConvNet",
    "TwoLayerNet",
    "half",
    "load_network",
    "load_onnx",
]
