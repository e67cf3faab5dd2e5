"""Data to learn from, inside the package; nothing here touches a network."""

from xpnet.datasets.idx import load_idx
from xpnet.datasets.mnist import mnist

__all__ = ["load_idx", "mnist"]
