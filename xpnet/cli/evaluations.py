"""Evaluations as they are written on a command line: end, epochs:5, steps:500:running."""

from __future__ import annotations

from typing import Any

import click

from xpnet.training.every import TRAIN, WORDS, Every

FORMS = (*WORDS, "epochs:K[:TRAIN]", "steps:K[:TRAIN]")


class EvaluateForm(click.ParamType):  # type: ignore[type-arg]
    """When to evaluate, and what of the training data, as a text that :func:`every` understands."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            every(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def every(text: str) -> Every:
    """What ``fit(evaluate=...)`` is to be given, or ``ValueError``.

    >>> every("end"), every("epochs:5"), every("steps:500:running"), every("epochs:1:10000")
    ('end', Every(epochs=5), Every(steps=500, train='running'), Every(epochs=1, train=10000))
    """
    if text in WORDS:
        return WORDS[text]
    unit, *rest = text.split(":")
    try:
        count, train = rest if len(rest) > 1 else (*rest, "all")
        samples: int | str = train if train in TRAIN else int(train)
        return Every(**{unit: int(count)}, train=samples)
    except (ValueError, TypeError):
        known = f"{', '.join(FORMS)}, with 'all', 'running' or a number of samples for TRAIN"
        raise ValueError(f"{text!r} is none of: {known}") from None
