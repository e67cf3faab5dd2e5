"""Networks, the files they are kept in, and the ways to make them again."""

from xpnet.models.named import MultiLayerNet, TwoLayerNet
from xpnet.models.rebuilding import load_network
from xpnet.models.sequential import Sequential

__all__ = ["MultiLayerNet", "Sequential", "TwoLayerNet", "load_network"]
