"""Training: steps, the loop, what happens beside it, and checkpoints that lose nothing."""

from typing import TYPE_CHECKING

from xpnet._later import later

if TYPE_CHECKING:
    from xpnet.training.callbacks import Callback, Checkpoint, EarlyStopping, LearningRateLog, StopOnDivergence
    from xpnet.training.every import Every
    from xpnet.training.history import Evaluation, History
    from xpnet.training.logs import CSVLog, JSONLinesLog
    from xpnet.training.loop import LONGEST_BLOCK, Split
    from xpnet.training.progress import Progress
    from xpnet.training.step import init_state, make_step
    from xpnet.training.trainer import Trainer
else:
    __getattr__, __dir__ = later(
        __name__,
        {
            "callbacks": "Callback Checkpoint EarlyStopping LearningRateLog StopOnDivergence",
            "every": "Every",
            "history": "Evaluation History",
            "logs": "CSVLog JSONLinesLog",
            "loop": "LONGEST_BLOCK Split",
            "progress": "Progress",
            "step": "init_state make_step",
            "trainer": "Trainer",
        },
    )

__all__ = [
    "LONGEST_BLOCK",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Evaluation",
    "Every",
    "History",
    "JSONLinesLog",
    "LearningRateLog",
    "Progress",
    "Split",
    "StopOnDivergence",
    "Trainer",
    "init_state",
    "make_step",
]
