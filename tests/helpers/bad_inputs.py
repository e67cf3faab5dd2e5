"""What a network of six inputs and four classes refuses, and how it says so."""

from __future__ import annotations

import numpy as np

BAD = {
    "columns": (
        np.zeros((3, 7)),
        [0, 1, 2],
        ValueError,
        r"Affine1: a sample of shape \(7,\) .* expected 6",
    ),
    "label too large": (np.zeros((2, 6)), [0, 4], ValueError, "labels from 0 to 4; there are 4 classes"),
    "label below zero": (np.zeros((2, 6)), [0, -1], ValueError, "labels from -1 to 0"),
    "fractional labels": (np.zeros((2, 6)), [0.5, 1], ValueError, "fractional"),
    "width of one-hot": (np.zeros((2, 6)), np.eye(3)[:2], ValueError, r"shape \(2, 3\), expected labels"),
    "as many labels": (np.zeros((2, 6)), [1], ValueError, "x has 2 samples and t has 1"),
    "NaN": (np.asarray([[0] * 6, [np.nan] * 6]), [0, 1], ValueError, "6 values that are NaN .* in sample 1"),
    "infinity": (np.full((2, 6), np.inf), [0, 1], ValueError, "12 values that are NaN or infinite.* sample 0"),
    "empty": (np.zeros((0, 6)), np.zeros(0, "uint8"), ValueError, "no samples"),
    "integers": (
        np.zeros((2, 6), "uint8"),
        [0, 1],
        TypeError,
        r"x is uint8, .* / 255, .*mnist\(.*Rescale",
    ),
    "complex": (np.zeros((2, 6), "complex128"), [0, 1], TypeError, "x is complex128, expected real numbers"),
}
