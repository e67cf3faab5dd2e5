"""Steps that are recorded once and replayed: the same calls of NumPy, into memory that is already there.

An ordinary step makes new arrays at each call, and finds out at each call what it has to do. A recorded one knows: its
calls stand in a list, each with its arrays. A few become cheaper on the way (``rewrite.py``). What they compute is what
the step itself computes, to the last bit: arrays lie in memory as NumPy would have laid them out (``program.py``).
"""

from xpnet.backends.replay.program import UnrecordableError
from xpnet.backends.replay.recorded import RecordedStep

__all__ = ["RecordedStep", "UnrecordableError"]
