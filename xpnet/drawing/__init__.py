"""A page to draw a digit on, and what a network makes of it while one draws; behind ``xpnet draw``."""

from xpnet.drawing.answers import Answers
from xpnet.drawing.preparation import Preparation
from xpnet.drawing.samples import Samples
from xpnet.drawing.server import PageServer

__all__ = ["Answers", "PageServer", "Preparation", "Samples"]
