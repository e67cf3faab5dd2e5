"""Progress: a bar in a terminal and in a notebook; where the output is a file or a pipe, a line every ten seconds."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

from xpnet import streams
from xpnet.training.callbacks import Callback, Training

#: A bar is drawn after this many seconds of training: a bar that disappears at once would only flicker.
BAR_SECONDS = 0.5
#: Where the output is not a terminal, a line is written this many seconds after the last one.
LINE_SECONDS = 10.0


class Progress(Callback):
    """A bar with the loss of the last minibatch and samples per second, on standard error if that takes it."""

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
                # miniters=1: tqdm would raise it with the speed of training, and a slow step later would not be shown
                shown: dict[str, Any] = {"unit": "it", "miniters": 1}
                self.bar = streams.bar(self.kind, total=trainer.goal, initial=trainer.iteration, postfix=text, **shown)
        elif waited >= LINE_SECONDS:
            self.since = time.monotonic()
            output = streams.Quiet(sys.stderr)
            output.write(f"iteration {trainer.iteration} of {trainer.goal}: {text}\n")
            output.flush()

    def on_end(self, trainer: Training) -> None:
        if self.bar is not None:
            self.bar.close()


def _bar() -> Any:
    """The class of progress bar for this output: terminal or notebook; None for a file or a pipe."""
    if "IPython" not in sys.modules and not streams.Quiet(sys.stderr).isatty():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a notebook without widgets tqdm draws with text, and warns each time
        from tqdm.auto import tqdm
    widgets = any("notebook" in kind.__module__ for kind in tqdm.__mro__)
    cell = type(sys.stderr).__module__.startswith("ipykernel")  # no terminal, but it understands a carriage return
    return tqdm if widgets or cell or streams.Quiet(sys.stderr).isatty() else None
