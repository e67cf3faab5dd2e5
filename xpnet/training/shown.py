"""How a training is shown in a notebook; matplotlib is imported when a picture is asked for."""

from __future__ import annotations

from typing import Any

from xpnet import _html


def curves_as_png(history: Any) -> bytes | None:
    """The curves of a history as the bytes of a PNG; None if it has nothing yet, or matplotlib is not installed."""
    from xpnet import plotting  # not before: it takes time that training without pictures need not spend

    if not (history.losses or history.evaluations):
        return None
    try:
        return plotting.png(plotting.training_curves(history))
    except plotting.PlottingUnavailableError:
        return None


def curves_as_html(history: Any) -> str:
    """The curves as an image inside the page; nothing where there is none."""
    png = curves_as_png(history)
    return "" if png is None else _html.picture(png, "curves of the training")


def trainer_as_text(trainer: Any) -> str:
    """One line: what is trained by what, and how far it is."""
    transforms = f"transforms={list(trainer.transforms)!r}, " if trainer.transforms else ""
    dtype = f", compute_dtype={trainer.compute_dtype!r}" if trainer.compute_dtype else ""
    return (
        f"{type(trainer).__name__}({trainer.net!r}, {trainer.optimizer!r}, {transforms}"
        f"batch_size={trainer.batch_size}{dtype}) after {trainer.iteration:,} iterations"
    )


def trainer_as_html(trainer: Any) -> str:
    """The network's layers, what trains them, and the curves so far."""
    net: Any = trainer.net
    how = f"{trainer.optimizer!r}, batch_size={trainer.batch_size}, {trainer.iteration:,} iterations so far"
    how += f"\ncomputed in {trainer.compute_dtype}" if trainer.compute_dtype else ""
    how += f"\ntransforms {list(trainer.transforms)!r}" if trainer.transforms else ""
    past = trainer.history._repr_html_() if trainer.iteration else ""
    return f"{net._repr_html_()}{_html.text(how)}{past}"
