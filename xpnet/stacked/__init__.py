"""Arrays of several networks as one: a namespace in which what is written for one network computes all of them."""

from xpnet.stacked.array import Stacked, StackError, front, plain, stacked
from xpnet.stacked.functions import Together

__all__ = ["StackError", "Stacked", "Together", "front", "plain", "stacked"]
