"""A network that is trained or loaded in a thread of its own, and how far that is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from xpnet.drawing.answers import Answers
from xpnet.models import Sequential
from xpnet.training import Callback, Evaluation
from xpnet.training.callbacks import Training


class Preparation(Callback):
    """Makes a network in a thread; as a callback of its training it knows how far that is, and ends it.

    Args:
        make: makes the network; it is given this object as a callback for a training.
        title: says what the network is and where.

    Attributes:
        answers: those of the network, once there is one.
        problem: why there will be none.
    """

    def __init__(self, make: Callable[[Preparation], Sequential], title: Callable[[Sequential], str]) -> None:
        self.make, self.title = make, title
        self.answers: Answers | None = None
        self.problem: str | None = None
        self._told: dict[str, Any] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="xpnet-draw-preparation", daemon=True)

    def start(self) -> None:
        """Make the network in a thread; what goes wrong is kept as the problem."""
        self._thread.start()

    def end(self) -> None:
        """End a training after its block of steps, and wait for that."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def make_now(self) -> None:
        """Make the network here; what goes wrong is raised."""
        net = self.make(self)
        answers = Answers(net)
        self._told |= answers.about() | {"network": self.title(net)}
        self.answers = answers

    def _run(self) -> None:
        try:
            self.make_now()
        except Exception as error:  # whatever it is, the page shows it
            self.problem = f"{type(error).__name__}: {error}"

    def state(self) -> dict[str, Any]:
        """``phase``: ``"preparing"``, ``"ready"`` or ``"failed"``; and what is known in it.

        Of a training that is the ``network``, ``steps`` of a ``goal``, about how many seconds are ``left``, and the
        ``accuracy`` once something has been learned.
        """
        if self.answers is not None:
            return {"phase": "ready", **self._told}
        if self.problem is not None:
            return {"phase": "failed", "error": self.problem}
        return {"phase": "preparing", **self._told}

    def on_begin(self, trainer: Training) -> None:
        self._told |= {"network": self.title(trainer.net)}

    def on_block(self, trainer: Training) -> None:
        a_step = trainer.history.seconds / max(trainer.iteration, 1)
        left = a_step * (trainer.goal - trainer.iteration)
        self._told |= {"steps": trainer.iteration, "goal": trainer.goal, "left": left}
        if self.ended:
            trainer.stop("the page was closed")

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        if evaluation.iteration:  # what it reads before it has learned anything is chance
            self._told["accuracy"] = evaluation.validation_accuracy
