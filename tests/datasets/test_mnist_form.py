"""A drawing is scaled as Pillow scales it, without Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from xpnet.datasets.mnist_form import _scaled, in_mnist_form


@pytest.mark.parametrize("size", [(280, 280), (200, 100), (57, 301), (13, 7), (3, 3), (1, 50), (21, 20), (20, 20)])
def test_scaling_is_that_of_pillow(size, rng):
    pixels = np.where(rng.random(size) < 0.5, 255, rng.integers(0, 256, size)).astype(np.uint8)
    height, width = (max(1, round(n * 20 / max(size))) for n in size)
    expected = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    # some builds of Pillow add in another way, and come to a neighbouring shade
    assert np.abs(_scaled(pixels / 255).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("top", [0, 40, 120])
def test_where_it_is_drawn_and_how_large_makes_no_difference(top):
    small, large = np.zeros((280, 280)), np.zeros((280, 280))
    small[top : top + 100, top : top + 40] = 1
    small[top : top + 20, top : top + 100] = 1
    large[:200, :80] = large[:40, :200] = 1
    difference = in_mnist_form(small).astype(int) - in_mnist_form(large)
    assert np.abs(difference).max() <= 1
