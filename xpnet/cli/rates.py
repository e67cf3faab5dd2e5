"""Learning rates as they are written on a command line: cosine, step:3000:0.5, plateau."""

from __future__ import annotations

from typing import Any

import click

from xpnet.schedules import Schedule

#: How each is written, and what the numbers after its name are.
FORMS = {
    "constant": "constant",
    "step": "step:EVERY[:FACTOR]",
    "exponential": "exponential:FACTOR[:STEPS]",
    "cosine": "cosine[:FINAL]",
    "plateau": "plateau[:FACTOR[:EPOCHS]]",
}


class ScheduleForm(click.ParamType):  # type: ignore[type-arg]
    """The name of a schedule and its numbers."""

    name = "schedule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, list[float]]:
        if isinstance(value, tuple):
            return value
        name, *rest = value.split(":")
        if name not in FORMS:
            self.fail(f"unknown schedule {name!r}; known: {', '.join(FORMS.values())}", param, ctx)
        form = FORMS[name]
        least, most = form.replace("[", "").count(":") - form.count("["), form.count(":")
        try:
            numbers = [float(number) for number in rest]
        except ValueError:
            numbers = [float("nan")] * (most + 1)
        if not least <= len(numbers) <= most:
            self.fail(f"{value!r} is written in another way, expected {form}", param, ctx)
        return name, numbers


def schedule(form: tuple[str, list[float]] | None, lr: float, warmup: int, steps: int) -> float | Schedule:
    """The learning rate ``lr``, or its schedule over a training of so many steps."""
    name, numbers = form or ("constant", [])
    try:
        return _schedule(form is not None, name, numbers, lr, warmup, steps)
    except ValueError as error:
        raise ValueError(f"--schedule {FORMS[name]}: {error}") from None


def _schedule(asked: bool, name: str, numbers: list[float], lr: float, warmup: int, steps: int) -> float | Schedule:
    from xpnet.schedules import Constant, Cosine, Exponential, ReduceOnPlateau, Step, Warmup  # later: most do without

    whole = [int(n) if n.is_integer() else n for n in numbers]  # each schedule says which of its numbers are counts
    then: float | Schedule = lr
    if name == "step":
        then = Step(lr, *whole)  # type: ignore[arg-type]
    elif name == "exponential":
        then = Exponential(lr, *numbers[:1], *whole[1:])  # type: ignore[arg-type]
    elif name == "cosine":
        then = Cosine(lr, max(steps - warmup, 1), *numbers)
    elif asked and name == "constant":
        then = Constant(lr)
    rate = Warmup(warmup, then) if warmup else then
    return ReduceOnPlateau(rate, *numbers[:1], *whole[1:]) if name == "plateau" else rate  # type: ignore[arg-type]
