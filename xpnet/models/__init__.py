"""Networks, the files they are kept in, and the ways to make them again."""

from xpnet.models.convnets import DeepConvNet, ResNet, SimpleConvNet
from xpnet.models.half import HalfPrecision, half
from xpnet.models.load import load_network
from xpnet.models.mlp import MultiLayerNet, TwoLayerNet
from xpnet.models.network import Sequential
from xpnet.models.onnx_files import load_onnx

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
