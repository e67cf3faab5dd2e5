"""What a network makes of a drawing: the picture that it sees, probabilities, what its layers compute, and reasons."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.dispatch import dtype_name, on_its_device, quiet
from xpnet.datasets.mnist_form import SIDE, in_mnist_form, is_in_mnist_form
from xpnet.drawing.numbers import in_base64, scaled
from xpnet.functions import softmax
from xpnet.layers import Container, Dropout, Flatten, Identity, Layer, Rescale, Reshape
from xpnet.models import Sequential

#: A drawing has so many pixels a side, or those of a digit of MNIST.
DRAWN = 280
SIDES = {side * side: side for side in (SIDE, DRAWN)}

#: How a network may take a picture: as a row of pixels, or as an image.
FORMS = ((SIDE * SIDE,), (1, SIDE, SIDE))

#: More classes than this have no room on the page, and units or feature maps beyond these are not shown.
MOST_CLASSES, MOST_UNITS, MOST_MAPS = 64, 1024, 64

#: Layers that compute nothing which is worth a look when a network predicts.
UNSEEN = (Dropout, Flatten, Identity, Rescale, Reshape)


class NoAnswerError(ValueError):
    """There is nothing to answer: no drawing of a size that is known, nothing drawn, or no such layer or class."""


@dataclass(frozen=True)
class Shown:
    """What can be seen inside of a network.

    Attributes:
        name: the layers that compute it: ``"Conv1, Relu1"``.
        shape: of what is shown: (units,), or (maps, height, width).
        of: how many units or maps there are.
        end: behind so many layers.
    """

    name: str
    shape: tuple[int, ...]
    of: int
    end: int


class Answers:
    """Answers of a network to drawings. One is computed at a time, whatever the thread that asks.

    Args:
        net: takes pictures of 28 by 28 pixels from 0 to 1, as rows (N, 784) or images (N, 1, 28, 28), and
            gives scores (N, C) for 2 to 64 classes.

    Raises:
        ValueError: a network of another kind, or weights that are not finite.
    """

    def __init__(self, net: Sequential) -> None:
        self.net, self.backend = net, net.backend
        self.shape = _form_taken(net)
        self.classes = prod(net.output_shape(self.shape) or ())
        self.arrays = net.own_arrays()
        for name, array in self.arrays.items():
            _check_weights(name, net.backend.to_numpy(array))
        self.shown = {each.name: each for each in _what_is_shown(net, self.shape)}
        self._one = threading.Lock()

    def about(self) -> dict[str, Any]:
        """The number of classes, and what can be shown."""
        layers = [{"name": each.name, "shape": each.shape, "of": each.of} for each in self.shown.values()]
        return {"classes": self.classes, "layers": layers}

    def answer(self, drawing: bytes, layer: str | None = None, reasons: int | None = None) -> dict[str, Any]:
        """What the network makes of a drawing.

        Args:
            drawing: how much ink there is, 0 to 255, row after row of 280 by 280 pixels, or of 28 by 28.
            layer: the name of what is to be shown, or None.
            reasons: the class whose score is to be explained, -1 for the one that is answered, or None.

        Returns:
            ``seen``, the 28 by 28 pixels in base64; ``probabilities``; ``answer``, the likeliest class. ``layer``, if
            it is asked for, with its values. ``reasons``, if they are asked for: how the score of ``class`` changes
            with each pixel, the gradient of the score.

        Raises:
            NoAnswerError: as its name says.
            ValueError: the network's scores are not finite.
        """
        pixels = picture_of(drawing)
        if layer is not None and layer not in self.shown:
            raise NoAnswerError(f"there is nothing called {layer!r:.80} to show; there is: {', '.join(self.shown)}")
        if reasons is not None and not -1 <= reasons < self.classes:
            raise NoAnswerError(f"class {reasons} is none of 0 to {self.classes - 1}, and not -1 for the likeliest")
        with self._one:
            return {"seen": in_base64(pixels), **self._answer(pixels, layer, reasons)}

    @on_its_device
    @quiet
    def _answer(self, pixels: np.ndarray, layer: str | None, reasons: int | None) -> dict[str, Any]:
        net = self.net
        x = self.backend.asarray(pixels.reshape(1, *self.shape).astype("float32") / 255, dtype_name(net.dtype))
        with net.on_threads(net.threads_for(tuple(x.shape))):
            scores = self.backend.to_numpy(net.forward(self.arrays, x))[0].astype(np.float64)
            if not np.isfinite(scores).all():
                raise ValueError("the network's scores for this drawing are not finite: its weights are too large")
            best = int(np.argmax(scores))
            found: dict[str, Any] = {"answer": best, "probabilities": softmax(scores[None])[0].tolist()}
            if layer is not None:
                found["layer"] = self._inside(x, self.shown[layer])
            if reasons is not None:
                chosen = best if reasons < 0 else reasons
                found["reasons"] = {"class": chosen, **scaled(self._gradient(x, chosen))}
        return found

    def _inside(self, x: Array, shown: Shown) -> dict[str, Any]:
        for part in self.net.chain.parts[: shown.end]:
            x = part.layer.predict(part.view(self.arrays), x)
        values = self.backend.to_numpy(x)[0].reshape(shown.of, -1)[: shown.shape[0]]
        return {"name": shown.name, "shape": shown.shape, "of": shown.of, **scaled(values)}

    def _gradient(self, x: Array, chosen: int) -> np.ndarray:
        """How the score of a class changes with each pixel (784,)."""
        chain = self.net.chain
        _, tape = chain.forward(self.arrays, x)
        one_hot = (np.arange(self.classes) == chosen)[None]
        dx, _ = chain.backward(self.arrays, tape, self.backend.asarray(one_hot, dtype_name(self.net.dtype)))
        return self.backend.to_numpy(dx).reshape(-1)


def picture_of(drawing: bytes) -> np.ndarray:
    """The drawing as a digit of MNIST, uint8 (28, 28); one that is in its form already is not changed.

    Raises:
        NoAnswerError: a drawing of another size, or without ink.
    """
    side = SIDES.get(len(drawing))
    if side is None:
        sizes = " or ".join(f"{side} x {side}" for side in SIDES.values())
        raise NoAnswerError(f"a drawing has {len(drawing)} bytes; expected one for each pixel of {sizes}")
    ink = np.frombuffer(drawing, np.uint8).reshape(side, side)
    if not ink.any():
        raise NoAnswerError("nothing is drawn")
    return ink if is_in_mnist_form(ink) else in_mnist_form(ink / 255)


def _form_taken(net: Sequential) -> tuple[int, ...]:
    """How a network takes a picture."""
    for shape in FORMS if net.chain.takes != "integers" else ():
        try:
            made = net.output_shape(shape)
        except ValueError:
            continue
        if made is not None and len(made) == 1 and 2 <= made[0] <= MOST_CLASSES:
            return shape
    raise ValueError(
        f"the network does not make scores for 2 to {MOST_CLASSES} classes of pictures of {SIDE} x {SIDE} pixels, as "
        f"rows {FORMS[0]} or images {FORMS[1]}: {net!r:.200}"
    )


def _check_weights(name: str, values: np.ndarray) -> None:
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise ValueError(f"{bad} of {values.size} numbers of {name} are NaN or infinite; train the network anew")


def _what_is_shown(net: Sequential, shape: tuple[int, ...]) -> list[Shown]:
    """What is behind each activation, pool or block before the scores; as far as its shape is known."""
    parts = net.chain.parts
    last = max(i for i, part in enumerate(parts) if part.shapes)
    found, names = list[Shown](), list[str]()
    made: tuple[int, ...] | None = shape
    for i, part in enumerate(parts[:last]):
        made = part.layer.output_shape(made)
        names += [] if isinstance(part.layer, UNSEEN) else [part.name]
        if _goes_on(parts[i + 1].layer) or not names:
            continue
        if made is not None and len(made) in (1, 3):
            most = MOST_UNITS if len(made) == 1 else MOST_MAPS
            found.append(Shown(", ".join(names), (min(made[0], most), *made[1:]), made[0], i + 1))
        names = []
    return found


def _goes_on(layer: Layer) -> bool:
    """Whether a layer belongs to the one before: an activation or a normalization does."""
    return layer.acts_on == "element" and not isinstance(layer, Container | Rescale)
