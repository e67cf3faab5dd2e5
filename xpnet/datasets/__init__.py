"""Data to learn from, inside the package; nothing here touches a network."""

from typing import Any

from xpnet.datasets.idx import load_idx
from xpnet.datasets.mnist import mnist
from xpnet.hints import missing

__all__ = ["load_idx", "mnist"]


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
