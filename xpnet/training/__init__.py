"""Training: steps, the loop, what happens beside it, and checkpoints that lose nothing."""

from xpnet.training.callbacks import Callback, Checkpoint, EarlyStopping, LearningRateLog, StopOnDivergence
from xpnet.training.history import Evaluation, History
from xpnet.training.logs import CSVLog, JSONLinesLog
from xpnet.training.loop import LONGEST_BLOCK, Split
from xpnet.training.progress import Progress
from xpnet.training.step import init_state, make_step
from xpnet.training.trainer import Trainer

__all__ = [
    "LONGEST_BLOCK",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Evaluation",
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
