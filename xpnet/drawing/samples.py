"""Digits of MNIST to try a network on, for those who do not draw one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.drawing.numbers import in_base64


class Samples:
    """Some digits with their labels, which are read when the first is asked for.

    Args:
        read: gives pixels (N, 784), uint8, and labels (N,).
        most: as many of them are kept.
    """

    def __init__(self, read: Callable[[], tuple[np.ndarray, np.ndarray]], most: int = 1000) -> None:
        self.read, self.most = read, most
        self._one = threading.Lock()
        self._kept: tuple[np.ndarray, np.ndarray] | None = None

    def sample(self, label: int, after: int = -1) -> dict[str, Any]:
        """The next digit with this label behind number ``after``, in a circle: ``pixels`` in base64, its ``number``.

        Raises:
            LookupError: there is no such digit.
        """
        with self._one:
            if self._kept is None:
                pixels, labels = self.read()
                self._kept = pixels[: self.most].copy(), labels[: self.most].copy()
        pixels, labels = self._kept
        numbers = np.flatnonzero(labels == label)
        if not numbers.size:
            raise LookupError(f"there is no digit {label} among the samples")
        number = int(next((n for n in numbers if n > after), numbers[0]))
        return {"number": number, "label": label, "pixels": in_base64(pixels[number])}
