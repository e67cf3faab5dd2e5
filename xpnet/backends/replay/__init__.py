"""Steps that are recorded once and replayed: the same calls of NumPy, into memory that is already there.

An ordinary step makes new arrays at each call, and finds out at each call what it has to do. A recorded one knows: its
calls stand in a list, each with its arrays. On the way there some become cheaper (``rewrite.py``), and those that go
over large arrays one after the other go over them together, block by block (``plan.py``).
"""

from xpnet.backends.replay.program import UnrecordableError
from xpnet.backends.replay.recorded import RecordedStep

__all__ = ["RecordedStep", "UnrecordableError"]
