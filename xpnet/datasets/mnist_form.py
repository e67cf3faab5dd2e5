"""A drawing in the form of MNIST's digits: 20 pixels along its longer side, its centre of mass in the middle of 28.

What MNIST did to its digits is done here: the digit is scaled to fit 20 by 20 pixels, keeping its proportions, and put
into 28 by 28 with its centre of mass in the middle (LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to
document recognition", 1998). Images from files and digits drawn on a page both come this way; it needs NumPy alone.
"""

from __future__ import annotations

import numpy as np

SIDE, BOX = 28, 20

#: A digit with so many pixels along its longer side, up to BOX, is large enough as it is.
NEARLY = 18

#: Along both axes, the pixel that MNIST's centres of mass are nearest to.
MIDDLE = 14

#: Parts of a drawing are told from specks on a grid of at most so many cells a side.
CELLS = 128

#: A part of the drawing with less than this share of the ink of the largest part is a speck.
SPECK = 0.05

#: Keys' cubic reaches so many pixels to both sides, and has this slope where it is 0 first.
REACH, SLOPE = 2.0, -0.5

#: Weights of pixels are whole numbers of 1 / 2^22, so that sums are exact and equal on every processor.
UNIT = 2.0**22


def in_mnist_form(ink: np.ndarray) -> np.ndarray:
    """The drawing as a digit of MNIST, uint8 (28, 28), light (255) on dark (0).

    Args:
        ink: how much ink there is, 0 to 1, of any height and width; some of it is not 0.

    >>> bar = np.zeros((200, 100))
    >>> bar[20:60, 10:20] = 1
    >>> rows, columns = np.nonzero(in_mnist_form(bar))
    >>> int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())
    (4, 23, 12, 16)
    """
    return _placed(_scaled(_cut_out(ink)))


def is_in_mnist_form(pixels: np.ndarray) -> bool:
    """Whether these shades of grey, uint8 (height, width), are a digit as MNIST has them already."""
    if pixels.shape != (SIDE, SIDE) or np.median(pixels) > 0:
        return False
    y, x = _box(pixels > 0)
    return max(y.stop - y.start, x.stop - x.start) <= BOX and all(
        abs(c - MIDDLE) < 0.6 for c in _centre_of_mass(pixels)
    )


def _cut_out(ink: np.ndarray) -> np.ndarray:
    """The drawing without the paper around it, and without specks."""
    step = -(-max(ink.shape) // CELLS)
    rows, columns = (-(-n // step) for n in ink.shape)
    cells = np.zeros((rows * step, columns * step), ink.dtype)
    cells[: ink.shape[0], : ink.shape[1]] = ink
    amounts = cells.reshape(rows, step, columns, step).sum(axis=(1, 3))
    parts = _connected(amounts > 0)
    weights = np.bincount(parts.ravel(), amounts.ravel())
    kept = (amounts > 0) & (weights >= SPECK * weights.max())[parts]
    near = np.repeat(np.repeat(kept, step, axis=0), step, axis=1)[: ink.shape[0], : ink.shape[1]]
    ink = np.where(near, ink, 0)
    return ink[_box(ink > 0)]


def _connected(mask: np.ndarray) -> np.ndarray:
    """A number for each cell that cells connected along sides or corners share; 0 outside of the mask."""
    parts = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        grown = np.where(mask, _spread(parts), 0)
        if (grown == parts).all():
            return parts
        # from the cell that a number came from it goes on at once, so that long lines take few rounds
        parts = np.where(mask, grown.ravel()[grown - 1], 0)


def _spread(cells: np.ndarray) -> np.ndarray:
    """The maximum of each cell and its eight neighbours."""
    padded = np.pad(cells, 1)
    tall = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    wide: np.ndarray = np.maximum(np.maximum(tall[:, :-2], tall[:, 1:-1]), tall[:, 2:])
    return wide


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and the columns that hold all of the mask."""
    y, x = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)


def _scaled(ink: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = np.rint(255 * ink).astype(np.uint8)
    longest = max(ink.shape)
    if NEARLY <= longest <= BOX:  # it would be blurred for nothing
        return pixels
    for axis in (1, 0):
        n = pixels.shape[axis]
        pixels = _resized(pixels, axis, max(1, round(n * BOX / longest)))
    return pixels


def _resized(pixels: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Shades of grey, uint8, with so many pixels along an axis: means weighted by a cubic, as wide as they are apart.

    Keys, "Cubic convolution interpolation for digital image processing" (1981); rounded as Pillow's ``resize`` does.
    """
    n = pixels.shape[axis]
    if n == size:
        return pixels
    step = n / size
    width = max(step, 1.0)
    centres = (np.arange(size) + 0.5) * step
    weights = np.zeros((size, n))
    for row, centre in zip(weights, centres, strict=True):
        first, last = max(int(centre - REACH * width + 0.5), 0), min(int(centre + REACH * width + 0.5), n)
        row[first:last] = _cubic((np.arange(first, last) + 0.5 - centre) / width)
        row /= row.sum()
    whole = np.trunc(weights * UNIT + np.copysign(0.5, weights))
    sums = np.moveaxis(np.tensordot(whole, pixels.astype(np.float64), (1, axis)), 0, axis)
    levels: np.ndarray = np.clip(np.floor(sums / UNIT + 0.5), 0, 255).astype(np.uint8)
    return levels


def _cubic(x: np.ndarray) -> np.ndarray:
    x, a = np.abs(x), SLOPE
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    cubic: np.ndarray = np.where(x < 1, near, np.where(x < REACH, far, 0.0))
    return cubic


def _placed(digit: np.ndarray) -> np.ndarray:
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    starts = [
        int(np.clip(round(MIDDLE - centre), 0, SIDE - n))
        for centre, n in zip(_centre_of_mass(digit), digit.shape, strict=True)
    ]
    pixels[tuple(slice(start, start + n) for start, n in zip(starts, digit.shape, strict=True))] = digit
    return pixels


def _centre_of_mass(pixels: np.ndarray) -> tuple[float, float]:
    amounts = pixels.astype(np.float64)
    y, x = (float(amounts.sum(axis=1 - axis) @ np.arange(n) / amounts.sum()) for axis, n in enumerate(pixels.shape))
    return y, x
