"""The book's ``dataset.mnist``: the digits inside of xpnet, so that nothing is downloaded."""

from __future__ import annotations

from typing import Any

from xpnet._typing import Array
from xpnet.book.numbers import numbers
from xpnet.datasets import mnist

train_num, test_num = 60000, 10000
img_dim, img_size = (1, 28, 28), 784


def load_mnist(
    normalize: bool = True, flatten: bool = True, one_hot_label: bool = False
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """``(x_train, t_train), (x_test, t_test)``, arrays of the namespace that the script calls ``np``.

    Args:
        normalize: pixels as float32 from 0 to 1; otherwise uint8 from 0 to 255.
        flatten: images as rows (N, 784); otherwise (N, 1, 28, 28).
        one_hot_label: labels as float64 rows (N, 10); otherwise uint8 (N,).
    """
    (x_train, t_train), (x_test, t_test) = mnist(normalize, flatten)
    move: Any = numbers().asarray
    rows = numbers().eye(10)

    def targets(t: Any) -> Array:
        return rows[move(t)] if one_hot_label else move(t)

    return (move(x_train), targets(t_train)), (move(x_test), targets(t_test))


def init_mnist() -> None:
    """Where the book downloads the digits and keeps them in a file, there is nothing to do."""
    print("MNIST is a part of xpnet: there is nothing to download.")
