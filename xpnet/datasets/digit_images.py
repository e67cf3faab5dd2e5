"""A picture of a digit, whatever its size and colours, made into the 28 by 28 pixels that MNIST has.

What is paper and what is ink is found out here; the ink becomes a digit in the form that MNIST has (``mnist_form.py``).

Pillow reads the files; it is an extra, ``pip install "xpnet[images]"``, and is imported when a file is read. Of its
kinds of files those are read that are pictures and nothing else: an EPS, for example, is a program that it would run.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from xpnet.datasets.mnist_form import in_mnist_form, is_in_mnist_form
from xpnet.serialization.atomic import path_of
from xpnet.streams import printable

INSTALL = 'pip install "xpnet[images]"'

#: The kinds of files that are read, by Pillow's names.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")

#: A picture has at most so many pixels, 8192 x 8192: those of a photograph, or of a page at 600 dots an inch.
MOST = 2**26

#: A longer side is reduced to this, more or less: digits stay large enough, and memory is not a question.
LONGEST = 2000

#: Before it is reduced, a picture is looked at in tiles of about so many pixels a side.
TILE = 1024

#: Of what EXIF calls an orientation, what turns the rows of pixels upright.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a.T[:, ::-1],
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: a.T[::-1],
}
#: Numbers of what a TIFF says of itself.
ORIENTATION, TILE_WIDTH, TILE_LENGTH = 0x0112, 322, 323
SIDEWAYS = (5, 6, 7, 8)

#: The first letters of the modes in which Pillow has integers of more than 8 bits, or floating-point numbers.
NUMBERS = "IF"

#: Ink differs from the paper by at least so many of 255 grey levels, and by so many standard deviations of the paper.
CONTRAST, DEVIATIONS = 16, 4

#: What differs from the paper by less than this share of the ink's difference is paper.
FAINT = 0.25


class ImagesUnavailableError(ImportError):
    """Pillow is not installed, or cannot be imported."""


class UnreadableImageError(ValueError):
    """A file is no image, a damaged one or too large a one, or nothing is drawn in it."""


@dataclass(frozen=True, eq=False)
class Digit:
    """A digit as MNIST has them.

    Attributes:
        pixels: NumPy uint8 (28, 28), the digit light (255) on dark (0).
        note: what was seen: ``"280x300, dark on light, inverted"``.
    """

    pixels: np.ndarray
    note: str


def read_digit(path: str | Path) -> Digit:
    """Read an image file with one digit in it: PNG, JPEG, GIF, BMP, TIFF, WEBP or PPM.

    Of an animation it is the first picture; what is transparent is white paper, or black if nothing can be seen on
    white; a photograph is turned as its EXIF data say. An image that is as MNIST's are already is not changed, but for
    black on white becoming white on black.

    Raises:
        ImagesUnavailableError: Pillow is not installed.
        OSError: the file cannot be opened.
        UnreadableImageError: it is no file, or no such image; it is damaged, has more than 2^26 pixels or numbers that
            are not finite, or it is blank.

    >>> read_digit("seven.png").pixels.shape  # doctest: +SKIP
    (28, 28)
    """
    size = (0, 0)
    for gray, size in _pictures(path_of(path)):
        drawing = _ink(gray)
        if drawing is not None:
            ink, dark = drawing
            seen = f"{size[0]}x{size[1]}, {'dark on light, inverted' if dark else 'light on dark'}"
            pixels = 255 - gray if dark else gray
            return Digit(pixels if is_in_mnist_form(pixels) else in_mnist_form(ink), seen)
    raise UnreadableImageError(
        f"{printable(path)}: nothing is drawn in it ({size[0]}x{size[1]} pixels of one shade); expected a digit darker "
        "or lighter than what is around it"
    )


def _pictures(path: Path) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """The image in shades of grey, uint8 (height, width), and its size; a transparent one on white, then on black."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ImagesUnavailableError(f"reading images needs Pillow ({error}); {INSTALL}") from error
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):  # to open a pipe may take for ever
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe or a device"
        raise UnreadableImageError(f"{printable(path)} is {what}, expected the file of an image")
    with path.open("rb") as file, _errors_of(path):
        image = _opened(file, path)
        image.load()
        orientation = image.getexif().get(ORIENTATION)
        transparent = image.has_transparency_data and image.mode[0] not in NUMBERS
    turned: Callable[[np.ndarray], np.ndarray] = UPRIGHT.get(orientation, np.asarray)
    size = image.size[::-1] if orientation in SIDEWAYS else image.size
    for paper in ("white", "black") if transparent else (None,):
        with _errors_of(path):
            gray = _numbers(image, path) if image.mode[0] in NUMBERS else _levels(image, paper)
        yield np.ascontiguousarray(turned(gray)), size


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """What Pillow says of a file, in words of this module."""
    from PIL import UnidentifiedImageError

    name = printable(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            yield
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(f"{name} is no image of a kind that is read: {', '.join(FORMATS)}") from None
    except MemoryError:
        raise UnreadableImageError(f"{name} takes more memory than there is here") from None
    except Exception as error:  # what is damaged makes a decoder raise anything
        raise UnreadableImageError(f"{name} is damaged: {type(error).__name__}: {printable(error)}") from None


def _opened(file: BinaryIO, path: Path) -> Any:
    """The image, of which the header is read, unless it has too many pixels to read more."""
    from PIL import Image

    most = min(MOST, Image.MAX_IMAGE_PIXELS or MOST)
    try:
        image = Image.open(file, formats=FORMATS)
        # a TIFF may be cut into tiles that are larger than itself
        tile = [getattr(image, "tag_v2", {}).get(tag, 0) for tag in (TILE_WIDTH, TILE_LENGTH)]
        large: Any = next((size for size in (image.size, tile) if size[0] * size[1] > most), None)
    except Image.DecompressionBombError as error:
        large = _size_of(file) or str(error).rstrip(".")
    if large is not None:
        what = large if isinstance(large, str) else f"{large[0]} x {large[1]}"
        raise UnreadableImageError(
            f"{printable(path)} has too many pixels to be a picture of a digit: {what}, expected at most {most} in all"
        )
    return image


def _size_of(file: BinaryIO) -> tuple[int, int] | None:
    """The size of an image that Pillow refuses to open without saying it; None if it refuses again."""
    from PIL import Image

    file.seek(0)
    start = file.read(16)
    with suppress(Image.DecompressionBombError):
        for factory, accept in (Image.OPEN[name] for name in FORMATS):
            if accept is None or accept(start) is True:
                file.seek(0)
                width, height = factory(file, "").size
                return width, height
    return None


def _levels(image: Any, paper: str | None) -> np.ndarray:
    """Shades of grey, uint8, of colours; of a large image as many as are needed."""
    from PIL import Image

    def levels(tile: Any, factor: int) -> np.ndarray:
        if paper is not None:
            tile = Image.alpha_composite(Image.new("RGBA", tile.size, paper), tile.convert("RGBA"))
        tile = (tile if tile.mode in ("1", "L", "RGB") else tile.convert("RGB")).convert("L")
        return np.asarray(tile.reduce(factor) if factor > 1 else tile)

    return _reduced(image, levels, np.uint8)


def _numbers(image: Any, path: Path) -> np.ndarray:
    """Shades of grey, uint8, of numbers without a scale: the lowest is black and the highest white."""

    def means(tile: Any, factor: int) -> np.ndarray:
        values = np.asarray(tile, dtype=np.float64)
        if not np.isfinite(values).all():
            raise UnreadableImageError(
                f"{printable(path)} has pixels that are infinite or no number (NaN), so that no shade of grey can be "
                "told; expected finite numbers"
            )
        for axis, n in enumerate(values.shape):
            starts = np.arange(0, n, factor)
            counts = np.expand_dims(np.diff(np.append(starts, n)), 1 - axis)
            values = np.add.reduceat(values, starts, axis=axis) / counts
        return values

    values = _reduced(image, means, np.float64)
    values -= values.min()
    values *= 255 / (values.max() or 1)
    stretched: np.ndarray = np.rint(values, out=values).astype(np.uint8)
    return stretched


def _reduced(image: Any, shades: Callable[[Any, int], np.ndarray], dtype: Any) -> np.ndarray:
    """An image tile by tile, so that no second one of its size is made: of each, its shades, reduced by a factor."""
    width, height = image.size
    factor = max(width, height) // LONGEST if max(width, height) >= 2 * LONGEST else 1
    side = factor * max(1, TILE // factor)
    found = np.empty((-(-height // factor), -(-width // factor)), dtype)
    for top in range(0, height, side):
        for left in range(0, width, side):
            tile = image.crop((left, top, min(left + side, width), min(top + side, height)))
            part = shades(tile, factor)
            y, x = top // factor, left // factor
            found[y : y + part.shape[0], x : x + part.shape[1]] = part
    return found


def _ink(gray: np.ndarray) -> tuple[np.ndarray, bool] | None:
    """How much ink there is, 0 to 1, and whether it is darker than the paper; None if there is no ink."""
    lighter = gray - _paper(gray)
    noise = 1.5 * float(
        np.median(np.abs(_border(lighter)))
    )  # about the standard deviation, whatever crosses the border
    least = max(CONTRAST, DEVIATIONS * noise)
    dark = float(np.minimum(lighter + least, 0).sum()) < -float(np.maximum(lighter - least, 0).sum())
    difference = -lighter if dark else lighter
    strong = difference[difference > difference.max() / 2]
    full = float(np.median(strong)) if strong.size else 0.0
    if full <= least:
        return None
    low = max(FAINT * full, min(3 * noise, full / 2))
    return np.where(difference > low, np.minimum(difference / full, 1), 0), dark


def _paper(gray: np.ndarray) -> np.ndarray:
    """The shade of the paper, float32 (height, width), as what is around the drawing says: one, or a slope of light."""
    top, bottom, left, right = (float(np.median(side)) for side in (gray[0], gray[-1], gray[:, 0], gray[:, -1]))
    height, width = gray.shape
    if abs(left + right - top - bottom) > CONTRAST:  # no slope has such sides: one is crossed by the drawing
        return np.full(gray.shape, np.median(_border(gray)), np.float32)
    y, x = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in (height, width))
    return (top + bottom) / 2 + (bottom - top) * y[:, None] + (right - left) * x


def _border(values: np.ndarray) -> np.ndarray:
    border: np.ndarray = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    return border
