"""How far training is: a bar in a terminal and in a notebook, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
import warnings
from contextlib import suppress
from typing import Any

from xpnet.training.callbacks import Callback, Training
from xpnet.training.callbacks import aside as aside

#: A bar is drawn once training has taken so many seconds: one that is gone again at once only flickers.
BAR_SECONDS = 0.5
#: Where the output is no terminal, a line is written when so many seconds have passed since the last.
LINE_SECONDS = 10.0


class Progress(Callback):
    """A bar with the loss of the last minibatch and samples a second; on the standard error output, as is custom."""

    kind: Any = None
    bar: Any = None
    since = 0.0

    def on_begin(self, trainer: Training) -> None:
        self.kind, self.bar, self.since = _bar(), None, time.monotonic()

    def on_block(self, trainer: Training) -> None:
        history, waited = trainer.history, time.monotonic() - self.since
        text = f"loss {history.losses[-1]:.4f}, {history.samples_per_second:,.0f} samples/s"
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update(trainer.iteration - self.bar.n)
        elif self.kind is not None:
            if waited >= BAR_SECONDS:
                # at least one step a refresh: by default it would grow with the speed, and a bar stand still for long
                shown: dict[str, Any] = {"unit": "it", "dynamic_ncols": True, "leave": False, "miniters": 1}
                self.bar = self.kind(total=trainer.goal, initial=trainer.iteration, postfix=text, **shown)
        elif waited >= LINE_SECONDS:
            self.since = time.monotonic()
            with suppress(OSError):  # nobody reads the other end of the pipe any more: no reason to stop training
                print(f"iteration {trainer.iteration} of {trainer.goal}: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def on_end(self, trainer: Training) -> None:
        if self.bar is not None:
            self.bar.close()


def _bar() -> Any:
    """The class of a progress bar that fits where the output goes; None for a file or a pipe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a notebook without widgets it draws with text, and says so each time
        from tqdm.auto import tqdm
    widgets = any("notebook" in kind.__module__ for kind in tqdm.__mro__)
    cell = type(sys.stderr).__module__.startswith("ipykernel")  # no terminal, but it knows how to go back in a line
    return tqdm if widgets or cell or (sys.stderr is not None and sys.stderr.isatty()) else None
